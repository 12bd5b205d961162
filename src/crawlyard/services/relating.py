"""What jobs and schedules belong to: templates, schedules, owners; and a schedule's last ticks."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from enum import StrEnum, auto
from functools import partial
from typing import Generic, TypeVar

from msgspec import Struct

from crawlyard.core.job import Job
from crawlyard.core.schedule import CrawlSchedule
from crawlyard.core.schedule_records import RecentTick
from crawlyard.core.template import CrawlTemplate
from crawlyard.core.user import Actor, User
from crawlyard.errors import NotFound
from crawlyard.services.scheduler import Scheduler
from crawlyard.services.templates import TemplateManager
from crawlyard.services.users import Users

T = TypeVar("T")


class Relation(StrEnum):
    """What a thing may belong to."""

    TEMPLATE = auto()  # at the version that it was made of
    SCHEDULE = auto()
    OWNER = auto()
    RECENT = auto()  # of a schedule: its last ticks, with their jobs


class Related(Struct, frozen=True, kw_only=True):
    """What one thing belongs to; ``None``: nothing, it was not asked for, or cannot be seen."""

    template: CrawlTemplate | None = None
    schedule: CrawlSchedule | None = None
    owner: User | None = None
    recent: Sequence[RecentTick] | None = None  # of a schedule, the latest first

    @property
    def versions(self) -> tuple[object, ...]:
        """Return what changes when one of them does."""
        named = (self.template, self.schedule, self.owner)
        beat = None if self.schedule is None else self.schedule.beat  # its runs make no version
        of_ticks = [(one.tick.beat, one.tick.due_at, one.state) for one in self.recent or ()]
        return (*(None if one is None else one.version for one in named), beat, *of_ticks)


class Relations:
    """Finds what things belong to. What the actor may not see is not there."""

    def __init__(self, templates: TemplateManager, scheduler: Scheduler, users: Users) -> None:
        self._templates = templates
        self._scheduler = scheduler
        self._users = users

    async def of(
        self, actor: Actor, things: Sequence[Job | CrawlSchedule], asked: Collection[Relation]
    ) -> list[Related]:
        """Return what each of *things* belongs to, in their order; nothing is read twice."""
        templates = _Known(partial(self._templates.get, actor))
        schedules = _Known(partial(self._scheduler.get, actor))
        owners = _Known(partial(self._users.get, actor))
        recent = await self._recent(actor, things) if Relation.RECENT in asked else None
        found = []
        for thing in things:
            made_of = thing.origin if isinstance(thing, Job) else thing
            schedule_id = thing.origin.schedule_id if isinstance(thing, Job) else None
            template = schedule = owner = None
            if Relation.TEMPLATE in asked and made_of.template_id is not None:
                template = await templates.get(made_of.template_id, made_of.template_version)
            if Relation.SCHEDULE in asked and schedule_id is not None:
                schedule = await schedules.get(schedule_id)
            if Relation.OWNER in asked:
                owner = await owners.get(thing.owner)
            ticks = None if recent is None else recent.get(thing.id, ())
            found.append(Related(template=template, schedule=schedule, owner=owner, recent=ticks))
        return found

    async def _recent(
        self, actor: Actor, things: Sequence[Job | CrawlSchedule]
    ) -> Mapping[str, Sequence[RecentTick]]:
        """Return the last ticks of all schedules among *things*, by a single question."""
        schedules = [thing for thing in things if isinstance(thing, CrawlSchedule)]
        return await self._scheduler.recent(actor, schedules)


class _Known(Generic[T]):
    """What was looked up, and what was not there."""

    def __init__(self, look: Callable[..., Awaitable[T]]) -> None:
        self._look = look
        self._found: dict[tuple[object, ...], T | None] = {}

    async def get(self, *key: object) -> T | None:
        """Return what is there by a key, ``None``: nothing that may be seen."""
        if key not in self._found:
            try:
                self._found[key] = await self._look(*key)
            except NotFound:
                self._found[key] = None
        return self._found[key]
