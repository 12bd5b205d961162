"""Templates, as one user makes, finds, changes and fills them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    MustMatch,
    Owner,
    Ref,
    Rest,
    Slice,
    endpoint,
    reply,
    sliced,
)
from crawlyard.core.faults import blaming
from crawlyard.core.merge_patch import merged_object
from crawlyard.core.parse import unknown
from crawlyard.core.templates.answers import (
    CheckedTemplateOut,
    ConvertedTemplateOut,
    RenderedOut,
    SavedTemplateOut,
    TemplateDeletionOut,
    TemplateOut,
)
from crawlyard.core.templates.secrets import stripped
from crawlyard.core.templates.template import (
    MAX_CONTENT_BYTES,
    MAX_NAME,
    FileFormat,
    TemplateDraft,
)
from crawlyard.errors import Conflict, Invalid, Stale
from crawlyard.lazy import lazily
from crawlyard.services.jobs.parameters import MAX_VERSION, TemplateVersion
from crawlyard.services.noun import Noun
from crawlyard.services.races import TRIES
from crawlyard.store.queries import TemplateQuery

# they load YAML and the engine
with lazily():
    from crawlyard.services.templates import files

READ, WRITE = Permit.TEMPLATES_READ, Permit.TEMPLATES_WRITE

Form = Annotated[Mapping[str, Any], Rest("template")]
Changes = Annotated[Mapping[str, Any], Rest("template change")]
Checked = Annotated[Mapping[str, Any], Rest("checked template")]
Content = Annotated[
    str,
    Meta(
        max_length=MAX_CONTENT_BYTES,
        description="YAML or JSON, at most 2 MiB.",
        examples=["name: docs\nspec:\n  urls: [https://docs.example.org/]\n"],
    ),
]
Format = Annotated[FileFormat | None, Meta(description="Null: what it looks like.")]
CopyName = Annotated[
    str, Meta(min_length=1, max_length=MAX_NAME, description='Null: "news copy", "news copy 2".')
]

_OWN = frozenset({"name", "description", "parameters", "spec"})
_FILE = {"content": "name: docs\nspec:\n  urls: [https://docs.example.org/]\n"}
_NOTHING: Mapping[str, Any] = {}


class Templates(Noun):
    """Makes, finds, changes, publishes, fills and deletes templates, as far as one user may.

    A *ref* is an id, a name of one's own, or OWNER/NAME. A template that they may not see raises
    `NotFound`, and one that they may not change `Forbidden`. With *version*, only that version is
    changed: else `Stale` is raised and nothing is written.
    """

    @endpoint("GET /templates", READ, "seq")
    async def list(
        self,
        *,
        visibility: Literal["private", "public"] | None = None,
        owner: Owner | None = None,
        q: Annotated[str, Meta(max_length=500, description="Of name or description.")] = "",
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[TemplateOut]:
        """List templates by name: your own, and those that others have published."""
        name, _, template_id = (cursor or "").partition("/")  # no name has a slash
        query = TemplateQuery(
            owner=self._actor.id if owner == "me" else owner,
            public=None if visibility is None else visibility == "public",
            text=q,
            after=None if cursor is None else (name, template_id),
        )
        found = await self._services.templates.list(self._actor, query, limit + 1)
        return sliced(found, limit, TemplateOut.of, lambda one: f"{one.name}/{one.id}")

    @endpoint("POST /templates", WRITE, status=201)
    async def create(
        self,
        template: Form,
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> TemplateOut:
        """Make a template of yours; nobody else sees it until you publish it."""
        draft = files.draft_of(template)
        with blaming(_OWN, "spec"):
            made = await self._services.templates.create(self._actor, draft)
        return TemplateOut.of(made)

    @endpoint("POST /templates/import", WRITE, status=201, example=_FILE)
    async def import_(
        self,
        content: Content,
        *,
        format_: Format = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> TemplateOut:
        """Make a template of yours of the text of a YAML or JSON file; nothing in it is fetched."""
        draft = await self._read(content, format_)
        return TemplateOut.of(await self._services.templates.create(self._actor, draft))

    @endpoint("POST /templates/validate", READ, example=_FILE)
    async def validate(
        self,
        content: Content | None = None,
        *,
        format_: Format = None,
        template: Checked = _NOTHING,
    ) -> CheckedTemplateOut:
        """Check a template, or the `content` of a file that holds one; nothing is kept."""
        if content is not None:
            for name in template:
                raise unknown(name, name, ("content", "format"), "field")
            return CheckedTemplateOut.of(await self._read(content, format_))
        if format_ is not None:
            raise Invalid("format", "expected the content of a file beside it")
        draft = files.draft_of(template)
        with blaming(_OWN, "spec"):
            files.check_draft(draft)
        return CheckedTemplateOut.of(draft)

    @endpoint("POST /templates/convert", READ, example=_FILE)
    async def convert(
        self, content: Content | None = None, *, template: Checked = _NOTHING
    ) -> ConvertedTemplateOut:
        """Return a template both as fields and as the text of a YAML file; give one of the two.

        A file is checked, fields may be half of a template; nothing is kept. Credentials are
        answered as sent.
        """
        reply().dry_run = True  # with its credentials, the answer is not kept for a repetition
        if content is None:
            draft = files.draft_of(template)
        elif template:
            raise Invalid(next(iter(template)), "expected nothing beside `content`")
        else:
            draft = await self._read(content, None)
        data = files.data_of(draft)
        text = await self._services.intake.written(data, FileFormat.YAML)
        return ConvertedTemplateOut(template=data, content=text)

    @endpoint("GET /templates/{ref}", READ)
    async def get(self, ref: Ref) -> TemplateOut:
        """Return a template as it is now."""
        return TemplateOut.of(await self._services.templates.get(self._actor, ref))

    @endpoint("PATCH /templates/{ref}", WRITE)
    async def edit(self, ref: Ref, changes: Changes, *, version: MustMatch) -> SavedTemplateOut:
        """Make the next version of a template: what is absent stays, null takes a member away.

        A public one is kept without credentials; `stripped` names those that were in it.
        """
        templates, actor = self._services.templates, self._actor
        for _ in range(TRIES):
            old = await templates.changeable(actor, ref, version)
            draft = files.draft_of(merged_object(files.data_of(old.draft), changes))
            try:
                with blaming(_OWN, "spec"):
                    saved = await templates.update(actor, old.id, draft, version=old.version)
            except Stale:  # it was merged with an older version
                if version is not None:
                    raise
                continue
            return SavedTemplateOut.saved(saved)
        raise Conflict(f"template {ref} keeps changing; try again")

    @endpoint("DELETE /templates/{ref}", WRITE, status=204)
    async def delete(self, ref: Ref, *, version: MustMatch) -> None:
        """Delete a template with all versions; refused while schedules use it, which are named."""
        await self._services.templates.delete(self._actor, ref, version=version)

    @endpoint("GET /templates/{ref}/deletion", WRITE)
    async def deletable(self, ref: Ref, *, version: IfMatch = None) -> TemplateDeletionOut:
        """Return what deleting a template would delete, or refuse as that would be."""
        found = await self._services.templates.deletable(self._actor, ref, version=version)
        return TemplateDeletionOut.of(*found)

    @endpoint("GET /templates/{ref}/versions", READ)
    async def versions(
        self, ref: Ref, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[TemplateOut]:
        """List the versions of a template that you may see, the newest first."""
        before = int(cursor or MAX_VERSION + 1)
        found = await self._services.templates.versions(self._actor, ref)
        older = [one for one in found if one.version < before]
        return sliced(older, limit, TemplateOut.of, lambda one: one.version)

    @endpoint("GET /templates/{ref}/versions/{version}", READ)
    async def version(self, ref: Ref, version: TemplateVersion) -> TemplateOut:
        """Return a template as it was at a version."""
        return TemplateOut.of(await self._services.templates.get(self._actor, ref, version))

    @endpoint("POST /templates/{ref}/versions/{version}/restore", WRITE, status=202)
    async def restore(
        self, ref: Ref, version: TemplateVersion, *, latest: IfMatch = None
    ) -> SavedTemplateOut:
        """Make what a version said the next one; name and visibility stay as they are."""
        saved = await self._services.templates.restore(self._actor, ref, version, latest=latest)
        return SavedTemplateOut.saved(saved)

    @endpoint("POST /templates/{ref}/publish", WRITE, status=202)
    async def publish(
        self,
        ref: Ref,
        *,
        confirm: Annotated[
            bool,
            "query",
            Meta(description="Keep the credentials in the owner's schedules that need them."),
        ] = False,
        version: IfMatch = None,
    ) -> SavedTemplateOut:
        """Let others see and use a template, from a version on that has no credentials.

        `stripped` names those that were taken out, `kept` the schedules of the owner that keep
        them as params and overrides of their own. If there are any and `confirm` is not set,
        nothing is changed, and the answer is 409 `confirmation_required` with these `schedules`.
        """
        saved = await self._services.templates.publish(
            self._actor, ref, version=version, confirmed=confirm
        )
        return SavedTemplateOut.saved(saved)

    @endpoint("POST /templates/{ref}/unpublish", WRITE, status=202)
    async def unpublish(self, ref: Ref, *, version: IfMatch = None) -> TemplateOut:
        """Let others not see or use a template any more, no version of it."""
        template = await self._services.templates.unpublish(self._actor, ref, version=version)
        return TemplateOut.of(template)

    @endpoint(
        "POST /templates/{ref}/duplicate", WRITE, status=201, example={"name": "docs of mine"}
    )
    async def duplicate(
        self,
        ref: Ref,
        *,
        name: CopyName | None = None,
        version: TemplateVersion | None = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> TemplateOut:
        """Make a private template of yours that says what another one does."""
        with blaming(_OWN, "spec"):
            copy = await self._services.templates.duplicate(
                self._actor, ref, name=name, version=version
            )
        return TemplateOut.of(copy)

    @endpoint(
        "POST /templates/{ref}/render", READ, example={"overrides": {"limits": {"pages": 100}}}
    )
    async def render(
        self,
        ref: Ref,
        *,
        params: Annotated[
            Mapping[str, Any], Meta(description="Values of its parameters.")
        ] = _NOTHING,
        overrides: Annotated[
            Mapping[str, Any], Meta(description="What differs, as in a job.")
        ] = _NOTHING,
        version: TemplateVersion | None = None,
    ) -> RenderedOut:
        """Return the whole spec that a job would have, and where each value comes from.

        Nothing is kept.
        """
        with blaming(("params", "version"), "overrides"):
            rendered = await self._services.templates.render(
                self._actor, ref, params, overrides, version
            )
        return RenderedOut.of(rendered)

    @endpoint("GET /templates/{ref}/export", READ)
    async def export(
        self,
        ref: Ref,
        *,
        format_: FileFormat = FileFormat.YAML,
        version: TemplateVersion | None = None,
    ) -> str:
        """Return the file of a template; with credentials for those alone who may change it."""
        template = await self._services.templates.get(self._actor, ref, version)
        changes = self._actor.may_change(template.owner) and WRITE in self._permits
        draft = template.draft if changes else stripped(template.draft)[0]
        return await self._services.intake.written(files.data_of(draft), format_)

    async def _read(self, content: str, form: FileFormat | None) -> TemplateDraft:
        if form is FileFormat.JSON and not content.lstrip("\ufeff \t\r\n").startswith("{"):
            raise Invalid("content", "expected an object of JSON, as format says")
        return await self._services.intake.read(content)
