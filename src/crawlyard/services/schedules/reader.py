"""Read access to schedules: lookup, planned runs, ledger and calendar."""

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.schedules.calendar import (
    Calendar,
    CalendarHours,
    ComingHour,
    Occurrence,
    RecentTick,
    coming_hours,
    hours_of,
)
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick
from crawlyard.core.schedules.timetable import check_instant, instants, timetable, zone_of
from crawlyard.core.secret_names import is_secret
from crawlyard.core.templates.secrets import secret_names
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Forbidden, Invalid, NotFound, Version, check_version
from crawlyard.store.queries import ScheduleQuery
from crawlyard.store.store import Store

MOST_OCCURRENCES = 2000
"""The most instants that one calendar shows."""

MOST_COUNTED = 20_000
"""The most runs to come that are computed for the hours of a calendar."""

LONGEST_COUNTED = timedelta(days=31)

MOST_NEXT = 1000
"""The most planned runs of a schedule that can be asked for at once."""

MOST_RECENT = 60
"""How many of the last ticks are shown beside a schedule."""

_AHEAD = timedelta(days=7)
_PROMPT = timedelta(seconds=10)  # twice the longest time a scheduler takes to see a change
_CALENDARS = 16  # answers kept, of at most 31 days each
_MOST_SCHEDULES = 5000  # read for one calendar: each costs about 0.1 ms
_MICROSECOND = timedelta(microseconds=1)


class ScheduleReader:
    """Finds schedules; one that the actor may not see is `NotFound`.

    A *ref* is an id, the name of one of the actor's schedules, or OWNER/NAME.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._computed: OrderedDict[Hashable, _Coming] = OrderedDict()  # the latest last

    async def get(self, actor: Actor, ref: str) -> CrawlSchedule:
        """Return a schedule.

        Raises:
            NotFound: no such schedule that the actor may see.
        """
        if is_id(ref):
            schedule = await self._store.schedules.get(ref.lower())
            if not actor.may_see(schedule.owner):
                raise NotFound(f"no schedule {ref.lower()}")
            return schedule
        owner, slash, name = ref.rpartition("/")
        query = ScheduleQuery(owner=owner if slash else actor.id, name=name)
        if actor.may_see(query.owner or ""):
            for schedule in await self._store.schedules.find(query, 1):
                return schedule
        raise NotFound(f"there is no schedule {ref}")

    async def changeable(self, actor: Actor, ref: str, version: Version = None) -> CrawlSchedule:
        """Return a schedule that the actor may change.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """
        schedule = await self.get(actor, ref)
        if not actor.may_change(schedule.owner):
            raise Forbidden(f"{actor.id} may look at schedule {schedule.name}, not change it")
        check_version(f"schedule {schedule.name}", schedule.version, version)
        return schedule

    async def list(
        self, actor: Actor, query: ScheduleQuery | None = None, limit: int = 50
    ) -> Sequence[CrawlSchedule]:
        """Return the schedules matching *query* that the actor may see, ordered by (name, id)."""
        asked = query or ScheduleQuery()
        if actor.role is not Role.ADMIN:
            asked = replace(asked, owner=actor.id)
        return await self._store.schedules.find(asked, limit)

    async def secret_params(self, schedules: Iterable[CrawlSchedule]) -> Mapping[str, set[str]]:
        """Return the names of the params that are credentials, by schedule id.

        A param is one if it is named like one or fills the place of one in the template.
        """
        used: dict[tuple[str, int | None], frozenset[str]] = {}
        secret: dict[str, set[str]] = {}
        for schedule in schedules:
            secret[schedule.id] = {name for name in schedule.params if is_secret(name)}
            if not schedule.params or schedule.template_id is None:
                continue
            key = schedule.template_id, schedule.template_version
            if key not in used:
                used[key] = await self._secret_places(*key)
            secret[schedule.id] |= used[key]
        return secret

    async def _secret_places(self, template_id: str, version: int | None) -> frozenset[str]:
        try:
            return secret_names((await self._store.templates.get(template_id, version)).spec)
        except NotFound:
            return frozenset()

    async def next_runs(self, actor: Actor, ref: str, count: int = 5) -> Sequence[datetime]:
        """Return the next instants, from now on, at which a schedule is due, at most *count*.

        A paused schedule is treated as active, and jitter is left out. An overdue instant
        is not included: see `overdue`.

        Raises:
            NotFound: no such schedule, or it belongs to another user.
            Invalid: *count* is negative or above `MOST_NEXT`, or the timetable is no longer valid.
        """
        if not 0 <= count <= MOST_NEXT:
            raise Invalid("count", f"expected 0 to {MOST_NEXT:,}, got {count:,}")
        schedule = await self.get(actor, ref)
        timetable(schedule.when, schedule.zone, schedule.anchor)
        if schedule.next_at is None:
            return ()
        most = count if schedule.runs_left is None else min(count, schedule.runs_left)
        since = max(schedule.next_at, self._clock.wall())
        return tuple(instants_of(schedule, since, None, most))

    def overdue(self, schedule: CrawlSchedule) -> datetime | None:
        """Return the instant for which a running scheduler would have fired a schedule by now.

        Return ``None`` if it is on time or paused.
        """
        if self.is_due(schedule, self._clock.wall() - _PROMPT):
            return schedule.next_at
        return None

    async def runs(
        self, actor: Actor, ref: str, before: datetime | None = None, limit: int = 100
    ) -> Sequence[Tick]:
        """Return the ticks of a schedule that were due before an instant, latest first.

        Raises:
            NotFound: no such schedule, or it belongs to another user.
            Invalid: *before* is not a valid instant.
        """
        schedule = await self.get(actor, ref)
        if before is not None:
            check_instant("before", before)
        return await self._store.ticks.ticks(schedule.id, before, limit)

    async def recent(
        self, actor: Actor, schedules: Iterable[CrawlSchedule]
    ) -> Mapping[str, Sequence[RecentTick]]:
        """Return the last `MOST_RECENT` ticks of each of *schedules* by id, latest first.

        Each tick comes with the state of its job. Schedules without ticks, and those that
        the actor may not see, are left out.
        """
        ids = [schedule.id for schedule in schedules if actor.may_see(schedule.owner)]
        return await self._store.ticks.recent(ids, MOST_RECENT)

    async def due_between(
        self, actor: Actor, ref: str, since: datetime, until: datetime, most: int
    ) -> Sequence[datetime]:
        """Return the instants in [*since*, *until*) at which a schedule is due, at most *most*.

        Raises:
            NotFound: no such schedule, or it belongs to another user.
        """
        schedule = await self.get(actor, ref)
        return tuple(instants_of(schedule, since, until, most))

    async def calendar(
        self, actor: Actor, since: datetime | None = None, until: datetime | None = None
    ) -> Calendar:
        """Return when the schedules that the actor may see are due in [*since*, *until*).

        The default range is a week from now. At most `MOST_OCCURRENCES` are returned, in
        order: what was due is read from the ledger, what is to come is computed. A schedule
        whose timetable is no longer valid is listed in `unreadable`.

        Raises:
            Invalid: the range is empty, or outside of the supported years.
        """
        start, end = self._range(since, until)
        found = self._shown(await self.list(actor, limit=_MOST_SCHEDULES + 1))
        past = await self._store.ticks.between(list(found.all), start, end, MOST_OCCURRENCES + 1)
        were = (
            Occurrence(
                due_at=tick.due_at,
                schedule_id=schedule_id,
                schedule_name=found.all[schedule_id].name,
                enabled=found.all[schedule_id].paused_at is None,
                fate=tick.fate,
                job_id=tick.job_id,
            )
            for schedule_id, tick in past
        )
        merged = heapq.merge(were, found.coming(start, end), key=lambda o: o.due_at)
        shown = tuple(islice(merged, MOST_OCCURRENCES + 1))
        is_cut = len(shown) > MOST_OCCURRENCES
        return Calendar(
            occurrences=shown[:MOST_OCCURRENCES],
            whole=found.whole and not is_cut,
            until=shown[-1].due_at if is_cut else end,
            unreadable=found.unreadable,
        )

    async def hours(
        self,
        actor: Actor,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        zone: str = "UTC",
        ref: str | None = None,
    ) -> CalendarHours:
        """Return how many runs there were and will be in each hour of the clock in *zone*.

        Counts are of all schedules that the actor may see, or of the one that *ref* names. At most
        `MOST_COUNTED` runs to come are computed; `until` says how far that went.

        Raises:
            Invalid: the range is empty, outside of the supported years, or longer than
                `LONGEST_COUNTED`; or there is no such zone.
            NotFound: no such schedule that the actor may see.
        """
        start, end = self._range(since, until)
        if end - start > LONGEST_COUNTED:
            raise Invalid("until", f"expected a range of {LONGEST_COUNTED.days} days at most")
        place = zone_of(zone)
        if ref is None:
            found = self._shown(await self.list(actor, limit=_MOST_SCHEDULES + 1))
        else:
            found = self._shown([await self.get(actor, ref)])
        past = await self._store.ticks.counted(list(found.all), start, end)

        coming = await self._coming_hours(found, start, end, place)
        return CalendarHours(
            hours=hours_of(past, coming.hours, place),
            since=start,
            until=coming.until,
            whole=found.whole and not coming.is_cut,
            unreadable=found.unreadable,
        )

    async def _coming_hours(
        self, schedules: "_Shown", start: datetime, end: datetime, zone: ZoneInfo
    ) -> "_Coming":
        """Return the runs to come by hour; they are computed again once a schedule has changed.

        A dashboard asks whenever a job ends, and that changes only the past. Computing 20,000
        runs takes 300 ms of CPU.
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

    def _shown(self, found: Sequence[CrawlSchedule]) -> "_Shown":
        looked_at = found[:_MOST_SCHEDULES]
        unreadable = tuple(one.id for one in looked_at if not _readable(one))
        return _Shown(
            all={one.id: one for one in looked_at},
            unreadable=unreadable,
            whole=len(found) <= _MOST_SCHEDULES and not unreadable,
        )

    def is_due(self, schedule: CrawlSchedule, now: datetime | None = None) -> bool:
        """Return whether a schedule is active and its next instant, with jitter, has come."""
        fire_at = schedule.fire_at
        if fire_at is None or schedule.paused_at is not None:
            return False
        return fire_at <= (now or self._clock.wall())


def _readable(schedule: CrawlSchedule) -> bool:
    try:
        timetable(schedule.when, schedule.zone, schedule.anchor)
    except Invalid:
        return False
    return True


def instants_of(
    schedule: CrawlSchedule, since: datetime, until: datetime | None, most: int
) -> Iterator[datetime]:
    """Return the instants in [*since*, *until*) at which a schedule is due, at most *most*."""
    table = timetable(schedule.when, schedule.zone, schedule.anchor)
    after, least, last = since - _MICROSECOND, schedule.starts_at, schedule.ends_at
    found = islice(instants(table, after, least=least, most=last), most)
    return takewhile(lambda at: until is None or at < until, found)


def _occurrences(schedule: CrawlSchedule, since: datetime, until: datetime) -> Iterator[Occurrence]:
    """Yield what is to come of a schedule in [*since*, *until*): as many as it has runs left."""
    next_at, left = schedule.next_at, schedule.runs_left
    if next_at is None:
        return
    counts = left is not None and left <= MOST_COUNTED
    first = next_at if counts else max(since, next_at)
    most = left if left is not None and counts else MOST_COUNTED + 1
    for at in instants_of(schedule, first, until, most):
        if at >= since:
            yield Occurrence(
                due_at=at,
                schedule_id=schedule.id,
                schedule_name=schedule.name,
                enabled=schedule.paused_at is None,
            )


class _Coming(Struct, frozen=True, kw_only=True):
    """The runs to come in a range of a calendar."""

    hours: Mapping[datetime, ComingHour]
    until: datetime  # runs after it are not computed
    is_cut: bool


class _Shown(Struct, frozen=True, kw_only=True):
    """The schedules of a calendar."""

    all: Mapping[str, CrawlSchedule]  # by id
    unreadable: tuple[str, ...]  # their timetables are no longer valid
    whole: bool  # none is left out

    def coming(self, since: datetime, until: datetime) -> Iterator[Occurrence]:
        """Yield what is to come in [*since*, *until*), in order."""
        each = (
            _occurrences(one, since, until)
            for one in self.all.values()
            if one.id not in self.unreadable
        )
        return heapq.merge(*each, key=lambda one: (one.due_at, one.schedule_name))

    def by_hour(self, since: datetime, until: datetime, zone: ZoneInfo) -> _Coming:
        """Return what is to come in [*since*, *until*) by hour, at most `MOST_COUNTED` runs."""
        coming = list(islice(self.coming(since, until), MOST_COUNTED + 1))
        is_cut = len(coming) > MOST_COUNTED
        horizon = coming[-1].due_at if is_cut else until
        hours = coming_hours((run for run in coming if run.due_at < horizon), zone)
        return _Coming(hours=hours, until=horizon, is_cut=is_cut)
