"""How often each host may be asked: one gate for all the crawls of a process.

A slot is taken before the request exists, so that neither the delay nor the number
of requests under way is ever exceeded. With a `Pacer`, several processes on one
store keep one pace: they book their instants there.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from crawlyard.clock import Clock
from crawlyard.core.checkpoint import Booking
from crawlyard.core.watch import HostReport
from crawlyard.errors import Unavailable

NEVER = math.inf

MOST_REPORTED = 200
"""Hosts of one report: those with requests under way or held first."""

LONGEST_HOLD_S = 3600.0
"""The most that a Retry-After is taken for; the host is asked again then."""

_BACKOFF_CAP_S = 300.0
_BOOK_AHEAD_S = 0.25  # one booking covers this much of a fast pace
_BOOK_AT_MOST = 16
_STALE_S = 0.05  # an instant missed by more (or a quarter of the delay) is booked anew

_log = logging.getLogger(__name__)


class Pacer(Protocol):
    """Bookings shared between processes: see `HostStore`."""

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        """Book requests; return when the first of each may leave, in the order asked."""
        ...

    async def hold(self, host: str, until: datetime) -> None:
        """Let no booking of *host* begin before *until*."""
        ...


@dataclass(slots=True)
class _Host:
    in_flight: int = 0
    free_at: float = 0.0  # no request before: the delay after the last one, or a hold
    held_until: float = 0.0  # by its last refusal
    strikes: int = 0  # refusals in a row (429, 503)
    booked: deque[float] = field(default_factory=deque)  # instants that are ours
    booking: bool = False
    wishes: dict[str, tuple[float, int]] = field(default_factory=dict)  # job: delay_s, at once
    waiters: list[Callable[[], None]] = field(default_factory=list)  # first come, first called

    @property
    def delay_s(self) -> float:
        return max((delay for delay, _ in self.wishes.values()), default=0.0)

    @property
    def at_once(self) -> int:
        return min((at_once for _, at_once in self.wishes.values()), default=1)


class HostGate:
    """Says when a host may be asked again, for all jobs together.

    Where jobs differ in their wishes, the longest delay and the fewest requests at
    once hold for all of them while they are there.
    """

    def __init__(self, clock: Clock, pacer: Pacer | None = None) -> None:
        self._clock = clock
        self._pacer = pacer
        self._hosts: dict[str, _Host] = {}
        self._to_book: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def wish(self, job: str, host: str, delay_s: float, at_once: int) -> None:
        """Say how *job* wants *host* to be treated, until it leaves."""
        self._hosts.setdefault(host, _Host()).wishes[job] = (delay_s, at_once)

    def leave(self, job: str) -> None:
        """Forget the wishes of *job*, and hosts that nobody asks for any more."""
        now = self._clock.monotonic()
        for name, host in list(self._hosts.items()):
            host.wishes.pop(job, None)
            if not host.wishes and not host.in_flight and host.free_at <= now:
                del self._hosts[name]

    def ready_in(self, host: str) -> float:
        """Return in how many seconds *host* may be asked; `NEVER` until something happens.

        In that case `when_ready` tells when to ask again.
        """
        state = self._hosts[host]
        if state.in_flight >= state.at_once:
            return NEVER
        now = self._clock.monotonic()
        wait = max(0.0, state.free_at - now)
        delay = state.delay_s
        if not delay or self._pacer is None:
            return wait
        while state.booked and state.booked[0] < now - min(_STALE_S, delay / 4):
            state.booked.popleft()
        if state.booked:
            return max(wait, state.booked[0] - now)
        if wait > delay:  # held: book when the end is near, not before
            return wait - delay
        self._start_booking(host, state)
        return NEVER

    def when_ready(self, host: str, wake: Callable[[], None]) -> None:
        """Call *wake* once, when a request to *host* has ended or a booking has come."""
        self._hosts[host].waiters.append(wake)

    def take(self, host: str) -> None:
        """Take a slot; the caller has just seen `ready_in` return 0."""
        state = self._hosts[host]
        state.in_flight += 1
        state.free_at = max(state.free_at, self._clock.monotonic() + state.delay_s)
        if state.booked:
            state.booked.popleft()

    def give(self, host: str) -> None:
        """Give a slot back: the request has ended."""
        state = self._hosts[host]
        state.in_flight -= 1
        self._wake(state)

    async def acquire(self, host: str) -> None:
        """Wait for a slot and take it; to be given back by `give`."""
        while (wait := self.ready_in(host)) > 0:
            if wait is NEVER:
                event = asyncio.Event()
                self.when_ready(host, event.set)
                await event.wait()
            else:
                await self._clock.sleep(timedelta(seconds=wait))
        self.take(host)

    def answered(self, host: str) -> None:
        """Take note that *host* serves: its refusals are over."""
        self._hosts[host].strikes = 0

    def refused(self, host: str, retry_after_s: float | None) -> float:
        """Hold *host* after a 429 or 503; return for how many seconds.

        For as long as it asked for (an hour at most), or twice as long as the last time.
        """
        state, now = self._hosts[host], self._clock.monotonic()
        if now < state.held_until:  # of the same burst as the refusal that began the hold
            rest_s = max(state.held_until - now, min(retry_after_s or 0.0, LONGEST_HOLD_S))
            state.held_until = now + rest_s
            state.free_at = max(state.free_at, state.held_until)
            return rest_s
        backoff = min(max(state.delay_s, 1.0) * 2**state.strikes, _BACKOFF_CAP_S)
        state.strikes = min(state.strikes + 1, 16)
        hold_s = min(backoff if retry_after_s is None else retry_after_s, LONGEST_HOLD_S)
        state.held_until = now + hold_s
        state.free_at = max(state.free_at, state.held_until)
        state.booked.clear()
        if self._pacer is not None:
            until = self._clock.now() + timedelta(seconds=hold_s)
            self._spawn(self._tell_hold(self._pacer, host, until))
        return hold_s

    def reports(self) -> list[HostReport]:
        """Return what is done to each host now, the busiest first, at most `MOST_REPORTED`."""
        now, wall = self._clock.monotonic(), self._clock.now()
        wished = [(name, host) for name, host in self._hosts.items() if host.wishes]
        wished.sort(key=lambda one: (-one[1].in_flight, -one[1].held_until, one[0]))
        return [
            HostReport(
                host=name,
                in_flight=host.in_flight,
                at_once=host.at_once,
                delay_s=host.delay_s,
                held_until=wall + timedelta(seconds=host.held_until - now)
                if host.held_until > now
                else None,
                refusals=host.strikes,
                jobs=tuple(host.wishes),
            )
            for name, host in wished[:MOST_REPORTED]
        ]

    async def close(self) -> None:
        """Stop what runs in the background."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wake(self, state: _Host) -> None:
        waiters, state.waiters = state.waiters, []
        for wake in waiters:
            wake()

    def _start_booking(self, host: str, state: _Host) -> None:
        if state.booking or self._pacer is None:
            return
        state.booking = True
        self._to_book.add(host)
        if len(self._to_book) == 1:  # those that come before it runs share its transaction
            self._spawn(self._book(self._pacer))

    async def _book(self, pacer: Pacer) -> None:
        await asyncio.sleep(0)
        hosts, self._to_book = sorted(self._to_book), set()
        states = [self._hosts.setdefault(name, _Host()) for name in hosts]
        bookings = [
            Booking(host=name, every_s=state.delay_s, count=_ahead(state.delay_s))
            for name, state in zip(hosts, states, strict=True)
        ]
        try:
            firsts = await pacer.book(bookings, self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever it is, the hosts are booked again
            if not isinstance(error, Unavailable):
                _log.exception("hosts could not be booked")
            await self._clock.sleep(timedelta(seconds=0.5))
            firsts = []
        mono, wall = self._clock.monotonic(), self._clock.now()
        for state, booking, first in zip(states, bookings, firsts, strict=False):
            start = mono + (first - wall).total_seconds()
            state.booked.extend(start + n * booking.every_s for n in range(booking.count))
        for state in states:
            state.booking = False
            self._wake(state)

    async def _tell_hold(self, pacer: Pacer, host: str, until: datetime) -> None:
        try:
            await pacer.hold(host, until)
        except Unavailable:
            return  # this process holds it all the same; another will be told to by the host

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ahead(delay_s: float) -> int:
    return max(1, min(_BOOK_AT_MOST, int(_BOOK_AHEAD_S / delay_s))) if delay_s else 1
