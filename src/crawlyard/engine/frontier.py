"""Frontier in memory: the order of a job's targets, and the turns of their hosts."""

import heapq
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import TypeAlias

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.spec import Strategy
from crawlyard.engine.hosts.gate import NEVER, HostGate, Slot

Entry: TypeAlias = tuple[int, int, Target]
"""Sort key (two integers), then the target."""

Place: TypeAlias = tuple[float, int, int]
"""The turn of a host, then the sort key of its next target."""

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
        self._found = 0

    def push(self, target: Target) -> None:
        """Add a target."""
        self._found += 1
        self.put_back((self._sign * target.depth, self._sign * self._found, target))

    def push_first(self, target: Target) -> None:
        """Add a target that comes before all but those added like this."""
        self._found += 1
        self.put_back((_FIRST, self._found, target))

    def head(self, host: str) -> tuple[int, int]:
        """Return the sort key of the next target of *host*, which must have one."""
        depth, found, _ = self._queues[host][0]
        return depth, found

    def pop(self, host: str) -> Entry:
        """Remove and return the next entry of *host*, which must have one."""
        queue = self._queues[host]
        entry = heapq.heappop(queue)
        self._count -= 1
        if not queue:
            del self._queues[host]
        return entry

    def put_back(self, entry: Entry) -> None:
        """Put an entry back in its old place."""
        heapq.heappush(self._queues.setdefault(entry[2].host, []), entry)
        self._count += 1

    def crowded(self, many: int) -> Iterator[str]:
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

    Without a delay, and among hosts that were not asked yet, it picks the first target in order.
    A host that must wait does not hold up the others. Each host with targets is in one of four
    states: ready, timed (until an instant), parked (until the gate calls back) or blocked (until
    `unblock`, usually because its robots.txt is still being fetched).
    """

    def __init__(
        self, frontier: Frontier, gate: HostGate, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self.frontier = frontier
        self._gate = gate
        self._clock = clock
        self._wake = wake  # called when a parked host becomes ready
        self._ready: list[tuple[Place, str]] = []
        self._ready_by: dict[str, Place] = {}  # current keys; other entries are stale
        self._timed: list[tuple[float, str]] = []
        self._placed: set[str] = set()  # hosts in one of the two heaps, or parked
        self._blocked: set[str] = set()
        self._later: list[tuple[float, int, Target]] = []
        self._order = 0
        self._asking: set[str] = set()  # parked hosts whose terms are requested from the store
        self.most_asking = 1  # what is asked of the store too early has lapsed before it is used

    def push(self, target: Target) -> None:
        """Add a target that may be fetched as soon as its host is ready."""
        self.frontier.push(target)
        self._place(target.host)

    def push_first(self, target: Target) -> None:
        """Add a target that is the next of its host."""
        self.frontier.push_first(target)
        self._place(target.host)

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
        self._place(host)

    def block_for(self, host: str, wait_s: float) -> None:
        """Return no target of *host* for *wait_s* seconds."""
        self._blocked.discard(host)
        self._wait_for(host, wait_s)

    def last_due_s(self) -> float:
        """Return the seconds until the last of the delayed targets (see `push_later`) is due."""
        now = self._clock.monotonic()
        return max((due - now for due, *_ in self._later), default=0.0)

    def next(self, settled: Callable[[Target], bool]) -> tuple[Target, Slot] | None:
        """Return the next target and a slot taken for it, or ``None`` if all must wait.

        Targets for which *settled* returns true need no request and are dropped.
        """
        self._release()
        while self._ready and len(self._asking) < self.most_asking:
            place, host = heapq.heappop(self._ready)
            if self._ready_by.get(host) != place:
                continue  # stale: the host has moved up since
            del self._ready_by[host]
            self._placed.discard(host)
            if host in self._blocked or host not in self.frontier:
                continue
            if self.frontier.head(host) != place[1:]:
                self._place(host)  # the target that this key was for is gone
                continue
            wait = self._gate.ready_in(host)
            if wait > 0:
                self._wait_for(host, wait)
                continue
            target = self._first_to_fetch(host, settled)
            if target is not None:
                slot = self._gate.take(host)
                self._place(host)
                return target, slot
        return None

    def _first_to_fetch(self, host: str, settled: Callable[[Target], bool]) -> Target | None:
        """Remove and return the next target of *host* that needs a request, ``None`` if none does.

        Each is removed before it is judged, because targets that arrive meanwhile (such as
        the sitemaps of a robots.txt) may sort before it.
        """
        while host in self.frontier:
            entry = self.frontier.pop(host)
            target = entry[2]
            if settled(target):
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

    def _place(self, host: str) -> None:
        if host in self._blocked or host not in self.frontier:
            return
        first = (self._gate.turn_of(host), *self.frontier.head(host))
        if host in self._placed and self._ready_by.get(host, first) <= first:
            return
        self._placed.add(host)
        self._ready_by[host] = first
        heapq.heappush(self._ready, (first, host))

    def _wait_for(self, host: str, wait: float) -> None:
        self._placed.add(host)
        if wait is NEVER:
            if self._gate.asks(host):
                self._asking.add(host)
            self._gate.when_ready(host, partial(self._unpark, host))
        else:
            heapq.heappush(self._timed, (self._clock.monotonic() + wait, host))

    def _unpark(self, host: str) -> None:
        self._asking.discard(host)
        self._placed.discard(host)
        self._place(host)
        self._wake()

    def _release(self) -> None:
        now = self._clock.monotonic()
        while self._timed and self._timed[0][0] <= now:
            _, host = heapq.heappop(self._timed)
            self._placed.discard(host)
            self._place(host)
        while self._later and self._later[0][0] <= now:
            self.push(heapq.heappop(self._later)[2])
