"""A yard for tests of what people read: a value of each kind that a page or a command shows.

It is the yard of `tests.golden_yard`, with a job in each state for each reason, failures and
skipped URLs of each kind, planned runs with each outcome, and operations of each action.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from crawlyard import Settings, Yard
from crawlyard.core.crawl.page import ErrorKind, RuleKind, Skipped
from crawlyard.core.events.event import EventName
from crawlyard.core.hosts.hosts import HostRule, HostState
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.lifecycle import ENDED, Move, State, StateReason
from crawlyard.core.operations.bulk import JobAction
from crawlyard.core.operations.operation import Failure, OperationKind, OperationState
from crawlyard.core.schedules.schedule import Misfire, Overlap, TickOutcome, TickReason
from crawlyard.services.hosts import host_event
from crawlyard.store.store import Store
from tests import golden_yard
from tests.builders import a_batch, a_job, a_spec, a_target, failed
from tests.builders_schedules import a_firing, a_schedule, a_tick, ran, schedule_event
from tests.builders_serve import an_operation
from tests.golden_yard import DAY, FAR, HOUR, fixed

PROBLEMS, EVERY_TICK = 101, 102  # ids of a job with failures of each kind, and of a schedule

REASONS: Mapping[State, tuple[StateReason, ...]] = {
    State.PENDING: (
        StateReason.WAITING_SLOT,
        StateReason.SCHEDULED,
        StateReason.WAITING_RETRY,
        StateReason.WAITING_QUOTA,
        StateReason.PREEMPTED,
        StateReason.WORKER_STOPPED,
        StateReason.WORKER_LOST,
    ),
    State.PAUSED: (
        StateReason.BY_USER,
        StateReason.DISK_FULL,
        StateReason.LOGGED_OUT,
        StateReason.NOT_GRANTED,
    ),
    State.COMPLETED: (
        StateReason.EXHAUSTED,
        StateReason.LIMIT_PAGES,
        StateReason.LIMIT_BYTES,
        StateReason.LIMIT_DURATION,
        StateReason.LIMIT_ERRORS,
        StateReason.LIMIT_RENDER,
    ),
    State.FAILED: (
        StateReason.START_FAILED,
        StateReason.NO_RENDERER,
        StateReason.INTERNAL_ERROR,
        StateReason.WORKER_LOST,
    ),
    State.CANCELLED: (
        StateReason.BY_USER,
        StateReason.BY_SCHEDULE,
        StateReason.PAUSED_TOO_LONG,
    ),
}
"""The reasons of each state that a job may have; of running ones `golden_yard` has one."""

_TICKS: Mapping[TickReason, TickOutcome] = {
    TickReason.ON_TIME: TickOutcome.RAN,
    TickReason.BY_USER: TickOutcome.RAN,
    TickReason.LATE: TickOutcome.CAUGHT_UP,
    TickReason.BACKFILL: TickOutcome.CAUGHT_UP,
    TickReason.OVERLAP: TickOutcome.REPLACED,
    TickReason.PAUSED: TickOutcome.SKIPPED,
    TickReason.QUOTA: TickOutcome.SKIPPED,
    TickReason.REFUSED: TickOutcome.SKIPPED,
    TickReason.EXISTS: TickOutcome.SKIPPED,
    TickReason.NO_RUNS: TickOutcome.SKIPPED,
    TickReason.NO_SCHEDULER: TickOutcome.MISSED,
}
_JOBS = 200  # the first id of a job for each reason


async def build(folder: Path, now: datetime) -> None:
    """Make the yard in the data directory *folder*; it is *now*."""
    await golden_yard.build(folder, now)
    async with Yard.open(Settings(data_dir=folder)) as yard:
        await _jobs(yard.store, now)
        await _problems(yard.store, now)
        await _ledger(yard.store, now)
        await _operations(yard.store, now)
        for state in HostState:
            rule = HostRule(host=f"{state}.example", state=state, updated_at=now, actor="local")
            await yard.store.host_rules.save(rule, host_event(EventName.HOST_UPDATED, rule))


def _times(at: datetime) -> dict[str, Any]:
    """Return the instants of a job that was submitted *at* and has been as it is since."""
    return dict.fromkeys(("created_at", "updated_at", "since", "queued_at", "due_at"), at)


async def _jobs(store: Store, now: datetime) -> None:
    number = _JOBS
    for state, reasons in REASONS.items():
        for reason in reasons:
            at = now - HOUR
            times = _times(at)
            job = a_job(
                id=fixed(number),
                spec=a_spec(name=f"job {number}", worker_tags=("none",)),
                state=state,
                state_reason=reason,
                ended_at=at if state in ENDED else None,
                **times,
            )
            await store.jobs.add(job, job.event(EventName.CREATED, at, job.owner))
            number += 1


async def _problems(store: Store, now: datetime) -> None:
    """Add a failed job, with one failed URL for each kind of error."""
    at = now - 2 * HOUR
    times = _times(at)
    job = a_job(id=fixed(PROBLEMS), spec=a_spec(name="problems"), **times)
    await store.jobs.add(job, job.event(EventName.CREATED, at, job.owner))
    claim = await store.leases.claim(Asker("crawler:4001:abc1", only=job.id), at, DAY)
    assert claim is not None
    statuses = {ErrorKind.HTTP_4XX: 404, ErrorKind.HTTP_5XX: 503, ErrorKind.RATE_LIMITED: 429}
    outcomes = [
        failed(a_target(f"failed/{n}"), kind, status=statuses.get(kind), fetched_at=at)
        for n, kind in enumerate(ErrorKind)
    ]
    skipped = [
        Skipped(a_target(f"skipped/{n}", depth=1), f"{kind}: a rule")
        for n, kind in enumerate(RuleKind)
    ]
    batch = a_batch([outcome.target for outcome in outcomes], outcomes, skipped)
    [answer] = await store.frontier.record([(claim.lease, batch)], at, DAY)
    running = (await store.jobs.get(job.id)).job
    moved = running.apply_move(Move.FAIL, at, actor="worker:w1", reason=StateReason.START_FAILED)
    await store.leases.settle(answer.lease, *moved)


async def _ledger(store: Store, now: datetime) -> None:
    """Add a schedule with a planned run for each outcome and reason, and one for each policy."""
    dated: dict[str, Any] = {"created_at": now - 7 * DAY, "updated_at": now - 7 * DAY}
    dated |= {"starts_at": FAR, "anchored_at": now, "next_at": FAR, "fire_at": FAR}
    schedule = a_schedule(id=fixed(EVERY_TICK), name="every tick", **dated)
    policies = [
        *(
            a_schedule(name=f"overlap {n}", overlap=policy, **dated)
            for n, policy in enumerate(Overlap)
        ),
        *(
            a_schedule(name=f"misfire {n}", misfire=policy, **dated)
            for n, policy in enumerate(Misfire)
        ),
    ]
    for each in (schedule, *policies):
        await store.schedules.add(each, replace(schedule_event(each), data={"name": each.name}))
    ticks, jobs = [], []
    for n, (reason, outcome) in enumerate(_TICKS.items()):
        at = now - timedelta(hours=20 - n)
        decision: dict[str, Any] = {"outcome": outcome, "reason": reason, "decided_at": at}
        if outcome in (TickOutcome.RAN, TickOutcome.CAUGHT_UP):
            times = _times(at)
            origin = Origin(schedule_id=schedule.id, tick_at=at)
            job = a_job(id=fixed(_JOBS + 50 + n), origin=origin, **times)
            jobs.append(job)
            ticks.append(ran(schedule, job, detail="asked for by ada", **decision))
        else:
            ticks.append(a_tick(schedule, at, **decision))
    waits = a_tick(schedule, now, outcome=TickOutcome.WAITING, decided_at=now)
    firing = a_firing(schedule, [*ticks, waits], jobs)
    events = tuple(
        replace(
            event,
            at=now,
            data={"name": schedule.name, "outcome": tick.outcome, "reason": tick.reason},
        )
        for event, tick in zip(firing.events, firing.ticks, strict=True)
    )
    assert await store.ticks.fire([replace(firing, events=events)]) == [True]


async def _operations(store: Store, now: datetime) -> None:
    failure = Failure(id=fixed(_JOBS), code="invalid_transition", detail="it is completed")
    dated = {"created_at": now - HOUR, "updated_at": now - HOUR, "ended_at": now - HOUR}
    for action in JobAction:
        operation = an_operation(
            request={"action": action},
            state=OperationState.COMPLETED,
            total=2,
            done=2,
            failed=1,
            failures=(failure,),
            **dated,
        )
        await store.operations.add(operation)
    backfill = an_operation(
        kind=OperationKind.BACKFILL,
        request={"schedule_id": fixed(EVERY_TICK)},
        state=OperationState.FAILED,
        detail="the schedule is gone",
        **dated,
    )
    await store.operations.add(backfill)
