"""Host ledger: shares seats, bookings, holds and rules of hosts with the other processes.

A seat lets a process have one request in flight to a host; the store divides the seats of each
host among the processes. A booking reserves a window: while it lasts, no other process sends to the
host, and this one sends at the host's pace, counted from its own last request.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct, field

from crawlyard.clock import Clock
from crawlyard.core.hosts.hosts import DelaySource, HostRule, HostState
from crawlyard.core.hosts.slots import (
    GUARD_S,
    LAST,
    MARGIN,
    SPARE_S,
    HostTerms,
    SlotRequest,
    window_s,
)
from crawlyard.core.jobs.checkpoint import Booking
from crawlyard.errors import Unavailable

RENEW_EVERY = timedelta(seconds=1)
"""Interval for renewing seats, which also fetches rules and news from other processes."""

_SOON = timedelta(seconds=0.25)  # used once instead, when others wait for seats of ours
_ACTIVE_S = 2.5  # seats of a host that wasn't wanted for longer are given back
_BOOK_AGAIN_S = 1.25  # renew a window that ends this soon: before the next renewal has come
_SHARE = timedelta(seconds=0.2)  # hosts that are due later wait so long for others to share with
_SAME_S = 0.05  # a hold that ends this much later is the same
_LONGEST = timedelta(seconds=0.5)  # allow for no longer reply to a booking
_LONGEST_S = 2.0  # nor to a renewal: others who come to the host wait as long
LONGEST_LEAD_S = 1.0  # prepare a request at most this long before its send time
_SPARE = 1.25  # safety factor on the last preparation time, which varies
_TRY_AGAIN = timedelta(seconds=0.5)  # while the store is unavailable
_PORTION = 500  # hosts per transaction

_log = logging.getLogger(__name__)


class Pacer(Protocol):
    """Shared state of hosts; see `HostStore`."""

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        """Book windows; return when each begins, in the same order."""
        ...

    async def sit(
        self, asker: str, wishes: Sequence[SlotRequest], now: datetime, until: datetime
    ) -> list[HostTerms]:
        """Renew the seats of a process until *until*; return its terms, in the same order."""
        ...

    async def leave(self, *askers: str, unused: Sequence[Booking] = ()) -> None:
        """Give back all seats of some processes, and what is *unused* of their windows."""
        ...

    async def hold(
        self, host: str, until: datetime, strikes: int = 0, struck_at: datetime | None = None
    ) -> None:
        """Hold *host* until *until*, after *strikes* refusals in a row."""
        ...

    async def forgive(self, host: str) -> None:
        """Reset the refusals of *host*."""
        ...


class Host(Struct):
    """State of one host in this process."""

    in_flight: int = 0
    free_at: float = 0.0  # send no request before: after a delay or a hold
    held_until: float = 0.0  # because of its last refusal
    strikes: int = 0  # refusals in a row (429, 503)
    news: int = 0  # rises when a refusal starts a hold, and when a response ends the refusals
    next_at: float = 0.0  # prepare no request before: the delay after the last was prepared
    preparing: int = 0  # requests in flight that aren't sent yet
    lead_s: float = 0.0  # estimated preparation time of a request: DNS look-up, connection
    windows: list[tuple[float, float]] = field(default_factory=list)  # when we may send (monotonic)
    booked_from: datetime | None = None  # the start of the last window, by the store's clock
    booked_until: datetime | None = None  # when the host is free for others after it
    alone: bool = True  # no other process wants to send requests
    booking: bool = False  # a booking or a request for terms is under way
    # by job: its delay, whether robots.txt asks for that, and its concurrency
    wishes: dict[str, tuple[float, bool, int]] = field(default_factory=dict)
    wished_delay_s: float = 0.0  # the longest delay among the wishes
    wished_by_robots: bool = False  # whether robots.txt asks for that delay
    wished_at_once: int = 1  # the lowest concurrency among the wishes
    waiters: list[Callable[[], None]] = field(default_factory=list)  # called first in, first out
    rule: HostRule | None = None
    others_s: float = 0.0  # the longest delay that jobs of other processes want
    seats: int = 0
    good_until: datetime | None = None  # of seats and rule, by our clock; None: unknown
    sat: bool = False  # the store may hold seats for us
    asked_at: float = -math.inf  # when a crawl last wanted to send it a request
    peak: int = 0  # most requests in flight since the last renewal
    short: bool = False  # a request had to wait for a seat since then

    def wish(self, job: str, delay_s: float, at_once: int, *, by_robots: bool = False) -> None:
        """Set the limits that *job* wants; its delay is perhaps the one of robots.txt."""
        self.wishes[job] = (delay_s, by_robots, at_once)
        self._sum_up()

    def forget(self, job: str) -> bool:
        """Remove the limits that *job* wants; return whether there were any."""
        wished = self.wishes.pop(job, None) is not None
        if wished:
            self._sum_up()
        return wished

    def _sum_up(self) -> None:
        # computed once per wish, as the result is read five times per request
        wishes = self.wishes.values()
        # of two jobs with the same delay, the one that chose it counts
        self.wished_delay_s, _, self.wished_by_robots = max(
            [(delay, not by_robots, by_robots) for delay, by_robots, _ in wishes],
            default=(0.0, True, False),
        )
        self.wished_at_once = min([at_once for *_, at_once in wishes], default=1)

    @property
    def delay_s(self) -> float:
        """Return the effective delay."""
        wished = max(self.wished_delay_s, self.others_s)
        return wished if self.rule is None else self.rule.slowed(wished)

    @property
    def delay_from(self) -> DelaySource:
        """Return what sets the effective delay."""
        wished = max(self.wished_delay_s, self.others_s)
        if self.delay_s > wished:
            return DelaySource.RULE
        if self.others_s > self.wished_delay_s:
            return DelaySource.OTHERS
        return DelaySource.ROBOTS if self.wished_by_robots else DelaySource.JOB

    @property
    def at_once(self) -> int:
        """Return the effective concurrency limit, for all processes together."""
        wished = self.wished_at_once
        return wished if self.rule is None else self.rule.narrowed(wished)

    @property
    def state(self) -> HostState:
        """Return the state set by operators."""
        return HostState.OPEN if self.rule is None else self.rule.state

    def wake(self) -> None:
        """Call and remove all waiters."""
        waiters, self.waiters = self.waiters, []
        for wake in waiters:
            wake()

    def hold(self, until: float) -> None:
        """Send no request before *until*, and use no window that was booked before."""
        self.held_until = until
        self.free_at = max(self.free_at, until)
        self.windows.clear()

    def opens(self, at: float) -> float:
        """Return when a request may be sent, at *at* or later; `inf` if no window is left."""
        for start, end in self.windows:
            if at <= end:
                return max(at, start)
        return math.inf

    def end_at(self, end: float) -> float:
        """Let the last window end at *end*; return when it ended before."""
        if not self.windows:
            return -math.inf
        start, before = self.windows[-1]
        self.windows[-1] = (start, end)
        return before

    def offer(self, now: datetime, mono: float) -> tuple[datetime | None, datetime | None]:
        """Return when the host is free after our last window, and when it would be without it."""
        if self.booked_until is None or self.booked_from is None:
            return None, None
        free_at = now + timedelta(seconds=self.free_at - mono)
        return self.booked_until, max(free_at, self.booked_from)

    def prepared_in(self, wait: float, now: float) -> float:
        """Return the seconds until a request must be prepared to be sent in *wait* seconds."""
        return max(0.0, wait - self.lead_s if self.delay_s else wait, self.next_at - now)

    def prepared(self, took_s: float) -> None:
        """Update the estimated preparation time with the last one."""
        long_s = min(took_s * _SPARE, LONGEST_LEAD_S)
        self.lead_s = max(long_s, (self.lead_s + long_s) / 2)

    def book(self, booking: Booking, first: datetime, now: datetime, mono: float) -> None:
        """Add a window, which begins at *first*; it takes the place of the last one if it can."""
        if booking.last is not None and first < booking.last:
            del self.windows[-1:]  # nobody has booked since: the rest of it was given back
        start = mono + (first - now).total_seconds()
        self.windows = [window for window in self.windows if window[1] >= mono]
        self.windows.append((start, start + booking.for_s - GUARD_S))
        self.booked_from, self.booked_until = first, booking.until(first)

    @property
    def is_idle(self) -> bool:
        """Return whether the host is unused here, and the store holds nothing for us."""
        return not (self.wishes or self.in_flight or self.sat or self.booking)

    @property
    def is_left(self) -> bool:
        """No job wants the host, though the store may hold seats for us."""
        return self.sat and not (self.wishes or self.in_flight or self.booking)

    def is_wanted(self, now: float, lately_s: float) -> bool:
        """Return whether a job has a request in flight or waiting, or wanted one lately."""
        lately = now - self.asked_at < lately_s
        return bool(self.wishes) and (lately or self.in_flight > 0 or bool(self.waiters))

    def demand(self, now: float) -> int:
        """Return the number of seats that we can use."""
        if not self.is_wanted(now, _ACTIVE_S) or self.held_until > now + _ACTIVE_S:
            return 0
        if not self.in_flight and self.free_at > now + _ACTIVE_S:
            return 0  # after a long delay, it is met again
        most = self.wished_at_once
        return most if self.short or self.waiters else min(most, self.peak + 1)


class HostLedger:
    """Exchanges the state of hosts with the store, many hosts per transaction."""

    def __init__(
        self,
        clock: Clock,
        pacer: Pacer,
        asker: str,
        hosts: dict[str, Host],
        lasts: timedelta = LAST,
    ) -> None:
        self._clock = clock
        self._lasts = lasts  # from each renewal of a seat
        self._pacer = pacer
        self.asker = asker
        self._hosts = hosts
        self._to_book: set[str] = set()
        self._to_meet: set[str] = set()
        self._to_meet_soon: set[str] = set()  # they are not due yet
        self._turn = asyncio.Lock()  # serializes requests about seats
        self._renewing = False
        self._took = timedelta(0)  # the store to reply to the last booking
        self._renewal_s = 0.0  # the last renewal of seats took so long
        self._owes = False  # others wait for seats that were in use at the last renewal
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def meet(self, name: str, host: Host) -> None:
        """Request the terms of a host, including seats and bookings; then wake its waiters."""
        if not (host.booking or self._closed):
            host.booking = True
            due_s = host.free_at - self._clock.monotonic()
            names = self._to_meet if due_s < 2 * _SHARE.total_seconds() else self._to_meet_soon
            names.add(name)
            if len(names) == 1:  # hosts added before it runs share the transaction
                self._spawn(self._meet(names))

    def book(self, name: str, host: Host) -> None:
        """Book the next requests to a host; then wake its waiters."""
        if not (host.booking or self._closed):
            host.booking = True
            self._to_book.add(name)
            if len(self._to_book) == 1:
                self._spawn(self._book())

    def tell_hold(self, name: str, hold_s: float, strikes: int) -> None:
        """Tell the other processes about a refusal."""
        now = self._clock.now()
        until = now + timedelta(seconds=hold_s)
        self._spawn(self._tell(self._pacer.hold(name, until, strikes, now)))

    def tell_answer(self, name: str) -> None:
        """Tell the other processes that a host responds normally again."""
        self._spawn(self._tell(self._pacer.forgive(name)))

    def release(self) -> None:
        """Give back the seats of hosts that no job wants any more, before the next renewal."""
        self._spawn(self._release())

    async def _release(self) -> None:
        async with self._turn:
            await self._sat([name for name, host in self._hosts.items() if host.is_left])

    async def close(self) -> None:
        """Stop background tasks and give the seats back; no seats are requested afterwards."""
        self._closed = True
        while tasks := tuple(self._tasks):  # a task that ends may start another
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        unused = self._unused()
        if unused or any(host.sat for host in self._hosts.values()):
            await self._tell(self._pacer.leave(self.asker, unused=unused))

    def _unused(self) -> list[Booking]:
        """Return what is left of our windows, to be given back."""
        now, mono = self._clock.now(), self._clock.monotonic()
        left = []
        for name, host in self._hosts.items():
            last, free_at = host.offer(now, mono)
            if last is not None and last > now:
                host.windows.clear()
                left.append(Booking(host=name, every_s=host.delay_s, last=last, free_at=free_at))
        return left

    async def _meet(self, waiting: set[str]) -> None:
        if waiting is self._to_meet:
            await asyncio.sleep(0)
        else:
            await self._clock.sleep(_SHARE)
        async with self._turn:
            names = sorted(waiting)
            waiting.clear()
            hosts = [self._hosts.setdefault(name, Host()) for name in names]
            met = await self._sat(names, first=True)
        if not met:
            await self._clock.sleep(_TRY_AGAIN)
        for host in hosts:
            host.booking = False
            host.wake()
        if met and not self._renewing:
            self._renewing = True
            self._spawn(self._renew())

    async def _renew(self) -> None:
        """Renew seats until there are none."""
        soon = False
        while True:
            await self._clock.sleep(_SOON if soon else RENEW_EVERY)
            async with self._turn:
                names = [name for name, host in self._hosts.items() if host.sat]
                if not names:
                    self._renewing = False
                    return
                self._owes = False
                await self._sat(names)
                soon = self._owes and not soon

    async def _sat(self, names: Sequence[str], *, first: bool = False) -> bool:
        """Renew the seats of some hosts; return whether that succeeded."""
        try:
            for at in range(0, len(names), _PORTION):
                await self._sit(names[at : at + _PORTION], first=first)
        except Exception as error:  # noqa: BLE001 - whatever it is, terms are requested again
            if not isinstance(error, Unavailable):
                _log.exception("the seats of hosts could not be renewed")
            return False
        return True

    async def _sit(self, names: Sequence[str], *, first: bool) -> None:
        now, mono = self._clock.now(), self._clock.monotonic()
        hosts = [self._hosts.setdefault(name, Host()) for name in names]
        wishes = [
            _wish(name, host, mono, now, self._renewal_s, first=first)
            for name, host in zip(names, hosts, strict=True)
        ]
        news = [host.news for host in hosts]
        ends = [
            _offered(host, wish.last, wish.free_at, now, mono)
            for wish, host in zip(wishes, hosts, strict=True)
        ]
        booking = [host for wish, host in zip(wishes, hosts, strict=True) if _books(wish)]
        for wish, host in zip(wishes, hosts, strict=True):
            host.sat = True
            host.seats = min(host.seats, wish.keeps)  # until the reply arrives
            host.peak, host.short = host.in_flight, False
            if not wish.wanted:
                host.good_until = None  # the next request must get new terms first
            if not wish.book and wish.last is not None:
                host.windows.clear()  # the rest is given back
        for host in booking:
            host.booking = True
        try:
            terms = await self._pacer.sit(self.asker, wishes, now, now + self._lasts)
            self._renewal_s = min(self._clock.monotonic() - mono, _LONGEST_S)
        finally:
            for host in booking:
                host.booking = first  # then `_meet` resets it
        for n, (host, wish, told) in enumerate(zip(hosts, wishes, terms, strict=True)):
            self._adopt(host, wish, told, ends[n], known=host.news == news[n])
            self._owes |= told.seats < wish.keeps
            if wish.wanted or first:
                host.good_until = now + self._lasts - MARGIN
            if not wish.wanted and not host.in_flight:
                host.sat = False
                host.wake()  # waiters must request terms again, as they are no longer renewed
        for host in booking:
            host.wake()

    def _adopt(
        self, host: Host, wish: SlotRequest, terms: HostTerms, end: float, *, known: bool
    ) -> None:
        """Apply the store's reply; *known* if there was no local news since the request.

        The last window ended at *end*.
        """
        before = (host.seats, host.rule, host.others_s)
        host.seats, host.rule, host.others_s = terms.seats, terms.rule, terms.others_s
        host.alone = terms.alone
        if known:
            host.strikes = terms.strikes
        mono, wall = self._clock.monotonic(), self._clock.now()
        if terms.held_until is not None and terms.held_until > wall:
            until = mono + (terms.held_until - wall).total_seconds()
            if until > host.held_until + _SAME_S:
                host.hold(until)
        if wish.book:
            host.end_at(end)
        elif wish.last is not None:
            host.booked_from = host.booked_until = None
        if terms.booked is not None and terms.first_at is not None:
            host.book(terms.booked, terms.first_at, wall, mono)
        if before != (host.seats, host.rule, host.others_s):
            host.wake()

    async def _book(self) -> None:
        await asyncio.sleep(0)
        names, self._to_book = sorted(self._to_book), set()
        hosts = [self._hosts.setdefault(name, Host()) for name in names]
        # a window that had passed before the reply arrives would be of no use
        asked_at, mono = self._clock.now() + self._took, self._clock.monotonic()
        bookings = [
            _booking(name, host, asked_at, mono + self._took.total_seconds())
            for name, host in zip(names, hosts, strict=True)
        ]
        ends = [
            _offered(host, one.last, one.free_at, self._clock.now(), mono)
            for one, host in zip(bookings, hosts, strict=True)
        ]
        try:
            firsts = await self._pacer.book(bookings, asked_at)
        except Exception as error:  # noqa: BLE001 - whatever it is, the hosts are booked again
            if not isinstance(error, Unavailable):
                _log.exception("hosts could not be booked")
            await self._clock.sleep(_TRY_AGAIN)
            firsts = []
        now, was, mono = self._clock.now(), mono, self._clock.monotonic()
        if firsts:
            self._took = min(timedelta(seconds=mono - was), _LONGEST)
        for host, booking, end, first in zip(hosts, bookings, ends, firsts, strict=False):
            host.end_at(end)
            host.book(booking, first, now, mono)
        for host in hosts:
            host.booking = False
            host.wake()

    async def _tell(self, telling: Coroutine[object, object, None]) -> None:
        try:
            await telling
        except Unavailable:
            return  # our own state is updated; other processes will learn it from the host

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _wish(
    name: str, host: Host, mono: float, now: datetime, reply_s: float, *, first: bool
) -> SlotRequest:
    """Return the request for seats of a host; *first* if its terms are not known yet.

    The reply is expected in *reply_s*. Until then the last window is used, and the next one, which
    begins then, lasts until the reply to the next renewal.
    """
    held = host.held_until > mono + host.delay_s
    seated = host.good_until is not None and now < host.good_until
    wanted = host.demand(mono)
    if first:
        wanted = 0 if held else host.wished_at_once
        book = host.opens(max(mono, host.free_at)) == math.inf
    else:
        soon = mono + _BOOK_AGAIN_S + reply_s
        # others wait for the host: it is booked when its last window has been used up
        book = host.alone and host.free_at < soon and not any(e > soon for _, e in host.windows)
        book = book and not host.booking
    book = book and wanted > 0 and host.delay_s > 0
    idle = not (host.wishes or host.preparing or host.booking)
    last, free_at = host.offer(now, mono) if book or idle else (None, None)
    if book and last is not None and free_at is not None:
        free_at = max(free_at, min(last, now + timedelta(seconds=reply_s)))
    return SlotRequest(
        host=name,
        wanted=wanted,
        at_once=host.wished_at_once,
        # kept in use during the renewal; the store may give the other half to others
        keeps=max(host.in_flight, (host.seats + 1) // 2 if seated and wanted else 0),
        every_s=host.wished_delay_s,
        book=book,
        ahead=host.preparing,
        spare_s=2 * reply_s if first else reply_s,
        last=last,
        free_at=free_at,
    )


def _books(wish: SlotRequest) -> bool:
    """Return whether a request changes what is booked."""
    return wish.book or wish.last is not None


def _booking(name: str, host: Host, now: datetime, mono: float) -> Booking:
    """Return a booking of the next window."""
    last, free_at = host.offer(now, mono)
    for_s = window_s(host.delay_s, host.preparing, alone=host.alone)
    return Booking(host=name, every_s=host.delay_s, for_s=for_s, last=last, free_at=free_at)


def _offered(
    host: Host, last: datetime | None, free_at: datetime | None, now: datetime, mono: float
) -> float:
    """Use the last window no further than any reply to an offer allows; return its end.

    The reply may give it to another process, or make it begin at *free_at*.
    """
    if last is None or free_at is None or not host.windows:
        return -math.inf
    safe_s = max((free_at - now).total_seconds(), 0.0) + SPARE_S - GUARD_S
    return host.end_at(min(host.windows[-1][1], mono + safe_s))
