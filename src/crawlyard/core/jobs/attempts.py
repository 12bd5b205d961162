"""Attempts of a job: the outcome at the end of an attempt, and all attempts from its events."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum, auto

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.crawl.page import UNREACHABLE, ErrorKind
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.limits import ResourceLimiter, Usage, breach, reason_of
from crawlyard.core.jobs.retry import RetryReason


class AttemptOutcome(StrEnum):
    """Ways in which an attempt ends, and that it has not ended."""

    RUNNING = auto()  # it has not ended
    COMPLETED = auto()
    FAILED = auto()  # and there is no further attempt
    REQUEUED = auto()  # it failed and is retried, or its worker was stopped
    WORKER_LOST = auto()
    PAUSED = auto()
    CANCELLED = auto()


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt: the time from a claim by a worker to its end."""

    number: int  # from 1
    worker: str
    begun_at: datetime
    ended_at: datetime | None = None
    outcome: AttemptOutcome = AttemptOutcome.RUNNING
    reason: str = ""  # of the job's state afterwards
    detail: str = ""


_ENDS: Mapping[EventName, AttemptOutcome] = {
    EventName.COMPLETED: AttemptOutcome.COMPLETED,
    EventName.FAILED: AttemptOutcome.FAILED,
    EventName.REQUEUED: AttemptOutcome.REQUEUED,
    EventName.WORKER_LOST: AttemptOutcome.WORKER_LOST,
    EventName.PAUSED: AttemptOutcome.PAUSED,
    EventName.CANCELLED: AttemptOutcome.CANCELLED,
}

TELLING = frozenset({EventName.STARTED, *_ENDS})
"""The events that begin or end attempts."""


def attempts_of(events: Iterable[Event]) -> list[Attempt]:
    """Return the attempts found in a job's *events* (oldest first), in order.

    A job that was paused or cancelled while it was waiting had no attempt to end.
    """
    attempts: list[Attempt] = []
    for event in events:
        if event.name is EventName.STARTED:
            worker = event.actor.removeprefix("worker:")
            attempts.append(Attempt(number=len(attempts) + 1, worker=worker, begun_at=event.at))
        elif event.name in _ENDS and attempts and attempts[-1].ended_at is None:
            attempts[-1] = replace(
                attempts[-1],
                ended_at=event.at,
                outcome=_ENDS[event.name],
                reason=str(event.data.get("reason", "")),
                detail=str(event.data.get("detail", "")),
            )
    return attempts


class AttemptEnd(Struct, frozen=True, kw_only=True):
    """End of an attempt: a running job that its worker has released."""

    job: Job
    usage: Usage  # total of the job
    waiting: bool  # URLs are waiting
    yields: bool = False  # its slot was given to an urgent job


class NextState(Struct, frozen=True, kw_only=True):
    """Decision about a job whose attempt has ended."""

    job: Job
    events: tuple[Event, ...]
    again: frozenset[ErrorKind] = frozenset()  # failed targets of these kinds are queued again


Decide = Callable[[AttemptEnd], NextState]


class Last(Struct, frozen=True, kw_only=True):
    """Facts that the last worker of the job knows."""

    actor: str
    stopped: bool = False  # the worker was stopped
    trouble: str = ""  # why a start URL failed
    failed: frozenset[ErrorKind] = field(default_factory=frozenset)  # of all its URLs
    chance: float = 0.0  # a random number from 0 to 1: see `Job.retry_wait`


def decide_next_state(end: AttemptEnd, last: Last, now: datetime) -> NextState:
    """Return the next state of a job: completed by a limit or without URLs left, failed, queued."""
    job, usage, actor = end.job, end.usage, last.actor
    limit = breach(job.limits, usage)
    if limit is not None and not (limit == "errors" and usage.fruitless):
        detail = ResourceLimiter(job.limits).describe(limit, usage)
        limit_event = job.event(EventName.LIMIT_REACHED, now, actor, limit=limit, detail=detail)
        reason = reason_of(limit)
        after, event = job.apply_move(Move.COMPLETE, now, actor=actor, reason=reason, detail=detail)
        return NextState(job=after, events=(limit_event, event))
    if end.waiting and limit is None and end.yields:
        after, event = job.yield_slot(now, actor=actor)
        return NextState(job=after, events=(event,))
    if end.waiting and limit is None:
        reason = StateReason.WORKER_STOPPED if last.stopped else StateReason.WAITING_SLOT
        after, event = job.apply_move(Move.REQUEUE, now, actor=actor, reason=reason)
        return NextState(job=after, events=(event,))
    if usage.fruitless:
        return _start_failed(job, last, now)
    reason = StateReason.EXHAUSTED
    after, event = job.apply_move(Move.COMPLETE, now, actor=actor, reason=reason)
    return NextState(job=after, events=(event,))


def _start_failed(job: Job, last: Last, now: datetime) -> NextState:
    """Return a job that fetched nothing: retried later if its sites were unreachable, or failed."""
    unreachable = UNREACHABLE & last.failed
    wait = job.retry_wait(RetryReason.START_UNREACHABLE, last.chance)
    if wait is None or not unreachable:
        reason = StateReason.START_FAILED
        after, event = job.apply_move(
            Move.FAIL, now, actor=last.actor, reason=reason, detail=last.trouble
        )
        return NextState(job=after, events=(event,))
    after, event = job.fail_attempt(now, now + wait, actor=last.actor, detail=last.trouble)
    return NextState(job=after, events=(event,), again=unreachable)
