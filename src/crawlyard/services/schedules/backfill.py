"""Backfills: jobs for past instants of a schedule that did not run."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.schedules.decision import foreseen
from crawlyard.core.schedules.schedule import (
    Backfilled,
    CrawlSchedule,
    Tick,
    TickOutcome,
    TickReason,
    ticked,
)
from crawlyard.core.schedules.timetable import check_instant
from crawlyard.errors import Invalid, Version, check_version
from crawlyard.services.schedules.reader import instants_of
from crawlyard.services.schedules.ticker import TRIES, Ticker, keeps_changing
from crawlyard.store.queries import Firing
from crawlyard.store.store import Store

MOST_BACKFILLED = 1000
"""The most instants of a backfill within a request of the library."""

AT_ONCE = 200
"""The most instants that are backfilled within a request; more start an operation."""

MOST_INSTANTS = 10_000
"""The most instants of one operation."""

_PORTION = 200  # jobs in one transaction
_MICROSECOND = timedelta(microseconds=1)


class Backfiller:
    """Submits jobs for instants that were decided without one; undecided ones are left alone."""

    def __init__(self, store: Store, ticker: Ticker, clock: Clock) -> None:
        self._store = store
        self._ticker = ticker
        self._clock = clock

    async def look(
        self, schedule: CrawlSchedule, since: datetime, until: datetime | None
    ) -> Backfilled:
        """Return what `make` would do if it were called now; write nothing.

        Raises:
            Invalid: the range is not valid, or too long.
        """
        end, instants = self._range(schedule, since, until)
        known = dict(await self._store.ticks.ticks_between(schedule.id, since, end))
        after, now = schedule, self._clock.wall()
        if schedule.fire_at is not None and schedule.fire_at <= now and not schedule.flaw:
            # `make` fires what is due first: the policies run some of it, and the rest is open
            active = await self._store.ticks.active([schedule.id])
            after, rows = foreseen(schedule, now, active.get(schedule.id, ()))
            known |= rows
        ticks = [
            _backfilled(schedule, at, self._clock.now())
            for at in _decided(after, instants)
            if at not in known or _is_open(known[at])
        ]
        kept = len(instants) - len(ticks)
        return Backfilled(dry_run=True, runs=tuple(ticks), kept=kept, since=since, until=end)

    async def make(
        self,
        schedule: CrawlSchedule,
        since: datetime,
        until: datetime | None,
        by: str,
        version: Version = None,
    ) -> Backfilled:
        """Fire what is due, then submit a job for each instant that still has none.

        Raises:
            Invalid: the range is not valid, or too long; or a job cannot be submitted.
            NotFound, Forbidden: a job cannot be submitted.
            Stale: the schedule is no longer at *version*; jobs submitted before that are kept.
            Conflict: the schedule keeps changing.
        """
        end, instants = self._range(schedule, since, until)
        await self._ticker.fire(schedule.id)
        done: list[Tick] = []
        for start in range(0, len(instants), _PORTION):
            portion = instants[start : start + _PORTION]
            done += await self._portion(schedule.id, portion, by, version)
        kept = len(instants) - len(done)
        return Backfilled(dry_run=False, runs=tuple(done), kept=kept, since=since, until=end)

    def _range(
        self, schedule: CrawlSchedule, since: datetime, until: datetime | None
    ) -> tuple[datetime, list[datetime]]:
        now = self._clock.wall()
        end = now if until is None else until
        for name, instant in (("since", since), ("until", end)):
            check_instant(name, instant)
        if not since < end <= now:
            raise Invalid("until", "expected a range that ends after it begins, and before now")
        instants = list(instants_of(schedule, since, end, MOST_BACKFILLED + 1))
        if len(instants) > MOST_BACKFILLED:
            raise Invalid("since", f"expected at most {MOST_BACKFILLED:,} instants; narrow it")
        return end, instants

    async def _portion(
        self, schedule_id: str, instants: Sequence[datetime], by: str, version: Version
    ) -> Sequence[Tick]:
        for _ in range(TRIES):
            schedule = await self._store.schedules.get(schedule_id)
            check_version(f"schedule {schedule.name}", schedule.version, version)
            firing = await self._firing(schedule, instants, by)
            if not firing.ticks or await self._ticker.write([firing]):
                return firing.ticks
        raise keeps_changing(schedule_id)

    async def _firing(
        self, schedule: CrawlSchedule, instants: Sequence[datetime], by: str
    ) -> Firing:
        """Return what to write for those of *instants* that are decided and still open."""
        until = instants[-1] + _MICROSECOND
        known = await self._store.ticks.ticks_between(schedule.id, instants[0], until)
        missing = [
            at for at in _decided(schedule, instants) if at not in known or _is_open(known[at])
        ]
        await self._ticker.check_room(schedule, len(missing))
        made = await self._ticker.new_jobs(schedule, missing, by)
        now = self._clock.now()
        ticks = tuple(_backfilled(schedule, at, now, job.id) for at, (job, _) in made)
        # editing an ended schedule must not bring backfilled instants back
        latest = [tick.due_at for tick in ticks[-1:]]
        decided_to = max((*latest, *filter(None, [schedule.decided_to])), default=None)
        return Firing(
            after=replace(schedule, decided_to=decided_to, beat=schedule.beat + 1),
            ticks=ticks,
            jobs=tuple(new for _, new in made),
            events=tuple(ticked(schedule, tick, by) for tick in ticks),
        )


def _decided(schedule: CrawlSchedule, instants: Sequence[datetime]) -> list[datetime]:
    """Return those of *instants* that the scheduler has already passed."""
    return [at for at in instants if schedule.next_at is None or at < schedule.next_at]


def _backfilled(
    schedule: CrawlSchedule, at: datetime, now: datetime, job_id: str | None = None
) -> Tick:
    """Return the ledger row of a backfilled instant."""
    return Tick(
        schedule_id=schedule.id,
        due_at=at,
        outcome=TickOutcome.CAUGHT_UP,
        reason=TickReason.BACKFILL,
        job_id=job_id,
        decided_at=now,
    )


def _is_open(tick: Tick) -> bool:
    """Return whether a tick neither has a job nor waits for one."""
    return tick.job_id is None and tick.outcome is not TickOutcome.WAITING
