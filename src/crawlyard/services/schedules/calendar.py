"""Calendar of schedules: past runs from the ledger, and planned runs."""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.schedules.calendar import (
    Calendar,
    CalendarHours,
    ComingHour,
    Occurrence,
    coming_hours,
    hours_of,
)
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.schedules.timetable import check_instant, timetable, zone_of
from crawlyard.errors import Invalid
from crawlyard.services.schedules.lookup import instants_of, jobs_reader, visible_schedules
from crawlyard.store.queries import ScheduleQuery
from crawlyard.store.store import Store

MOST_OCCURRENCES = 2000
"""Maximum number of instants in one calendar."""

MOST_COUNTED = 20_000
"""Maximum number of planned runs computed for the hours of a calendar."""

LONGEST_COUNTED = timedelta(days=31)

MOST_SCHEDULES = 5000
"""Maximum number of schedules in one calendar: each costs about 0.1 ms."""

_AHEAD = timedelta(days=7)
_CALENDARS = 16  # answers kept, of at most 31 days each


class Calendars:
    """Computes calendars of schedules; planned runs are cached until a schedule changes."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._computed: OrderedDict[Hashable, _Coming] = OrderedDict()  # the latest last

    async def occurrences(
        self, actor: Actor, since: datetime | None, until: datetime | None
    ) -> Calendar:
        """Return when the visible schedules, at most `MOST_SCHEDULES`, are due in a range.

        The default range is a week from now. At most `MOST_OCCURRENCES` are returned, in order:
        past runs are read from the ledger, planned runs are computed. A schedule whose timetable is
        no longer valid is listed in `unreadable`.

        Raises:
            Invalid: the range is empty, or outside of the supported years.
        """
        start, end = self._range(since, until)
        included = _Shown.of(await self._schedules(actor))
        past = await self._store.ticks.between(
            list(included.all), start, end, MOST_OCCURRENCES + 1, jobs_reader(actor)
        )
        were = (
            Occurrence(
                due_at=tick.due_at,
                schedule_id=schedule_id,
                schedule_name=included.all[schedule_id].name,
                enabled=included.all[schedule_id].paused_at is None,
                fate=tick.fate,
                job_id=tick.job_id,
            )
            for schedule_id, tick in past
        )
        merged = heapq.merge(were, included.coming(start, end), key=lambda o: o.due_at)
        occurrences = tuple(islice(merged, MOST_OCCURRENCES + 1))
        is_cut = len(occurrences) > MOST_OCCURRENCES
        return Calendar(
            occurrences=occurrences[:MOST_OCCURRENCES],
            whole=included.whole and not is_cut,
            until=occurrences[-1].due_at if is_cut else end,
            unreadable=included.unreadable,
        )

    async def hours(
        self,
        actor: Actor,
        since: datetime | None,
        until: datetime | None,
        zone: str,
        schedule: CrawlSchedule | None,
    ) -> CalendarHours:
        """Return the number of runs in each hour of the clock in *zone*.

        Counts those of *schedule*, or without one, of all visible schedules.

        At most `MOST_COUNTED` runs to come are computed; `until` says how far that went.

        Raises:
            Invalid: the range is empty, outside of the supported years, or longer than
                `LONGEST_COUNTED`; or there is no such zone.
        """
        start, end = self._range(since, until)
        if end - start > LONGEST_COUNTED:
            raise Invalid("until", f"expected a range of {LONGEST_COUNTED.days} days at most")
        place = zone_of(zone)
        included = _Shown.of(await self._schedules(actor) if schedule is None else [schedule])
        past = await self._store.ticks.count_fates(
            list(included.all), start, end, jobs_reader(actor)
        )
        coming = await self._coming_hours(included, start, end, place)
        return CalendarHours(
            hours=hours_of(past, coming.hours, place),
            since=start,
            until=coming.until,
            whole=included.whole and not coming.is_cut,
            unreadable=included.unreadable,
        )

    async def _schedules(self, actor: Actor) -> Sequence[CrawlSchedule]:
        return await visible_schedules(self._store, actor, ScheduleQuery(), MOST_SCHEDULES + 1)

    async def _coming_hours(
        self, schedules: "_Shown", start: datetime, end: datetime, zone: ZoneInfo
    ) -> "_Coming":
        """Return the runs to come by hour; they are computed again once a schedule has changed.

        A dashboard requests them whenever a job ends, which changes only the past. Computing
        20,000 runs takes 300 ms of CPU.
        """
        stamp = start, end, zone.key, tuple((s.id, s.beat) for s in schedules.all.values())
        coming = self._computed.pop(stamp, None)
        if coming is None:
            coming = await asyncio.to_thread(schedules.by_hour, start, end, zone)
        self._computed[stamp] = coming
        if len(self._computed) > _CALENDARS:
            self._computed.popitem(last=False)
        return coming

    def _range(self, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
        start = self._clock.wall() if since is None else since
        check_instant("since", start)
        end = start + _AHEAD if until is None else until
        check_instant("until", end)
        if start >= end:
            raise Invalid("until", "expected a range that ends after it begins")
        return start, end


def _readable(schedule: CrawlSchedule) -> bool:
    try:
        timetable(schedule.when, schedule.zone, schedule.anchor)
    except Invalid:
        return False
    return True


def _occurrences(schedule: CrawlSchedule, since: datetime, until: datetime) -> Iterator[Occurrence]:
    """Yield the planned runs of a schedule in [*since*, *until*), at most its remaining runs."""
    next_at, remaining = schedule.next_at, schedule.runs_left
    if next_at is None:
        return
    counts = remaining is not None and remaining <= MOST_COUNTED
    first = next_at if counts else max(since, next_at)
    most = remaining if remaining is not None and counts else MOST_COUNTED + 1
    for at in instants_of(schedule, first, until, most):
        if at >= since:
            yield Occurrence(
                due_at=at,
                schedule_id=schedule.id,
                schedule_name=schedule.name,
                enabled=schedule.paused_at is None,
            )


class _Coming(Struct, frozen=True, kw_only=True):
    """The planned runs in a range of a calendar."""

    hours: Mapping[datetime, ComingHour]
    until: datetime  # runs after it are not computed
    is_cut: bool


class _Shown(Struct, frozen=True, kw_only=True):
    """The schedules of a calendar."""

    all: Mapping[str, CrawlSchedule]  # by id
    unreadable: tuple[str, ...]  # their timetables are no longer valid
    whole: bool  # none is left out

    @staticmethod
    def of(schedules: Sequence[CrawlSchedule]) -> "_Shown":
        """Return the first `MOST_SCHEDULES` of *schedules*."""
        included = schedules[:MOST_SCHEDULES]
        unreadable = tuple(schedule.id for schedule in included if not _readable(schedule))
        return _Shown(
            all={schedule.id: schedule for schedule in included},
            unreadable=unreadable,
            whole=len(schedules) == len(included) and not unreadable,
        )

    def coming(self, since: datetime, until: datetime) -> Iterator[Occurrence]:
        """Yield the planned runs in [*since*, *until*), in order."""
        each = (
            _occurrences(schedule, since, until)
            for schedule in self.all.values()
            if schedule.id not in self.unreadable
        )
        return heapq.merge(
            *each, key=lambda occurrence: (occurrence.due_at, occurrence.schedule_name)
        )

    def by_hour(self, since: datetime, until: datetime, zone: ZoneInfo) -> _Coming:
        """Return the planned runs in [*since*, *until*) by hour, at most `MOST_COUNTED`."""
        coming = list(islice(self.coming(since, until), MOST_COUNTED + 1))
        is_cut = len(coming) > MOST_COUNTED
        horizon = coming[-1].due_at if is_cut else until
        hours = coming_hours((run for run in coming if run.due_at < horizon), zone)
        return _Coming(hours=hours, until=horizon, is_cut=is_cut)
