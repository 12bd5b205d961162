"""`TemplateStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Sequence
from copy import deepcopy

from msgspec import Struct

from crawlyard.core.event import Event
from crawlyard.core.schedule import CrawlSchedule
from crawlyard.core.template import CrawlTemplate
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base import Carry, TemplateQuery
from crawlyard.store.codec.templates import search_of, template_of, template_row, version_row
from crawlyard.store.memory.schedules import kept
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.naming import in_use, taken
from crawlyard.store.text import scrubbed


class MemoryTemplates(Struct, frozen=True):
    """`TemplateStore` in memory."""

    _shelf: Shelf

    async def add(self, template: CrawlTemplate, event: Event) -> None:
        if template.id in self._shelf.templates:
            raise Conflict(f"there is a template {template.id} already")
        self._check_name(template)
        self._shelf.templates[template.id] = [_kept(template)]
        self._shelf.tell(event)

    async def get(self, template_id: str, version: int | None = None) -> CrawlTemplate:
        versions = self._shelf.templates.get(template_id)
        if versions is None:
            raise NotFound(f"no template {template_id}")
        if version is None:
            return deepcopy(versions[-1])
        if not 1 <= version <= len(versions):
            raise NotFound(f"no version {version} of template {template_id}")
        return deepcopy(versions[version - 1])

    async def save(self, template: CrawlTemplate, event: Event, carry: Carry | None = None) -> None:
        self._check_version(template.id, template.version - 1)
        self._check_name(template)
        carried = carry(self._following(template)) if carry else ()
        self._shelf.templates[template.id].append(_kept(template))
        self._shelf.schedules |= {schedule.id: kept(schedule) for schedule, _ in carried}
        self._shelf.tell(event, *(about for _, about in carried))

    async def find(self, query: TemplateQuery, limit: int) -> list[CrawlTemplate]:
        fitting = (t for t in self._latest() if _fits(query, t))
        return deepcopy(sorted(fitting, key=lambda t: (t.name, t.id))[:limit])

    async def versions(self, template_id: str) -> Sequence[CrawlTemplate]:
        return deepcopy(self._shelf.templates.get(template_id, [])[::-1])

    async def check_unused(self, template_id: str, seen_by: str | None = None) -> None:
        schedules = self._shelf.schedules.values()
        users = [(s.owner, s.name) for s in schedules if s.template_id == template_id]
        if users:
            raise in_use(template_id, users, seen_by)

    async def delete(
        self, template_id: str, version: int, event: Event, seen_by: str | None = None
    ) -> None:
        self._check_version(template_id, version)
        await self.check_unused(template_id, seen_by)
        del self._shelf.templates[template_id]
        self._shelf.tell(event)

    def _following(self, template: CrawlTemplate) -> list[CrawlSchedule]:
        following = (template.id, template.owner, None)
        return [
            schedule
            for _, schedule in sorted(self._shelf.schedules.items())
            if (schedule.template_id, schedule.owner, schedule.template_version) == following
        ]

    def _latest(self) -> list[CrawlTemplate]:
        return [versions[-1] for versions in self._shelf.templates.values()]

    def _check_version(self, template_id: str, version: int) -> None:
        versions = self._shelf.templates.get(template_id)
        if versions is None or versions[-1].version != version:
            raise Conflict(f"template {template_id} is not at version {version} any more")

    def _check_name(self, template: CrawlTemplate) -> None:
        same = (template.owner, template.name)
        if any((t.owner, t.name) == same and t.id != template.id for t in self._latest()):
            raise taken("template", template.name)


def _kept(template: CrawlTemplate) -> CrawlTemplate:
    """Return *template* as it comes back from a database: its values are JSON's."""
    clean = scrubbed(template)
    return template_of(template_row(clean) | version_row(clean))


def _fits(query: TemplateQuery, template: CrawlTemplate) -> bool:
    return (
        query.owner in (None, template.owner)
        and (query.seen_by in (None, template.owner) or template.public)
        and query.public in (None, template.public)
        and query.name in (None, template.name)
        and query.text.casefold() in search_of(template)
        and (query.after is None or (template.name, template.id) > query.after)
    )
