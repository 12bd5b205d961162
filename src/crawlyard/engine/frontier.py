"""Which URL is next: the order of a job's targets, and whose turn it is among the hosts."""

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
"""A target behind what it is sorted by."""


class Frontier:
    """Targets that wait, in memory: one queue a host, each in the order of the strategy.

    Breadth first is by (depth, found first), depth first the deepest, then found last:
    the same order as the store's, which holds all of them.
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

    def head(self, host: str) -> tuple[int, int]:
        """Return what the next target of *host* is sorted by; there must be one."""
        depth, found, _ = self._queues[host][0]
        return depth, found

    def pop(self, host: str) -> Entry:
        """Remove and return the next target of *host*, with its place; there must be one."""
        queue = self._queues[host]
        entry = heapq.heappop(queue)
        self._count -= 1
        if not queue:
            del self._queues[host]
        return entry

    def put_back(self, entry: Entry) -> None:
        """Add a target again in its old place."""
        heapq.heappush(self._queues.setdefault(entry[2].host, []), entry)
        self._count += 1

    def crowded(self, many: int) -> Iterator[str]:
        """Yield the hosts with at least *many* targets."""
        return (host for host, queue in self._queues.items() if len(queue) >= many)

    def waiting(self, host: str) -> int:
        """Return how many targets of *host* are here."""
        return len(self._queues.get(host, ()))

    def hosts(self) -> Iterator[str]:
        """Yield the hosts that have targets here."""
        return iter(self._queues)

    def largest(self, most: int) -> list[tuple[str, int]]:
        """Return the *most* hosts with the most targets, and how many targets each has."""
        counts = ((host, len(queue)) for host, queue in self._queues.items())
        if len(self._queues) <= most:
            return list(counts)
        return heapq.nlargest(most, counts, key=itemgetter(1))

    def __contains__(self, host: str) -> bool:
        return host in self._queues

    def __len__(self) -> int:
        return self._count


class HostTurns:
    """Whose turn it is: the first target in order whose host may be asked now.

    A host that must wait holds up none of the others. Each host with targets is in
    one place: ready, timed (until an instant), parked (until the gate calls) or
    blocked (until its robots.txt is there).
    """

    def __init__(
        self, frontier: Frontier, gate: HostGate, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._frontier = frontier
        self._gate = gate
        self._clock = clock
        self._wake = wake  # called when a host became ready by itself
        self._ready: list[tuple[tuple[int, int], str]] = []
        self._ready_by: dict[str, tuple[int, int]] = {}  # what counts of a host's places in it
        self._timed: list[tuple[float, str]] = []
        self._placed: set[str] = set()  # hosts in one of the two heaps, or parked
        self._blocked: set[str] = set()
        self._later: list[tuple[float, int, Target]] = []
        self._order = 0

    def push(self, target: Target) -> None:
        """Add a target that may be fetched as soon as its host allows."""
        self._frontier.push(target)
        self._place(target.host)

    def push_later(self, target: Target, wait_s: float) -> None:
        """Add a target that must wait by itself first."""
        self._order += 1
        heapq.heappush(self._later, (self._clock.monotonic() + wait_s, self._order, target))

    def block(self, host: str) -> None:
        """Let no target of *host* come until `unblock`."""
        self._blocked.add(host)

    def unblock(self, host: str) -> None:
        """Let targets of *host* come again."""
        self._blocked.discard(host)
        self._place(host)

    def block_for(self, host: str, wait_s: float) -> None:
        """Let no target of *host* come for *wait_s* seconds."""
        self._blocked.discard(host)
        self._wait_for(host, wait_s)

    def crowded(self, many: int) -> Iterator[str]:
        """Yield the hosts with at least *many* targets in memory."""
        return self._frontier.crowded(many)

    def waiting(self, host: str) -> int:
        """Return how many targets of *host* wait for their turn in memory."""
        return self._frontier.waiting(host)

    def hosts(self) -> Iterator[str]:
        """Yield the hosts whose targets wait for their turn in memory."""
        return self._frontier.hosts()

    def largest(self, most: int) -> list[tuple[str, int]]:
        """Return the *most* hosts with the most such targets, and how many each has."""
        return self._frontier.largest(most)

    def last_due_s(self) -> float:
        """Return in how many seconds the last of the targets that wait by themselves is due."""
        now = self._clock.monotonic()
        return max((due - now for due, *_ in self._later), default=0.0)

    def next(self, settled: Callable[[Target], bool]) -> tuple[Target, Slot] | None:
        """Take a slot and return it and the target it is for, or ``None`` when all must wait.

        Targets that *settled* says need no request are dropped on the way.
        """
        self._release()
        while self._ready:
            place, host = heapq.heappop(self._ready)
            if self._ready_by.get(host) != place:
                continue  # it has moved up since
            del self._ready_by[host]
            self._placed.discard(host)
            if host in self._blocked or host not in self._frontier:
                continue
            if self._frontier.head(host) != place:
                self._place(host)  # its first target was taken before its turn
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
        """Remove and return the next target of *host* that needs a request, if there is one.

        Each is taken out before it is judged: what comes in meanwhile (the sitemaps of a
        robots.txt, say) may be sorted before it.
        """
        while host in self._frontier:
            entry = self._frontier.pop(host)
            target = entry[2]
            if settled(target):
                continue
            if host not in self._blocked:
                return target
            self._frontier.put_back(entry)
            break
        return None

    def __len__(self) -> int:
        return len(self._frontier) + len(self._later)

    def wait_s(self) -> float:
        """Return in how many seconds a host or target is ready by time alone."""
        now = self._clock.monotonic()
        soonest = min(
            self._timed[0][0] if self._timed else NEVER,
            self._later[0][0] if self._later else NEVER,
        )
        return max(0.0, soonest - now)

    def _place(self, host: str) -> None:
        if host in self._blocked or host not in self._frontier:
            return
        first = self._frontier.head(host)
        if host in self._placed and self._ready_by.get(host, first) <= first:
            return
        self._placed.add(host)
        self._ready_by[host] = first
        heapq.heappush(self._ready, (first, host))

    def _wait_for(self, host: str, wait: float) -> None:
        self._placed.add(host)
        if wait is NEVER:
            self._gate.when_ready(host, partial(self._unpark, host))
        else:
            heapq.heappush(self._timed, (self._clock.monotonic() + wait, host))

    def _unpark(self, host: str) -> None:
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
