"""What the command line asks of a yard about templates, wherever that is."""

from collections.abc import Mapping
from typing import Protocol

from crawlyard.core.answers.templates.templates import (
    RenderedOut,
    SavedTemplateOut,
    TemplateFileOut,
    TemplateOut,
)
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.templates.template import TemplateDraft
from crawlyard.store.queries import TemplateQuery


class TemplateReader(Protocol):
    """Finds templates and fills them. What does not exist for the user is `NotFound`.

    A *ref* is an id, the name of one of the user's own, or OWNER/NAME.
    """

    async def get(self, ref: str, version: int | None = None) -> TemplateOut:
        """Return one template, as it was at *version* or as it is."""
        ...

    async def find(self, query: TemplateQuery, limit: int, *, mine: bool) -> list[TemplateOut]:
        """Return the templates that *query* asks for, by (name, id), at most *limit*.

        *mine*: only those of the user.
        """
        ...

    async def versions(self, ref: str) -> list[TemplateOut]:
        """Return the versions that the user may see, the newest first."""
        ...

    async def file(self, ref: str, version: int | None = None) -> TemplateFileOut:
        """Return what the file of a template holds, credentials and all."""
        ...

    async def render(
        self, ref: str, params: Mapping[str, object], overrides: Form, version: int | None
    ) -> RenderedOut:
        """Return the whole spec that a job would have. Raises `Invalid` if it cannot be."""
        ...

    async def submit(
        self, ref: str, params: Mapping[str, object], overrides: Form, version: int | None
    ) -> str:
        """Make a job that is due now; return its id. Raises `Invalid` if it cannot be crawled."""
        ...


class TemplateChanger(Protocol):
    """Makes and changes templates, and returns them as they then are.

    Each may raise `NotFound`, `Forbidden`, and `Conflict` where a name is taken or
    somebody else was faster.
    """

    async def create(self, draft: TemplateDraft) -> TemplateOut:
        """Remember a new template. Raises `Invalid` if something in it is wrong."""
        ...

    async def update(
        self, ref: str, draft: TemplateDraft, version: int | None = None
    ) -> SavedTemplateOut:
        """Make *draft* the next version; *version* is the one that it was made from."""
        ...

    async def publish(self, ref: str, *, confirmed: bool) -> SavedTemplateOut:
        """Let others see and use it. Raises `Unconfirmed` if that has to be confirmed first."""
        ...

    async def unpublish(self, ref: str) -> TemplateOut:
        """Let nobody else see or use it any more."""
        ...

    async def duplicate(self, ref: str, name: str | None, version: int | None) -> TemplateOut:
        """Make a private template of one's own that says the same."""
        ...

    async def restore(self, ref: str, version: int) -> SavedTemplateOut:
        """Make what an earlier version said the next one."""
        ...

    async def delete(self, ref: str) -> None:
        """Delete it with all its versions. Raises `Conflict` if schedules use it."""
        ...


class TemplateClient(TemplateReader, TemplateChanger, Protocol):
    """All of them; each method is one call of the services, or one endpoint of the API."""
