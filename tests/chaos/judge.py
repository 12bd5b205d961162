"""Invariants of a history under any faults. Pure: they read nothing else."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import State, StateReason
from tests.chaos.history import Asked, Fault, FaultKind, History, Hold, holds
from tests.chaos.judge_moves import (
    CHECKPOINT_S,
    disobeyed,
    latest_notice,
    not_retried,
    observed_moves,
    retried_between,
    shared_hosts,
    wrongly_lost,
    wrongly_yielded,
)
from tests.site import ahead_s

RECORDED_S = 2.5
"""What was answered earlier than this before a fault has been recorded by then."""

SLACK_S = 0.5
"""Between an instant as a worker notes it and as the server does; the death of a child."""

LATE = 2
"""Requests that may reach a host together after their instants: one process may be slow."""

AGAIN_S = 4.0
"""Whoever takes over a job of a killed worker asks its host this soon: half of them, at least."""

_Held = Mapping[str, Sequence[Hold]]


def broken(history: History) -> list[str]:
    """Return all that must not have been, in sentences; empty: all is well."""
    holds_by_job = holds(history.told)
    return [
        *_lost(history),
        *_run_twice_at_once(history),
        *_wrong_pages(history),
        *_requests_after_lease_loss(history, holds_by_job),
        *_repeated_requests(history, holds_by_job),
        *_kept_waiting(history, holds_by_job),
        *_wrong_ticks(history),
        *_too_fast(history),
        *_too_many_at_once(history),
        *disobeyed(history),
        *not_retried(history),
        *wrongly_yielded(history),
        *shared_hosts(history),
        *wrongly_lost(history),
    ]


def summary(history: History) -> str:
    """Return in one line how much happened."""
    names = Counter(event.name for event in history.told)
    faults = Counter(fault.kind for fault in history.faults)
    requests = Counter((hit.job, hit.url) for hit in history.asked)
    again = sum(times - 1 for (job, _), times in requests.items() if job)
    pages = sum(len(result.urls) for result in history.found)
    return (
        f"{len(history.found)} jobs, {pages} pages, {len(history.asked)} requests, "
        f"{again} repeated; {sum(len(ledger.rows) for ledger in history.ledgers)} ticks; "
        f"{names[EventName.STARTED]} starts, {names[EventName.WORKER_LOST]} lost workers; "
        f"{_moves(history)}; "
        f"{', '.join(f'{kind} {times}' for kind, times in sorted(faults.items()))}"
    )


def _moves(history: History) -> str:
    names = Counter(event.name for event in history.told)
    preempted = sum(event.reason is StateReason.PREEMPTED for event in history.told)
    move_names = (EventName.PAUSED, EventName.CANCELLED, EventName.RESUMED, EventName.RETRIED)
    parts = [f"{name.rpartition('.')[2]} {names[name]}" for name in move_names]
    return ", ".join(
        (*parts, f"preempted {preempted}", f"seen: {' '.join(sorted(observed_moves(history)))}")
    )


def _lost(history: History) -> Iterator[str]:
    """Every job has completed, or was cancelled by an operator, and there are no others."""
    states = {result.job: result.state for result in history.found}
    expected = {expectation.job: expectation.ends for expectation in history.wanted}
    for job in sorted(expected.keys() - states.keys()):
        yield f"job {job} is gone"
    for job in sorted(states.keys() - expected.keys()):
        yield f"job {job} was never submitted"
    for job, state in states.items():
        if job in expected and state is not expected[job]:
            yield f"job {job} is {state} in the end"


def _run_twice_at_once(history: History) -> Iterator[str]:
    """A job is started only while no worker has it."""
    running: dict[str, str] = {}
    for event in history.told:
        if event.name is EventName.STARTED:
            if event.job in running:
                yield f"{event.worker} started job {event.job} while {running[event.job]} had it"
            running[event.job] = event.worker
        elif event.state is not State.RUNNING:
            running.pop(event.job, None)


def _wrong_pages(history: History) -> Iterator[str]:
    """Each page is recorded once, exactly as many as the limit says, and counted right."""
    results = {job_result.job: job_result for job_result in history.found}
    for expectation in history.wanted:
        result = results.get(expectation.job)
        if result is None:
            continue
        for url, times in Counter(result.urls).items():
            if times > 1:
                yield f"job {result.job} has {url} {times} times"
            if url not in expectation.urls:
                yield f"job {result.job} has {url}, which it cannot reach"
        cut_short = (
            expectation.ends is State.CANCELLED and len(set(result.urls)) < expectation.due_pages
        )
        if len(set(result.urls)) != expectation.due_pages and not cut_short:
            yield f"job {result.job} has {len(set(result.urls))} pages, not {expectation.due_pages}"
        if result.counted != len(result.urls):
            yield f"job {result.job} counts {result.counted} pages and has {len(result.urls)}"


def _requests_after_lease_loss(history: History, holds_by_job: _Held) -> Iterator[str]:
    """A worker sends requests for a job only while it holds it, or a checkpoint longer."""
    spread = {expectation.job: expectation.spread for expectation in history.wanted}
    for hit in history.asked:
        if hit.job not in spread:
            continue
        # no event names the holder of a shard of a spread job: as long as any worker may
        his = [
            replace(hold, worker=hit.worker) if spread[hit.job] else hold
            for hold in holds_by_job.get(hit.job, ())
            if spread[hit.job] or hold.worker == hit.worker
        ]
        if not any(_allows(hold, hit, history.faults) for hold in his):
            since = max((hold.until for hold in his if hold.until < hit.at), default=None)
            after = "without having it" if since is None else f"{hit.at - since:.1f} s too late"
            yield f"{hit.worker} asked {hit.url} for job {hit.job} {after}"


def _allows(hold: Hold, hit: Asked, faults: Sequence[Fault]) -> bool:
    notified_at = latest_notice(hold.until, hold.worker, faults, CHECKPOINT_S)
    return hold.since - SLACK_S <= hit.at <= notified_at + CHECKPOINT_S


def _repeated_requests(history: History, holds_by_job: _Held) -> Iterator[str]:
    """A URL is asked again only if its answer was under way, or not recorded, at a fault."""
    by_url: dict[tuple[str, str], list[Asked]] = {}
    job_ids = {expectation.job for expectation in history.wanted}
    for hit in sorted(history.asked, key=lambda hit: hit.at):
        if hit.job in job_ids:
            by_url.setdefault((hit.job, hit.url), []).append(hit)
    for (job, url), hits in by_url.items():
        for first, second in pairwise(hits):
            if retried_between(first, second, history):
                continue
            if not _excused(first, second, holds_by_job.get(job, ()), history):
                workers = f"{first.worker} and again by {second.worker}"
                yield f"{url} was asked for job {job} by {workers}"


def _excused(first: Asked, second: Asked, holds_of_job: Sequence[Hold], history: History) -> bool:
    spread = any(
        expectation.spread for expectation in history.wanted if expectation.job == first.job
    )
    was_reclaimed = spread or any(
        hold.worker == first.worker and first.at <= hold.until + CHECKPOINT_S
        for hold in holds_of_job
        if hold.until <= second.at + SLACK_S
    )
    return was_reclaimed and any(
        fault.befell(first.worker)
        and fault.since < second.at
        and first.at < fault.until + SLACK_S
        and (first.ended_at is None or first.ended_at > fault.since - RECORDED_S * history.slowness)
        for fault in history.faults
    )


def _kept_waiting(history: History, holds_by_job: _Held) -> Iterator[str]:
    """The hosts that a killed worker asked are soon asked again where its jobs have begun."""
    waits = [
        wait
        for fault in history.faults
        if fault.kind is FaultKind.KILL
        for job, of_it in holds_by_job.items()
        for dead, heir in pairwise(of_it)
        if dead.worker == fault.worker
        and dead.since < fault.since <= dead.until + SLACK_S
        and (wait := _waited(job, fault, heir, history)) is not None
    ]
    if waits and median(waits) > AGAIN_S * history.slowness:
        yield f"hosts waited {median(waits):.1f} s where the jobs of killed workers had begun"


def _waited(job: str, fault: Fault, heir: Hold, history: History) -> float | None:
    """Return how long *heir*, whom nothing befell, let the host of its first request wait."""
    first = next(
        (
            h
            for h in history.asked
            if h.worker == heir.worker and h.job == job and h.at >= heir.since
        ),
        None,
    )
    if first is None or any(
        other.befell(heir.worker) and fault.since < other.until and other.since < first.at
        for other in history.faults
    ):
        return None
    to_it = [hit for hit in history.asked if hit.host == first.host]
    if not any(h.worker == fault.worker and 0 < fault.since - h.at < RECORDED_S for h in to_it):
        return None  # there, a dead worker blocks nothing
    # any worker: slots of a host may belong to other workers
    return min(hit.at for hit in to_it if hit.at >= heir.since) - heir.since


def _wrong_ticks(history: History) -> Iterator[str]:
    """Each instant of a schedule has one row of the ledger, and one job."""
    for ledger in history.ledgers:
        rows, jobs = Counter(ledger.rows), Counter(ledger.jobs)
        for instant in sorted(ledger.due - rows.keys()):
            yield f"schedule {ledger.schedule} missed {instant}"
        for instant, times in rows.items():
            if times > 1:
                yield f"schedule {ledger.schedule} decided {instant} {times} times"
        for instant in sorted(rows.keys() | jobs.keys()):
            if jobs[instant] != 1:
                yield f"schedule {ledger.schedule} has {jobs[instant]} jobs of {instant}"
            if instant not in rows:
                yield f"schedule {ledger.schedule} has a job of {instant} and no row"


def _too_fast(history: History) -> Iterator[str]:
    """Over no span of time was a host asked more often than its pace allows."""
    if history.pace is None or not history.pace.delay_s:
        return
    for host, hits in _by_host(history).items():
        early = ahead_s([hit.at for hit in hits], history.pace.delay_s) / history.pace.delay_s
        if early > LATE:
            yield f"{host} was asked {early:.1f} requests ahead of its pace"


def _too_many_at_once(history: History) -> Iterator[str]:
    """At no instant were more requests under way to a host than it is to have."""
    if history.pace is None:
        return
    for host, hits in _by_host(history).items():
        steps = [(hit.at, 1) for hit in hits]
        # an end sorts before an arrival of the same instant: they did not overlap
        steps += [(hit.ended_at, -1) for hit in hits if hit.ended_at is not None]
        now = most = 0
        for _, step in sorted(steps):
            now += step
            most = max(most, now)
        if most > history.pace.at_once:
            yield f"{host} had {most} requests at once"


def _by_host(history: History) -> Mapping[str, Sequence[Asked]]:
    hosts: dict[str, list[Asked]] = {}
    for hit in sorted(history.asked, key=lambda hit: hit.at):
        hosts.setdefault(hit.host, []).append(hit)
    return hosts
