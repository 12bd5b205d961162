"""Measurements of one process since its start, for its metrics."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from msgspec import Struct, field

from crawlyard.core.crawl.rendering import Browser

_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RENDER_BOUNDS_S = (0.5, 0.6, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
"""A page is ready once it has sent no request for half a second."""


class Timing(Struct):
    """Histogram of durations: counts by the first bound that is not below them, and an overflow."""

    bounds_s: tuple[float, ...] = _BOUNDS_S
    counts: list[int] = field(default_factory=list)
    total_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds_s) + 1)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.total_s += seconds

    def merge(self, other: "Timing", times: int = 1) -> None:
        """Add *other*, which has the same bounds; -1 *times* subtracts it."""
        counts = zip(self.counts, other.counts, strict=True)
        self.counts = [own + times * added for own, added in counts]
        self.total_s += times * other.total_s


class Requests(Struct):
    """Requests to crawled sites, robots.txt and sitemaps included."""

    took: Timing = field(default_factory=Timing)  # of requests with a response
    statuses: Counter[str] = field(default_factory=Counter)  # by class: "2xx"
    failures: Counter[str] = field(default_factory=Counter)  # by kind: without a usable response

    def count_response(self, status: int, took_s: float) -> None:
        """Add a response to its class of status and to the timing."""
        self.statuses[f"{status // 100}xx"] += 1
        self.took.add(took_s)

    def merge(self, other: "Requests", times: int = 1) -> None:
        """Add *other*; -1 *times* subtracts it."""
        self.took.merge(other.took, times)
        for status, count in other.statuses.items():
            self.statuses[status] += times * count
        for kind, count in other.failures.items():
            self.failures[kind] += times * count


class Renderings(Struct):
    """Pages rendered by browsers of one kind."""

    took: Timing = field(default_factory=lambda: Timing(bounds_s=_RENDER_BOUNDS_S))  # if complete
    failures: int = 0  # pages that were not rendered completely
    subrequests: int = 0
    cpu_s: float = 0.0  # of the browsers, without their start
    running: int = 0  # current number of browsers

    def merge(self, other: "Renderings", times: int = 1) -> None:
        """Add *other*, but for browsers that run now; -1 *times* subtracts it."""
        self.took.merge(other.took, times)
        self.failures += times * other.failures
        self.subrequests += times * other.subrequests
        self.cpu_s += times * other.cpu_s


def _renderings() -> Mapping[Browser, Renderings]:
    return {browser: Renderings() for browser in Browser}


class Measures(Struct):
    """Measurements of the workers of one process, and of their child processes."""

    workers: set[str] = field(default_factory=set)  # their ids
    checkpoints: Timing = field(default_factory=Timing)  # transactions that stored batches
    claims: Timing = field(default_factory=Timing)  # claims of a job or a shard that succeeded
    requests: Requests = field(default_factory=Requests)
    renderings: Mapping[Browser, Renderings] = field(default_factory=_renderings)
    takeovers: int = 0  # jobs and shards taken back from lost workers

    def took_over(self, leases: int) -> None:
        """Count leases taken back from a lost worker."""
        self.takeovers += leases

    def merge(self, other: "Measures", times: int = 1) -> None:
        """Add requests and renderings of *other*; -1 *times* subtracts them."""
        self.requests.merge(other.requests, times)
        for browser, renderings in other.renderings.items():
            self.renderings[browser].merge(renderings, times)
