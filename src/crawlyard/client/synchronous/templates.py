# made of asynchronous/templates.py by `python -m tests.sync_client`; a test compares it
"""Templates: kept in versions, shared or not, filled."""

from collections.abc import Generator, Mapping

from crawlyard.client.synchronous.calls import Calls
from crawlyard.client.transport import if_match, part, without_none
from crawlyard.core.answers.deletions import TemplateDeletionOut
from crawlyard.core.answers.templates.templates import (
    CheckedTemplateOut,
    RenderedOut,
    SavedTemplateOut,
    TemplateOut,
)

_TEMPLATES = "templates"
_NOTHING: Mapping[str, object] = {}


class Templates:
    """Makes, finds, changes and fills templates.

    A *ref* is an id, a name of one's own, or OWNER/NAME. A change is made to *version*
    alone, if one is given; else to whichever there is.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self,
        *,
        visibility: str | None = None,
        owner: str | None = None,
        q: str = "",
        limit: int | None = None,
    ) -> Generator[TemplateOut]:
        """Yield templates by name; *visibility* is ``private`` or ``public``."""
        asked = {"visibility": visibility, "owner": owner, "q": q or None}
        return self._calls.every(TemplateOut, _TEMPLATES, asked, limit)

    def get(self, ref: str, version: int | None = None) -> TemplateOut:
        """Return a template as it is now, or as it was at *version*."""
        path = _path(ref) if version is None else f"{_path(ref)}/versions/{version}"
        return self._calls.one(TemplateOut, "GET", path)

    def versions(self, ref: str, *, limit: int | None = None) -> Generator[TemplateOut]:
        """Yield the versions that may be seen, the newest first."""
        return self._calls.every(TemplateOut, f"{_path(ref)}/versions", limit=limit)

    def create(self, template: Mapping[str, object]) -> TemplateOut:
        """Make a template of its ``name``, ``description``, ``parameters`` and ``spec``."""
        return self._calls.one(TemplateOut, "POST", _TEMPLATES, body=template)

    def edit(
        self, ref: str, changes: Mapping[str, object], *, version: int | None = None
    ) -> SavedTemplateOut:
        """Make the next version: what is absent stays, null takes a member away."""
        return self._calls.one(
            SavedTemplateOut,
            "PATCH",
            _path(ref),
            body=changes,
            headers=if_match(version, required=True),
        )

    def delete(self, ref: str, *, version: int | None = None) -> None:
        """Delete a template with all versions; `Conflict` while schedules use it."""
        headers = if_match(version, required=True)
        self._calls.send("DELETE", _path(ref), headers=headers)

    def deletable(self, ref: str, *, version: int | None = None) -> TemplateDeletionOut:
        """Return what deleting a template would delete; `Conflict` while schedules use it."""
        return self._calls.one(
            TemplateDeletionOut, "GET", f"{_path(ref)}/deletion", headers=if_match(version)
        )

    def publish(
        self, ref: str, *, version: int | None = None, confirm: bool = False
    ) -> SavedTemplateOut:
        """Let others see and use it; ``stripped`` names the credentials that were taken out.

        `Unconfirmed` if schedules of its owner are to keep these, unless *confirm* is set.
        """
        return self._calls.one(
            SavedTemplateOut,
            "POST",
            f"{_path(ref)}/publish",
            params={"confirm": True} if confirm else {},
            headers=if_match(version),
        )

    def unpublish(self, ref: str, *, version: int | None = None) -> TemplateOut:
        """Let nobody else see or use it any more."""
        return self._calls.one(
            TemplateOut, "POST", f"{_path(ref)}/unpublish", headers=if_match(version)
        )

    def duplicate(
        self, ref: str, *, name: str | None = None, version: int | None = None
    ) -> TemplateOut:
        """Make a private template of one's own that says the same."""
        body = without_none({"name": name, "version": version})
        return self._calls.one(TemplateOut, "POST", f"{_path(ref)}/duplicate", body=body)

    def restore(self, ref: str, version: int, *, latest: int | None = None) -> SavedTemplateOut:
        """Make what an earlier version said the one that follows *latest*, if that is given."""
        path = f"{_path(ref)}/versions/{version}/restore"
        return self._calls.one(SavedTemplateOut, "POST", path, headers=if_match(latest))

    def render(
        self,
        ref: str,
        *,
        params: Mapping[str, object] = _NOTHING,
        overrides: Mapping[str, object] = _NOTHING,
        version: int | None = None,
    ) -> RenderedOut:
        """Return the whole spec that a job would have, and where each value comes from."""
        body = without_none({"params": params, "overrides": overrides, "version": version})
        return self._calls.one(RenderedOut, "POST", f"{_path(ref)}/render", body=body)

    def export(
        self,
        ref: str,
        *,
        format: str = "yaml",  # noqa: A002 - the name of the parameter
        version: int | None = None,
    ) -> str:
        """Return the file of a template, with credentials if one may change it."""
        asked = {"format": format, "version": version}
        answer = self._calls.send("GET", f"{_path(ref)}/export", params=asked)
        return answer.content.decode("utf-8", "replace")

    def import_(self, content: str) -> TemplateOut:
        """Make a template of the text of a file, in YAML or JSON."""
        body = {"content": content}
        return self._calls.one(TemplateOut, "POST", f"{_TEMPLATES}/import", body=body)

    def validate(self, content: str) -> CheckedTemplateOut:
        """Check the text of a file; nothing is kept."""
        body = {"content": content}
        return self._calls.one(CheckedTemplateOut, "POST", f"{_TEMPLATES}/validate", body=body)


def _path(ref: str) -> str:
    return f"{_TEMPLATES}/{part(ref)}"
