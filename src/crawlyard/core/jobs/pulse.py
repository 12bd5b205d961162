"""Recent pace of a crawl: its speed, its discoveries, and what slows it down."""

import itertools
import math
from collections.abc import Sequence

from msgspec import Struct, field

from crawlyard.core.jobs.limits import Usage


class ProxyUse(Struct, frozen=True, kw_only=True):
    """Use of a proxy in a run so far."""

    proxy: str  # its URL without user and password
    connections: int
    failures: int
    rests_s: float  # until it is tried again; 0: usable


class Workload(Struct, frozen=True, kw_only=True):
    """State of the remaining work, as the engine knows it."""

    retries: int = 0  # further requests that may be spent on URLs that failed before
    failed: int = 0  # requests so far that failed and are retried
    failed_s: float = 0.0  # their total time
    retried: int = 0  # requests so far that retried a URL
    failed_again: int = 0  # of those, how many failed
    busy_s: float = 0.0  # total time of all requests so far
    least_s: float = 0.0  # minimum time left, from delays, holds and retry waits alone
    hold_s: float = 0.0  # until the first host is available again, if all are on hold
    proxies: tuple[ProxyUse, ...] = ()
    holds: int = 0  # number of times that all hosts were on hold
    held_s: float = 0.0  # running time so far in which all hosts were on hold
    lane_waiting: int = 0  # waiting URLs of the host that will take longest at its own pace
    lane_rate: float = 0.0  # pace of that host, in URLs per second
    lane_full: bool = True  # the host gets as many requests as allowed
    barren: int = 0  # URLs at the maximum depth: no links are followed from them


class Sample(Struct, frozen=True, kw_only=True):
    """Counters of a job at one moment of its running time."""

    at_s: float
    held_s: float = 0.0
    busy_s: float = 0.0
    done: int = 0
    discovered: int = 0
    pages: int = 0
    bytes: int = 0
    errors: int = 0
    found_at: int = 0  # URLs done at the last discovery
    lull: int = 0  # maximum of URLs done between two recent discoveries

    @property
    def active_s(self) -> float:
        """Running time in which requests could be sent."""
        return self.at_s - self.held_s


def sample_of(usage: Usage, workload: Workload, before: Sample | None = None) -> Sample:
    """Return a sample of a job's usage, to compute its pace; *before* is the previous sample."""
    found_at, lull = usage.done, 0
    if before is not None and usage.discovered <= before.discovered:
        found_at, lull = min(before.found_at, usage.done), before.lull
    elif before is not None:
        lull = max(before.done - before.found_at, before.lull * 4 // 5)
    return Sample(
        at_s=usage.duration_s,
        held_s=workload.held_s,
        busy_s=workload.busy_s,
        done=usage.done,
        discovered=usage.discovered,
        pages=usage.pages,
        bytes=usage.bytes,
        errors=usage.errors,
        found_at=found_at,
        lull=lull,
    )


class Pulse(Struct, frozen=True, kw_only=True):
    """The recent pace of a crawl. Rates are per second of running time."""

    rate: float = 0.0  # URLs done
    spread: float = 0.0  # standard deviation of that rate from sample to sample
    pages_rate: float = 0.0
    bytes_rate: float = 0.0
    errors_rate: float = 0.0
    samples: int = 0
    milestone: int = 0  # the last of `MILESTONES` that was announced
    # the older and the newer half of the window, which give the trend
    done: tuple[int, int] = (0, 0)
    found: tuple[int, int] = (0, 0)
    active_s: tuple[float, float] = (0.0, 0.0)  # time in which requests could be sent
    busy: float = 0.0  # average number of requests in flight
    quiet: int = 0  # URLs done since the last discovery
    lull: int = 0  # maximum of URLs done between two recent discoveries
    workload: Workload = field(default_factory=Workload)


RECENT_S = 30.0
"""Rates cover the last half minute; the halves of the window may go back further."""


def pulse_of(history: Sequence[Sample], workload: Workload | None = None) -> Pulse:
    """Return the pace over *history*: samples of one job, oldest first."""
    workload = workload or Workload()
    if len(history) < 2:
        return Pulse(workload=workload)
    first, middle, last = history[0], history[(len(history) - 1) // 2], history[-1]
    if last.at_s <= first.at_s:
        return Pulse(workload=workload)
    recent = next(
        (point for point in reversed(history) if last.at_s - point.at_s >= RECENT_S), first
    )
    seconds = last.at_s - recent.at_s
    active_s = max(1e-3, last.active_s - first.active_s)
    spread, samples = _spread(history)
    return Pulse(
        rate=max(0.0, (last.done - recent.done) / seconds),
        spread=spread,
        pages_rate=max(0.0, (last.pages - recent.pages) / seconds),
        bytes_rate=max(0.0, (last.bytes - recent.bytes) / seconds),
        errors_rate=max(0.0, (last.errors - recent.errors) / seconds),
        samples=samples,
        done=(max(0, middle.done - first.done), max(0, last.done - middle.done)),
        found=(
            max(0, middle.discovered - first.discovered),
            max(0, last.discovered - middle.discovered),
        ),
        active_s=(
            max(0.0, middle.active_s - first.active_s),
            max(0.0, last.active_s - middle.active_s),
        ),
        busy=max(0.0, last.busy_s - first.busy_s) / active_s,
        quiet=max(0, last.done - last.found_at),
        lull=last.lull,
        workload=workload,
    )


def _spread(history: Sequence[Sample]) -> tuple[float, int]:
    """Return the standard deviation of the rate without held time, and the number of samples."""
    total_s = total = squares = 0.0
    samples = 0
    for a, b in itertools.pairwise(history):
        span_s = b.active_s - a.active_s
        if span_s <= 0:
            continue
        done = b.done - a.done
        samples += 1
        total_s += span_s
        total += done
        squares += done * done / span_s
    if not samples:
        return 0.0, 0
    mean = total / total_s
    return math.sqrt(max(0.0, squares / total_s - mean * mean)), samples
