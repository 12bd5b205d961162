"""Frontier in memory: the order of a job's targets, and the turns of their hosts."""

import heapq
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import TypeAlias

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.spec import Strategy
from crawlyard.engine.hosts.rate_limiter import NEVER, RateLimiter, Slot

Entry: TypeAlias = tuple[int, int, Target]
"""Sort key (two integers), then the target."""

TurnKey: TypeAlias = tuple[float, int, int]
"""Sort key of a host, then the sort key of its next target."""

_FIRST = -(2**62)
"""The depth of targets that come before all others."""


class Frontier:
    """Waiting targets in memory: one queue per host, each in the order of the strategy.

    Breadth-first order is by depth, then first found; depth-first order is deepest first,
    then last found. The store, which holds all targets, uses the same order.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._sign = 1 if strategy is Strategy.BREADTH_FIRST else -1
        self._queues: dict[str, list[Entry]] = {}
        self._count = 0
        self._pushed = 0

    def push(self, target: Target) -> None:
        """Add a target in the order of the strategy."""
        self._pushed += 1
        self.put_back((self._sign * target.depth, self._sign * self._pushed, target))

    def push_first(self, target: Target) -> None:
        """Add a target that comes before all others, after those added the same way."""
        self._pushed += 1
        self.put_back((_FIRST, self._pushed, target))

    def head(self, host: str) -> tuple[int, int]:
        """Return the sort key of the next target of *host*, which must have one."""
        depth, number, _ = self._queues[host][0]
        return depth, number

    def pop(self, host: str) -> Entry:
        """Remove and return the next entry of *host*, which must have one."""
        queue = self._queues[host]
        entry = heapq.heappop(queue)
        self._count -= 1
        if not queue:
            del self._queues[host]
        return entry

    def put_back(self, entry: Entry) -> None:
        """Put an entry back in its old position."""
        heapq.heappush(self._queues.setdefault(entry[2].host, []), entry)
        self._count += 1

    def hosts_with(self, many: int) -> Iterator[str]:
        """Yield the hosts with at least *many* targets."""
        return (host for host, queue in self._queues.items() if len(queue) >= many)

    def waiting(self, host: str) -> int:
        """Return the number of targets of *host*."""
        return len(self._queues.get(host, ()))

    def hosts(self) -> Iterator[str]:
        """Yield the hosts that have targets."""
        return iter(self._queues)

    def largest(self, most: int) -> list[tuple[str, int]]:
        """Return the *most* hosts with the most targets, each with its number of targets."""
        counts = ((host, len(queue)) for host, queue in self._queues.items())
        if len(self._queues) <= most:
            return list(counts)
        return heapq.nlargest(most, counts, key=itemgetter(1))

    def __contains__(self, host: str) -> bool:
        return host in self._queues

    def __len__(self) -> int:
        return self._count


class HostTurns:
    """Scheduler of hosts: picks the next target of the ready host that has waited longest.

    Without a delay, and among hosts without a request yet, it picks the first target in order.
    A host that must wait does not hold up the others. Each host with targets is in one of four
    states: ready, timed (until an instant), parked (until the rate limiter calls
    back) or blocked (until `unblock`, usually because its robots.txt is still being fetched).
    """

    def __init__(
        self, frontier: Frontier, rate_limiter: RateLimiter, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self.frontier = frontier
        self._rate_limiter = rate_limiter
        self._clock = clock
        self._wake = wake  # called when a parked host becomes ready
        self._ready: list[tuple[TurnKey, str]] = []
        self._ready_by: dict[str, TurnKey] = {}  # current keys; other entries are stale
        self._timed: list[tuple[float, str]] = []
        self._queued: set[str] = set()  # hosts in one of the two heaps, or parked
        self._blocked: set[str] = set()
        self._later: list[tuple[float, int, Target]] = []
        self._order = 0
        self._requesting: set[str] = set()  # parked hosts whose terms are requested from the store
        self.max_requesting = 1  # terms requested too early expire before they are used

    def push(self, target: Target) -> None:
        """Add a target that may be fetched as soon as its host is ready."""
        self.frontier.push(target)
        self._enqueue(target.host)

    def push_first(self, target: Target) -> None:
        """Add a target that is the next of its host."""
        self.frontier.push_first(target)
        self._enqueue(target.host)

    def push_later(self, target: Target, wait_s: float) -> None:
        """Add a target that becomes available only after *wait_s* seconds."""
        self._order += 1
        heapq.heappush(self._later, (self._clock.monotonic() + wait_s, self._order, target))

    def block(self, host: str) -> None:
        """Return no target of *host* until `unblock`."""
        self._blocked.add(host)

    def is_blocked(self, host: str) -> bool:
        """Return whether *host* is blocked until `unblock`."""
        return host in self._blocked

    def unblock(self, host: str) -> None:
        """Allow targets of *host* again."""
        self._blocked.discard(host)
        self._enqueue(host)

    def block_for(self, host: str, wait_s: float) -> None:
        """Return no target of *host* for *wait_s* seconds."""
        self._blocked.discard(host)
        self._wait_for(host, wait_s)

    def last_due_s(self) -> float:
        """Return the seconds until the last of the delayed targets (see `push_later`) is due."""
        now = self._clock.monotonic()
        return max((due - now for due, *_ in self._later), default=0.0)

    def next(self, close_unrequested: Callable[[Target], bool]) -> tuple[Target, Slot] | None:
        """Return the next target and a slot taken for it, or ``None`` if all must wait.

        Targets for which *close_unrequested* returns true need no request and are dropped.
        """
        self._requeue_due()
        while self._ready and len(self._requesting) < self.max_requesting:
            key, host = heapq.heappop(self._ready)
            if self._ready_by.get(host) != key:
                continue  # stale: the host has moved up since
            del self._ready_by[host]
            self._queued.discard(host)
            if host in self._blocked or host not in self.frontier:
                continue
            if self.frontier.head(host) != key[1:]:
                self._enqueue(host)  # the target of this key is gone
                continue
            wait = self._rate_limiter.ready_in(host)
            if wait > 0:
                self._wait_for(host, wait)
                continue
            target = self._first_to_fetch(host, close_unrequested)
            if target is not None:
                slot = self._rate_limiter.take(host)
                self._enqueue(host)
                return target, slot
        return None

    def _first_to_fetch(
        self, host: str, close_unrequested: Callable[[Target], bool]
    ) -> Target | None:
        """Remove and return the next target of *host* that needs a request, ``None`` if none does.

        Each is removed before it is checked, because targets that arrive meanwhile (such as
        the sitemaps of a robots.txt) may sort before it.
        """
        while host in self.frontier:
            entry = self.frontier.pop(host)
            target = entry[2]
            if close_unrequested(target):
                continue
            if host not in self._blocked:
                return target
            self.frontier.put_back(entry)
            break
        return None

    def __len__(self) -> int:
        return len(self.frontier) + len(self._later)

    def wait_s(self) -> float:
        """Return the seconds until the next timed host or delayed target is ready."""
        now = self._clock.monotonic()
        soonest = min(
            self._timed[0][0] if self._timed else NEVER,
            self._later[0][0] if self._later else NEVER,
        )
        return max(0.0, soonest - now)

    def _enqueue(self, host: str) -> None:
        if host in self._blocked or host not in self.frontier:
            return
        first = (self._rate_limiter.queue_key(host), *self.frontier.head(host))
        if host in self._queued and self._ready_by.get(host, first) <= first:
            return
        self._queued.add(host)
        self._ready_by[host] = first
        heapq.heappush(self._ready, (first, host))

    def _wait_for(self, host: str, wait: float) -> None:
        self._queued.add(host)
        if wait is NEVER:
            if self._rate_limiter.is_booking(host):
                self._requesting.add(host)
            self._rate_limiter.notify_ready(host, partial(self._unpark, host))
        else:
            heapq.heappush(self._timed, (self._clock.monotonic() + wait, host))

    def _unpark(self, host: str) -> None:
        self._requesting.discard(host)
        self._queued.discard(host)
        self._enqueue(host)
        self._wake()

    def _requeue_due(self) -> None:
        now = self._clock.monotonic()
        while self._timed and self._timed[0][0] <= now:
            _, host = heapq.heappop(self._timed)
            self._queued.discard(host)
            self._enqueue(host)
        while self._later and self._later[0][0] <= now:
            self.push(heapq.heappop(self._later)[2])
