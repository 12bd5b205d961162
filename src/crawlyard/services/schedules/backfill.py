"""Backfills: jobs for past instants of a schedule that did not run."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.operations.operation import Operation, OperationKind
from crawlyard.core.schedules.decision import foresee
from crawlyard.core.schedules.schedule import (
    Backfilled,
    CrawlSchedule,
    Tick,
    TickOutcome,
    TickReason,
    tick_event,
)
from crawlyard.core.schedules.timetable import check_instant
from crawlyard.errors import Invalid, Version, check_version
from crawlyard.services.operations.operations import Operations, Portion
from crawlyard.services.schedules.lookup import changeable_schedule, find_schedule, instants_of
from crawlyard.services.schedules.ticker import TRIES, Ticker, keeps_changing
from crawlyard.store.queries import Firing

MAX_INSTANTS_PER_CALL = 1000
"""Maximum number of instants in one call of `backfill` or `plan_backfill`."""

MAX_INSTANTS_PER_REQUEST = 200
"""Maximum number of instants backfilled within an API request; more start an operation."""

MAX_INSTANTS_PER_OPERATION = 10_000
"""Maximum number of instants in one operation."""

_BATCH_SIZE = 200  # jobs in one transaction
_PORTION_SIZE = 100  # instants in each portion of an operation
_MICROSECOND = timedelta(microseconds=1)


async def plan_backfill(
    ticker: Ticker, schedule: CrawlSchedule, since: datetime, until: datetime
) -> Backfilled:
    """Return what `backfill` would do if it were called now; write nothing.

    Raises:
        Invalid: the range is too long.
    """
    instants = _list_instants(schedule, since, until)
    ticks_by_instant = dict(await ticker.store.ticks.ticks_between(schedule.id, since, until))
    schedule_after, now = schedule, ticker.clock.wall()
    if schedule.fire_at is not None and schedule.fire_at <= now and not schedule.flaw:
        # `backfill` fires what is due first: the policies run some of it, and the rest stays open
        active = await ticker.store.ticks.active([schedule.id])
        schedule_after, due_ticks = foresee(schedule, now, active.get(schedule.id, ()))
        ticks_by_instant |= due_ticks
    ticks = [
        _backfill_tick(schedule, at, ticker.clock.now())
        for at in _filter_decided(schedule_after, instants)
        if at not in ticks_by_instant or _is_open(ticks_by_instant[at])
    ]
    skipped = len(instants) - len(ticks)
    return Backfilled(dry_run=True, runs=tuple(ticks), kept=skipped, since=since, until=until)


async def backfill(
    ticker: Ticker,
    schedule: CrawlSchedule,
    since: datetime,
    until: datetime,
    by: str,
    version: Version = None,
) -> Backfilled:
    """Fire what is due, then submit a job for each instant that still has none.

    All jobs are submitted at once, regardless of the overlap policy; the queue and the rate
    limits of hosts spread them out. Instants that ran, wait to run or are undecided are left as
    they are. After an error, jobs already submitted are kept, and a second call does the rest.

    Raises:
        Invalid: the range is too long; or a job cannot be submitted.
        NotFound, Forbidden: a job cannot be submitted.
        Stale: the schedule is no longer at *version*; jobs submitted before that are kept.
        Conflict: the schedule keeps changing.
    """
    instants = _list_instants(schedule, since, until)
    await ticker.fire(schedule.id)
    ticks: list[Tick] = []
    for start in range(0, len(instants), _BATCH_SIZE):
        batch = instants[start : start + _BATCH_SIZE]
        ticks += await _backfill_batch(ticker, schedule.id, batch, by, version)
    skipped = len(instants) - len(ticks)
    return Backfilled(dry_run=False, runs=tuple(ticks), kept=skipped, since=since, until=until)


async def backfill_portion(
    ticker: Ticker,
    actor: Actor,
    operation: Operation,
    again: bool,  # noqa: ARG001, FBT001 - part of `Worker`; instants that have a job are skipped
) -> Portion:
    """Backfill the next instants of the schedule of an operation."""
    request = operation.request
    until = datetime.fromisoformat(str(request["until"]))
    begin = datetime.fromisoformat(operation.cursor or str(request["since"]))
    version = request.get("version")
    version = version if isinstance(version, int) else None
    schedule = await find_schedule(ticker.store, actor, str(request["schedule_id"]), shared=True)
    instants = tuple(instants_of(schedule, begin, until, _PORTION_SIZE + 1))
    end = instants[_PORTION_SIZE] if len(instants) > _PORTION_SIZE else until
    if instants:
        schedule = await changeable_schedule(ticker.store, actor, schedule.id, version, to_run=True)
        await backfill(ticker, schedule, begin, end, actor.id, version)
    return Portion(
        done=min(len(instants), _PORTION_SIZE),
        failures=(),
        cursor=end.isoformat(),
        over=len(instants) <= _PORTION_SIZE,
    )


async def backfill_in_background(
    operations: Operations,
    actor: Actor,
    schedule: CrawlSchedule,
    since: datetime,
    until: datetime,
    version: Version,
) -> Operation | None:
    """Start an operation that backfills a range with more than `MAX_INSTANTS_PER_REQUEST` instants.

    It fails once the schedule is no longer at *version*. Return ``None`` if there are fewer:
    `backfill` does it at once.

    Raises:
        Invalid: there are more than `MAX_INSTANTS_PER_OPERATION`.
    """
    count = sum(1 for _ in instants_of(schedule, since, until, MAX_INSTANTS_PER_OPERATION + 1))
    if count <= MAX_INSTANTS_PER_REQUEST:
        return None
    if count > MAX_INSTANTS_PER_OPERATION:
        raise Invalid(
            "since", f"expected at most {MAX_INSTANTS_PER_OPERATION:,} instants; narrow it"
        )
    request: dict[str, object] = {
        "schedule_id": schedule.id,
        "since": since.isoformat(),
        "until": until.isoformat(),
    }
    if version is not None:
        request["version"] = schedule.version
    return await operations.start(actor, OperationKind.BACKFILL, request, count)


def check_range(since: datetime, until: datetime, now: datetime) -> None:
    """Check the range of a backfill.

    Raises:
        Invalid: the range is empty, reaches beyond now, or is outside of the supported years.
    """
    check_instant("since", since)
    check_instant("until", until)
    if not since < until <= now:
        raise Invalid("until", "expected a range that ends after it begins, and before now")


def _list_instants(schedule: CrawlSchedule, since: datetime, until: datetime) -> list[datetime]:
    instants = list(instants_of(schedule, since, until, MAX_INSTANTS_PER_CALL + 1))
    if len(instants) > MAX_INSTANTS_PER_CALL:
        raise Invalid("since", f"expected at most {MAX_INSTANTS_PER_CALL:,} instants; narrow it")
    return instants


async def _backfill_batch(
    ticker: Ticker, schedule_id: str, instants: Sequence[datetime], by: str, version: Version
) -> Sequence[Tick]:
    for _ in range(TRIES):
        schedule = await ticker.store.schedules.get(schedule_id)
        check_version(f"schedule {schedule.name}", schedule.version, version)
        firing = await _prepare_firing(ticker, schedule, instants, by)
        if not firing.ticks or await ticker.write([firing]):
            return firing.ticks
    raise keeps_changing(schedule_id)


async def _prepare_firing(
    ticker: Ticker, schedule: CrawlSchedule, instants: Sequence[datetime], by: str
) -> Firing:
    """Return the writes for those of *instants* that are decided and still open."""
    until = instants[-1] + _MICROSECOND
    ticks_by_instant = await ticker.store.ticks.ticks_between(schedule.id, instants[0], until)
    missing = [
        at
        for at in _filter_decided(schedule, instants)
        if at not in ticks_by_instant or _is_open(ticks_by_instant[at])
    ]
    await ticker.check_room(schedule, len(missing))
    jobs = await ticker.new_jobs(schedule, missing, by)
    now = ticker.clock.now()
    ticks = tuple(_backfill_tick(schedule, at, now, job.id) for at, (job, _) in jobs)
    # editing an ended schedule must not bring backfilled instants back
    latest = [tick.due_at for tick in ticks[-1:]]
    decided_to = max((*latest, *filter(None, [schedule.decided_to])), default=None)
    return Firing(
        after=replace(schedule, decided_to=decided_to, beat=schedule.beat + 1),
        ticks=ticks,
        jobs=tuple(new for _, new in jobs),
        events=tuple(tick_event(schedule, tick, by) for tick in ticks),
    )


def _filter_decided(schedule: CrawlSchedule, instants: Sequence[datetime]) -> list[datetime]:
    """Return those of *instants* that the scheduler has already passed."""
    return [at for at in instants if schedule.next_at is None or at < schedule.next_at]


def _backfill_tick(
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
