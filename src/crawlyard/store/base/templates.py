"""What is asked of a store about templates."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from crawlyard.core.event import Event
from crawlyard.core.schedule import CrawlSchedule
from crawlyard.core.template import CrawlTemplate

Carry: TypeAlias = Callable[[Sequence[CrawlSchedule]], Sequence[tuple[CrawlSchedule, Event]]]
"""Of the schedules that it is given, those that a new version of their template changes."""


class TemplateQuery(Struct, frozen=True, kw_only=True):
    """Which templates; an empty field asks nothing."""

    owner: str | None = None
    seen_by: str | None = None  # this user's own, and all that are public
    public: bool | None = None
    name: str | None = None  # exactly
    text: str = ""  # a part of the name or description, whatever its case
    after: tuple[str, str] | None = None  # (name, id): behind this one, in the order of `find`


class TemplateStore(Protocol):
    """The templates, with all their versions. Names are unique per owner."""

    async def add(self, template: CrawlTemplate, event: Event) -> None:
        """Remember a new template, at version 1.

        Raises:
            Conflict: its id is taken, or its owner has one of that name.
        """
        ...

    async def get(self, template_id: str, version: int | None = None) -> CrawlTemplate:
        """Return a template as it was at *version*, the latest by default.

        Raises:
            NotFound: there is none of that id, or no such version.
        """
        ...

    async def save(self, template: CrawlTemplate, event: Event, carry: Carry | None = None) -> None:
        """Add version ``template.version``, which follows the latest. Earlier ones stay.

        In the same transaction *carry* is given the schedules of the template's owner that
        follow its latest version, by id, and what it returns of them is saved, their ids,
        names and templates unchanged. Nothing is written if it raises.

        Raises:
            Conflict: the latest is another, the template is gone, or the name is taken.
        """
        ...

    async def find(self, query: TemplateQuery, limit: int) -> list[CrawlTemplate]:
        """Return the latest versions that *query* asks for, by (name, id), at most *limit*."""
        ...

    async def versions(self, template_id: str) -> Sequence[CrawlTemplate]:
        """Return all versions of a template, the newest first; none if there is no template."""
        ...

    async def check_unused(self, template_id: str, seen_by: str | None = None) -> None:
        """Check that no schedule uses a template.

        Raises:
            Conflict: one does, as for `delete`.
        """
        ...

    async def delete(
        self, template_id: str, version: int, event: Event, seen_by: str | None = None
    ) -> None:
        """Delete a template with all versions.

        Raises:
            Conflict: the latest version is another, or a schedule uses the template: the
                message names the schedules of *seen_by*, ``None``: all of them, and
                counts the others.
        """
        ...
