"""Schedules as they are: found, and asked when they are due and what became of it."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from crawlyard.clock import Clock
from crawlyard.core.schedule import CrawlSchedule, Tick
from crawlyard.core.template import is_id
from crawlyard.core.timetable import timetable
from crawlyard.core.user import Actor, Role
from crawlyard.errors import Invalid, NotFound
from crawlyard.services.schedule_records import Calendar, Occurrence
from crawlyard.store.base import ScheduleQuery, Store

MOST_OCCURRENCES = 2000
"""Instants that one calendar shows."""

_MOST_SCHEDULES = 5000  # that one calendar looks at: each costs about 0.1 ms
_MICROSECOND = timedelta(microseconds=1)


class ScheduleReader:
    """Finds schedules; what the actor may not see does not exist for him (`NotFound`)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def get(self, actor: Actor, schedule_id: str) -> CrawlSchedule:
        """Return a schedule.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        schedule = await self._store.schedules.get(schedule_id)
        if not actor.may_see(schedule.owner):
            raise NotFound(f"no schedule {schedule_id}")
        return schedule

    async def list(
        self, actor: Actor, query: ScheduleQuery | None = None, limit: int = 50
    ) -> Sequence[CrawlSchedule]:
        """Return the schedules that the actor may see and *query* asks for, by (name, id)."""
        asked = query or ScheduleQuery()
        if actor.role is not Role.ADMIN:
            asked = replace(asked, owner=actor.id)
        return await self._store.schedules.find(asked, limit)

    async def resolve(self, actor: Actor, word: str) -> str:
        """Return the id that *word* means: an id, the name of one of the actor's, OWNER/NAME.

        Raises:
            NotFound: there is none that the actor may see.
        """
        if is_id(word):
            return (await self.get(actor, word.lower())).id
        owner, slash, name = word.rpartition("/")
        query = ScheduleQuery(owner=owner if slash else actor.id, name=name)
        if actor.may_see(query.owner or ""):
            for schedule in await self._store.schedules.find(query, 1):
                return schedule.id
        raise NotFound(f"there is no schedule {word}")

    async def next_runs(self, actor: Actor, schedule_id: str, count: int = 5) -> Sequence[datetime]:
        """Return the next instants at which a schedule will be due, at most *count*.

        A paused one is shown as if it were on; jitter is left out.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        schedule = await self.get(actor, schedule_id)
        if schedule.next_at is None:
            return []
        most = count if schedule.runs_left is None else min(count, schedule.runs_left)
        return tuple(instants_of(schedule, schedule.next_at, None, most))

    async def runs(
        self, actor: Actor, schedule_id: str, before: datetime | None = None, limit: int = 100
    ) -> Sequence[Tick]:
        """Return the ledger of a schedule before an instant, the latest first.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        await self.get(actor, schedule_id)
        return await self._store.ticks.ticks(schedule_id, before, limit)

    async def calendar(self, actor: Actor, since: datetime, until: datetime) -> Calendar:
        """Return when the actor's schedules are due from *since* up to and without *until*.

        At most `MOST_OCCURRENCES`, in their order, by the time tables as they are now.

        Raises:
            Invalid: the range is empty.
        """
        if since >= until:
            raise Invalid("until", "expected a range that ends after it begins")
        schedules = await self.list(actor, limit=_MOST_SCHEDULES + 1)
        now = self._clock.wall()
        each = [_occurrences(s, since, until, now) for s in schedules[:_MOST_SCHEDULES]]
        merged = heapq.merge(*each, key=lambda o: (o.due_at, o.schedule.name))
        found = [o for o, _ in zip(merged, range(MOST_OCCURRENCES + 1), strict=False)]
        whole = len(found) <= MOST_OCCURRENCES and len(schedules) <= _MOST_SCHEDULES
        return Calendar(occurrences=tuple(found[:MOST_OCCURRENCES]), whole=whole)

    def is_due(self, schedule: CrawlSchedule, now: datetime | None = None) -> bool:
        """Tell whether a schedule is on and its next instant has come, jitter included."""
        fire_at = schedule.fire_at
        if fire_at is None or schedule.paused_at is not None:
            return False
        return fire_at <= (now or self._clock.wall())


def instants_of(
    schedule: CrawlSchedule, since: datetime, until: datetime | None, most: int
) -> Iterator[datetime]:
    """Yield when a schedule is due from *since* up to and without *until*, at most *most*."""
    table = timetable(schedule.when, schedule.zone, schedule.anchor)
    at = max(since, schedule.starts_at or since) - _MICROSECOND
    for _ in range(most):
        following = table.after(at)
        if following is None or (until is not None and following >= until):
            return
        if schedule.ends_at is not None and following > schedule.ends_at:
            return
        yield following
        at = following


def _occurrences(
    schedule: CrawlSchedule, since: datetime, until: datetime, now: datetime
) -> Iterator[Occurrence]:
    """Yield what a calendar shows of a schedule: no more than it has runs left to come."""
    next_at, left = schedule.next_at or now, schedule.runs_left
    if schedule.next_at is None:
        until = min(until, now)
    for at in instants_of(schedule, since, until, MOST_OCCURRENCES + 1):
        if left is not None and at >= next_at:
            if left == 0:
                return
            left -= 1
        yield Occurrence(due_at=at, schedule=schedule)
