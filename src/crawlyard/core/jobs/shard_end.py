"""End of an attempt: the next state of a job when no worker crawls it any more."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct, field

from crawlyard.core.crawl.page import UNREACHABLE, ErrorKind
from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.limits import ResourceLimiter, Usage, breach, reason_of
from crawlyard.core.jobs.retry import RetryReason


class ShardEnd(Struct, frozen=True, kw_only=True):
    """A running job that no worker crawls any more."""

    job: Job
    usage: Usage  # total of the job
    waiting: bool  # whether it has waiting URLs
    yields: bool = False  # whether it was given up for an urgent job


class Verdict(Struct, frozen=True, kw_only=True):
    """What the job becomes."""

    job: Job
    events: tuple[Event, ...]
    again: frozenset[ErrorKind] = frozenset()  # failed targets of these kinds are queued again


Decide = Callable[[ShardEnd], Verdict]


class Last(Struct, frozen=True, kw_only=True):
    """What the worker that had the job last knows about it."""

    actor: str
    stopped: bool = False  # whether the worker was stopped
    trouble: str = ""  # why a start URL failed
    failed: frozenset[ErrorKind] = field(default_factory=frozenset)  # of all its URLs
    chance: float = 0.0  # a random number from 0 to 1: see `Job.retry_wait`


def verdict_on(left: ShardEnd, last: Last, now: datetime) -> Verdict:
    """Return what a job becomes: completed by a limit or for lack of URLs, failed, or queued."""
    job, usage, actor = left.job, left.usage, last.actor
    limit = breach(job.limits, usage)
    good_redirects = usage.redirects - usage.bad_redirects
    fruitless = not usage.pages or usage.done == usage.errors + good_redirects
    if limit is not None and not (limit == "errors" and fruitless):
        detail = ResourceLimiter(job.limits).describe(limit, usage)
        told = job.event(EventName.LIMIT_REACHED, now, actor, limit=limit, detail=detail)
        reason = reason_of(limit)
        after, event = job.moved(Move.COMPLETE, now, actor=actor, reason=reason, detail=detail)
        return Verdict(job=after, events=(told, event))
    if left.waiting and limit is None and left.yields:
        after, event = job.yielded(now, actor=actor)
        return Verdict(job=after, events=(event,))
    if left.waiting and limit is None:
        reason = StateReason.WORKER_STOPPED if last.stopped else StateReason.WAITING_SLOT
        after, event = job.moved(Move.REQUEUE, now, actor=actor, reason=reason)
        return Verdict(job=after, events=(event,))
    if fruitless:
        return _start_failed(job, last, now)
    reason = StateReason.EXHAUSTED
    after, event = job.moved(Move.COMPLETE, now, actor=actor, reason=reason)
    return Verdict(job=after, events=(event,))


def _start_failed(job: Job, last: Last, now: datetime) -> Verdict:
    """Return a job that fetched nothing: retried later if its sites were unreachable, or failed."""
    unreachable = UNREACHABLE & last.failed
    wait = job.retry_wait(RetryReason.START_UNREACHABLE, last.chance)
    if wait is None or not unreachable:
        reason = StateReason.START_FAILED
        after, event = job.moved(
            Move.FAIL, now, actor=last.actor, reason=reason, detail=last.trouble
        )
        return Verdict(job=after, events=(event,))
    after, event = job.failed_attempt(now, now + wait, actor=last.actor, detail=last.trouble)
    return Verdict(job=after, events=(event,), again=unreachable)
