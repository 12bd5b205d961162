"""Invariants of operator actions, urgent jobs, and jobs shared by several workers."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.spec import Priority
from tests.chaos.history import Asked, Fault, FaultKind, History, JobEvent

OBEYED_S = 0.5 + 0.25
"""Half a second, and what one checkpoint takes: a worker hears of an order within it."""

BUSY_S = 0.5
"""Of a machine on which a dozen processes start anew all the time."""

CHECKPOINT_S = 2.5
"""A worker hears within this that it has lost a job: a heartbeat is due every 2 s."""

TOGETHER_S = 0.01
"""Events of one transaction are of one instant, but for the arithmetic."""

CHANGES = 3
"""So often, within a checkpoint, no host of a job goes from one worker to another."""


def latest_notice(since: float, worker: str, faults: Sequence[Fault], within_s: float) -> float:
    """Return the latest time at which *worker* could learn of a change at *since*.

    A stopped worker, or one without its store, learns of it afterwards. A lock delays no reads.
    """
    notified_at = since
    for fault in sorted(faults, key=lambda fault: fault.since):
        deaf = fault.befell(worker) and fault.kind is not FaultKind.LOCK
        if deaf and fault.since <= notified_at + within_s:
            notified_at = max(notified_at, fault.until)
    return notified_at


def disobeyed(history: History) -> Iterator[str]:
    """Nothing is asked for a job later than that after it was paused or cancelled."""
    within_s = OBEYED_S + BUSY_S
    for order in history.said:
        again = (t.at for t in history.told if t.job == order.job and t.name is EventName.STARTED)
        until = min((at for at in again if at > order.at), default=float("inf"))
        for hit in history.asked:
            if hit.job != order.job or not order.at < hit.at < until:
                continue
            if hit.at > latest_notice(order.at, hit.worker, history.faults, within_s) + within_s:
                late = f"{hit.at - order.at:.1f} s after it was {order.state}"
                yield f"{hit.worker} asked {hit.url} for job {hit.job} {late}"


def not_retried(history: History) -> Iterator[str]:
    """Failed URLs of a job were requested again after an operator retried it."""
    for expectation in history.wanted:
        if not expectation.fails or expectation.ends is not State.COMPLETED:
            continue
        retried_at = [
            t.at for t in history.told if (t.job, t.name) == (expectation.job, EventName.RETRIED)
        ]
        if len(retried_at) != 1:
            yield f"job {expectation.job} was retried {len(retried_at)} times"
            continue
        again = {
            hit.url
            for hit in history.asked
            if hit.job == expectation.job and hit.at > retried_at[0]
        }
        for url in sorted(expectation.fails - again):
            yield f"{url} was not asked again for job {expectation.job}, which was retried"


def retried_between(first: Asked, second: Asked, history: History) -> bool:
    """Tell whether an operator had a URL that fails retried between two requests for it."""
    fails = any(
        first.url in expectation.fails
        for expectation in history.wanted
        if expectation.job == first.job
    )
    return fails and any(
        event.name is EventName.RETRIED and first.at < event.at < second.at
        for event in history.told
        if event.job == first.job
    )


def wrongly_yielded(history: History) -> Iterator[str]:
    """A job makes room only if it is a low one, for an urgent one that begins at that instant."""
    priorities = {expectation.job: expectation.priority for expectation in history.wanted}
    for event in history.told:
        if event.reason is not StateReason.PREEMPTED or event.name is not EventName.REQUEUED:
            continue
        if priorities.get(event.job) is not Priority.LOW:
            yield f"job {event.job}, which is not low, was to make room"
        if not any(
            _takes_its_place(other_event, event, priorities) for other_event in history.told
        ):
            yield f"job {event.job} made room for no other job"


def _takes_its_place(
    other_event: JobEvent, event: JobEvent, priorities: Mapping[str, Priority]
) -> bool:
    together = abs(other_event.at - event.at) < TOGETHER_S and other_event.worker == event.worker
    urgent = priorities.get(other_event.job) is Priority.URGENT
    return together and urgent and other_event.name is EventName.STARTED


def shared_hosts(history: History) -> Iterator[str]:
    """In a spread job, one worker at a time has a host, until a fault removes it."""
    for (job, host), hits in _by_host(history).items():
        for first, second in _overlaps(hits):
            if not _struck(first, second.at, history.faults):
                workers = f"{first.worker} and {second.worker}"
                yield f"{host} was asked for job {job} by {workers} at once"
        for n, hit in enumerate(hits):
            span = [h for h in hits[n:] if h.at < hit.at + CHECKPOINT_S]
            changes = sum(a.worker != b.worker for a, b in pairwise(span))
            if changes >= CHANGES and not any(_struck(h, h.at, history.faults) for h in span):
                yield f"{host} changed its worker for job {job} {changes} times in no time"
                break


def _overlaps(hits: Sequence[Asked]) -> Iterator[tuple[Asked, Asked]]:
    """Yield the pairs of requests of two workers that were under way together."""
    for n, first in enumerate(hits):
        for second in hits[n + 1 :]:
            if first.ended_at is not None and second.at >= first.ended_at:
                break
            if first.worker != second.worker:
                yield first, second


def _struck(hit: Asked, at: float, faults: Sequence[Fault]) -> bool:
    """Return whether a worker may have lost its shard to a fault without knowing yet."""
    return any(
        fault.befell(hit.worker) and fault.since <= at <= fault.until + 2 * CHECKPOINT_S
        for fault in faults
    )


def wrongly_lost(history: History) -> Iterator[str]:
    """A spread job is not told to be lost while an unharmed worker asks for it."""
    spread = {expectation.job for expectation in history.wanted if expectation.spread}
    for event in history.told:
        if event.job not in spread or event.name is not EventName.WORKER_LOST:
            continue
        for hit in history.asked:
            under_way = hit.at < event.at and (hit.ended_at is None or hit.ended_at > event.at)
            if hit.job == event.job and under_way and not _harmed(hit.worker, event.at, history):
                yield f"job {event.job} was lost while {hit.worker} went on with it"
                break


_LAPSE_S = 6.0 + 2 * CHECKPOINT_S  # of a lease, and until a worker looks for lapsed ones


def _harmed(worker: str, at: float, history: History) -> bool:
    return any(
        fault.befell(worker) and fault.since <= at and fault.until >= at - _LAPSE_S
        for fault in history.faults
    )


def _by_host(history: History) -> Mapping[tuple[str, str], Sequence[Asked]]:
    spread = {expectation.job for expectation in history.wanted if expectation.spread}
    hosts: dict[tuple[str, str], list[Asked]] = {}
    for hit in sorted(history.asked, key=lambda hit: hit.at):
        if hit.job in spread:
            hosts.setdefault((hit.job, hit.host), []).append(hit)
    return hosts


def observed_moves(history: History) -> frozenset[str]:
    """Return which of the things that a run is to show did happen in it."""
    workers = {
        (a.job, frozenset((a.worker, b.worker)))
        for a, b in _all_overlaps(history)
        if a.worker != b.worker
    }
    names = {event.name for event in history.told}
    preempted = any(event.reason is StateReason.PREEMPTED for event in history.told)
    happened = {
        "spread": bool(workers),
        "paused": any(order.state is State.PAUSED for order in history.said),
        "cancelled": any(expectation.ends is State.CANCELLED for expectation in history.wanted),
        "resumed": EventName.RESUMED in names,
        "retried": EventName.RETRIED in names,
        "preempted": preempted,
    }
    return frozenset(name for name, so in happened.items() if so)


def _all_overlaps(history: History) -> Iterator[tuple[Asked, Asked]]:
    """Yield pairs of requests for one spread job, to whichever hosts, that were under way."""
    jobs: dict[str, list[Asked]] = {}
    for (job, _), hits in _by_host(history).items():
        jobs.setdefault(job, []).extend(hits)
    for hits in jobs.values():
        yield from _overlaps(sorted(hits, key=lambda hit: hit.at))
