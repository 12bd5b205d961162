"""Workload of one crawl per host: waiting targets and pace, for the time-left estimate."""

import math
from collections import Counter

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import Target, Via
from crawlyard.core.jobs.pulse import Workload
from crawlyard.engine.frontier import HostTurns
from crawlyard.engine.hosts.rate_limiter import RateLimiter

_WINDOW_S = 10.0  # a host's pace is measured over the last one or two windows
_APART_S = 0.5  # a longer gap separates two holds
_MOST_HOSTS = 100  # takes 0.3 ms; all of 10,000 hosts took 50 ms
_FEWEST = 5  # finished URLs; with fewer, the pace is mostly chance


class _HostProgress(Struct):
    """Number of finished URLs of one host, with two earlier samples of it."""

    done: int = 0
    older: tuple[float, int] = (0.0, 0)  # an instant, and the number done at it
    newer: tuple[float, int] = (0.0, 0)


class WorkloadTracker:
    """Tracks the targets and hosts of a crawl, to report the remaining work and its pace."""

    def __init__(self, turns: HostTurns, rate_limiter: RateLimiter, clock: Clock) -> None:
        self._turns = turns
        self._rate_limiter = rate_limiter
        self._clock = clock
        self._progress: dict[str, _HostProgress] = {}
        self._depths: Counter[int] = Counter()  # of targets that lead to pages
        self._tries: Counter[int] = Counter()  # of targets that have failed before
        self._failed = self._retried = self._failed_again = self._holds = 0
        self._failed_s = self._busy_s = self._held_s = 0.0
        self._held_until = self._largest_at = -math.inf
        self._largest_hosts: list[tuple[str, int]] = []

    def add(self, target: Target) -> None:
        """Count a target that is now waiting in memory."""
        if target.via is not Via.SITEMAP:
            self._depths[target.depth] += 1
        if target.tries:
            self._tries[target.tries] += 1

    def add_request(self, took_s: float) -> None:
        """Count the time spent on a request."""
        self._busy_s += took_s

    def add_failure(self, retry: Target, took_s: float) -> None:
        """Count a failed request; *retry* is its target, which will be retried."""
        self._failed += 1
        self._failed_s += took_s
        if retry.tries > 1:
            self._tries[retry.tries - 1] -= 1
            self._retried += 1
            self._failed_again += 1
        self._tries[retry.tries] += 1

    def close(self, target: Target, *, failed: bool = False) -> None:
        """Count a target that needs no further fetch."""
        if target.via is not Via.SITEMAP:
            self._depths[target.depth] -= 1
        if target.tries:
            self._tries[target.tries] -= 1
            self._retried += 1
            self._failed_again += failed
        now = self._active_s()
        progress = self._progress.get(target.host)
        if progress is None:
            progress = self._progress[target.host] = _HostProgress(older=(now, 0), newer=(now, 0))
        if now - progress.newer[0] >= _WINDOW_S:
            progress.older, progress.newer = progress.newer, (now, progress.done)
        progress.done += 1

    def is_held(self) -> bool:
        """Return whether all waiting targets are held back, by refusals or until a retry."""
        return all(self._rate_limiter.held_s(host) > 0 for host in self._turns.frontier.hosts())

    def add_hold(self, since: float) -> None:
        """Add the time since *since*, in which all targets were held back."""
        if since - self._held_until > _APART_S:
            self._holds += 1
        self._held_until = self._clock.monotonic()
        self._held_s += self._held_until - since

    def workload(self, max_depth: int | None, url_retries: int) -> Workload:
        """Return a summary of the waiting targets and their hosts."""
        now = self._active_s()
        least_s = self._turns.last_due_s()
        longest: tuple[float, int, float, str] = (0.0, 0, 0.0, "")
        hold_s = math.inf if self.is_held() else 0.0
        for host, waiting in self._largest():
            free_s, delay_s = self._rate_limiter.pace_of(host)
            least_s = max(least_s, free_s + (waiting - 1) * delay_s)
            hold_s = min(hold_s, free_s)
            rate = self._rate(host, now)
            if rate > 0 and waiting / rate > longest[0]:
                longest = (waiting / rate, waiting, rate, host)
        hold_s = hold_s if hold_s < math.inf else 0.0
        barren = 0
        if max_depth is not None:
            barren = sum(count for depth, count in self._depths.items() if depth >= max_depth)
        retries = sum(
            count * max(1, url_retries - tries + 1) for tries, count in self._tries.items()
        )
        return Workload(
            retries=retries,
            failed=self._failed,
            failed_s=self._failed_s,
            retried=self._retried,
            failed_again=self._failed_again,
            busy_s=self._busy_s,
            least_s=least_s,
            hold_s=hold_s,
            holds=self._holds,
            held_s=self._held_s,
            lane_waiting=longest[1],
            lane_rate=longest[2],
            lane_full=not longest[3] or self._rate_limiter.is_full(longest[3]),
            barren=max(0, barren),
        )

    def _largest(self) -> list[tuple[str, int]]:
        """Return the hosts with the most targets, cached for 1 s if there are many."""
        now = self._clock.monotonic()
        if len(self._largest_hosts) < _MOST_HOSTS or now - self._largest_at >= 1.0:
            self._largest_hosts, self._largest_at = self._turns.frontier.largest(_MOST_HOSTS), now
        return self._largest_hosts

    def _active_s(self) -> float:
        """Return the time of a clock that stops while all targets are held back."""
        return self._clock.monotonic() - self._held_s

    def _rate(self, host: str, now: float) -> float:
        progress = self._progress.get(host)
        if progress is None or now <= progress.older[0]:
            return 0.0
        done = progress.done - progress.older[1]
        return done / (now - progress.older[0]) if done >= _FEWEST else 0.0
