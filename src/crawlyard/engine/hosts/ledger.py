"""Host ledger: shares seats, bookings, holds and rules of hosts with the other processes.

A seat lets a process have one request in flight to a host; the store divides the seats of each
host among the processes. A booking reserves the time at which a request is sent.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct, field

from crawlyard.clock import Clock
from crawlyard.core.hosts.hosts import HostRule, HostState
from crawlyard.core.hosts.slots import LAST, MARGIN, HostTerms, SlotRequest
from crawlyard.core.jobs.checkpoint import Booking
from crawlyard.errors import Unavailable

RENEW_EVERY = timedelta(seconds=1)
"""Interval for renewing seats, which also fetches rules and news from other processes."""

_SOON = timedelta(seconds=0.25)  # used once instead, when others wait for seats of ours
_ACTIVE_S = 2.5  # seats of a host that wasn't wanted for longer are given back
_BOOK_AHEAD_S = 0.25  # at a fast pace, one booking covers this much time
_BOOK_AT_MOST = 16
_STALE_S = 0.05  # a send time missed by more (or a quarter of the delay) is booked again
LONGEST_LEAD_S = 1.0  # prepare a request at most this long before its send time
_SPARE = 1.25  # safety factor on the last preparation time, which varies
_TRY_AGAIN = timedelta(seconds=0.5)  # while the store is unavailable
_PORTION = 500  # hosts per transaction

_log = logging.getLogger(__name__)


class Pacer(Protocol):
    """Shared state of hosts; see `HostStore`."""

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        """Book requests; return the first send time of each booking, in the same order."""
        ...

    async def sit(
        self, asker: str, wishes: Sequence[SlotRequest], now: datetime, until: datetime
    ) -> list[HostTerms]:
        """Renew the seats of a process until *until*; return its terms, in the same order."""
        ...

    async def leave(self, *askers: str) -> None:
        """Give back all seats of some processes."""
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
    booked: deque[float] = field(default_factory=deque)  # our send times (monotonic)
    booked_from: datetime | None = None  # from here to booked_until, all bookings are ours
    booked_until: datetime | None = None  # by the store's clock
    missed: bool = False  # booked send times passed unused
    booking: bool = False  # a booking or a request for terms is under way
    wishes: dict[str, tuple[float, int]] = field(default_factory=dict)  # job: delay_s, at_once
    wished_delay_s: float = 0.0  # the longest delay among the wishes
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

    def wish(self, job: str, delay_s: float, at_once: int) -> None:
        """Set the limits that *job* wants."""
        self.wishes[job] = (delay_s, at_once)
        self._sum_up()

    def forget(self, job: str) -> bool:
        """Remove the limits that *job* wants; return whether there were any."""
        wished = self.wishes.pop(job, None) is not None
        if wished:
            self._sum_up()
        return wished

    def _sum_up(self) -> None:
        # computed once per wish, as the result is read five times per request
        self.wished_delay_s = max([delay for delay, _ in self.wishes.values()], default=0.0)
        self.wished_at_once = min([at_once for _, at_once in self.wishes.values()], default=1)

    @property
    def delay_s(self) -> float:
        """Return the effective delay."""
        wished = max(self.wished_delay_s, self.others_s)
        return wished if self.rule is None else self.rule.slowed(wished)

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
        """Send no request before *until*, and drop bookings."""
        self.held_until = until
        self.free_at = max(self.free_at, until)
        self.booked.clear()

    def is_missed(self, instant: float, now: float) -> bool:
        """Return whether a booked send time has passed; a late request could crowd the next one."""
        return instant < now - min(_STALE_S, self.delay_s / 4)

    def drop_missed(self, now: float) -> None:
        """Drop missed bookings."""
        while self.booked and self.is_missed(self.booked[0], now):
            self.booked.popleft()
            self.missed = True

    def prepared_in(self, wait: float, now: float) -> float:
        """Return the seconds until a request must be prepared to be sent in *wait* seconds."""
        return max(0.0, wait - self.lead_s if self.delay_s else wait, self.next_at - now)

    def prepared(self, took_s: float) -> None:
        """Update the estimated preparation time with the last one."""
        long_s = min(took_s * _SPARE, LONGEST_LEAD_S)
        self.lead_s = max(long_s, (self.lead_s + long_s) / 2)

    def book(self, first: datetime, every_s: float, count: int, start: float) -> None:
        """Record *count* booked send times; *start* is the first by our monotonic clock."""
        self.booked.extend(start + n * every_s for n in range(count))
        if first != self.booked_until:
            self.booked_from = first  # bookings before it may belong to others
        self.booked_until, self.missed = first + timedelta(seconds=every_s) * count, False

    @property
    def is_idle(self) -> bool:
        """Return whether the host is unused here, and the store holds nothing for us."""
        return not (self.wishes or self.in_flight or self.sat or self.booking)

    def is_wanted(self, now: float, lately_s: float) -> bool:
        """Return whether a job has a request in flight or waiting, or wanted one lately."""
        lately = now - self.asked_at < lately_s
        return bool(self.wishes) and (lately or self.in_flight > 0 or bool(self.waiters))

    def demand(self, now: float) -> int:
        """Return the number of seats that we can use."""
        if not self.is_wanted(now, _ACTIVE_S) or self.held_until > now + _ACTIVE_S:
            return 0
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
        self._turn = asyncio.Lock()  # serializes requests about seats
        self._renewing = False
        self._owes = False  # others wait for seats that were in use at the last renewal
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def meet(self, name: str, host: Host) -> None:
        """Request the terms of a host, including seats and bookings; then wake its waiters."""
        if not (host.booking or self._closed):
            host.booking = True
            self._to_meet.add(name)
            if len(self._to_meet) == 1:  # hosts added before it runs share the transaction
                self._spawn(self._meet())

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

    async def close(self) -> None:
        """Stop background tasks and give the seats back; no seats are requested afterwards."""
        self._closed = True
        while tasks := tuple(self._tasks):  # a task that ends may start another
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if any(host.sat for host in self._hosts.values()):
            await self._tell(self._pacer.leave(self.asker))

    async def _meet(self) -> None:
        await asyncio.sleep(0)
        async with self._turn:
            names, self._to_meet = sorted(self._to_meet), set()
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
            _wish(name, host, mono, now, first=first)
            for name, host in zip(names, hosts, strict=True)
        ]
        news = [host.news for host in hosts]
        for wish, host in zip(wishes, hosts, strict=True):
            host.sat = True
            host.seats = min(host.seats, wish.keeps)  # until the reply arrives
            host.peak, host.short = host.in_flight, False
            if not wish.wanted:
                host.good_until = None  # the next request must get new terms first
        terms = await self._pacer.sit(self.asker, wishes, now, now + self._lasts)
        for host, wish, told, heard in zip(hosts, wishes, terms, news, strict=True):
            self._adopt(host, told, known=host.news == heard)
            self._owes |= told.seats < wish.keeps
            if wish.wanted or first:
                host.good_until = now + self._lasts - MARGIN
            if not wish.wanted and not host.in_flight:
                host.sat = False
                host.wake()  # waiters must request terms again, as they are no longer renewed

    def _adopt(self, host: Host, terms: HostTerms, *, known: bool) -> None:
        """Apply the store's reply; *known* if there was no local news since the request."""
        before = (host.seats, host.rule, host.others_s)
        host.seats, host.rule, host.others_s = terms.seats, terms.rule, terms.others_s
        if known:
            host.strikes = terms.strikes
        mono, wall = self._clock.monotonic(), self._clock.now()
        if terms.held_until is not None and terms.held_until > wall:
            until = mono + (terms.held_until - wall).total_seconds()
            if until > host.held_until + _STALE_S:
                host.hold(until)
        if terms.first_at is not None:
            start = mono + (terms.first_at - wall).total_seconds()
            host.book(terms.first_at, terms.every_s, terms.booked, start)
        if before != (host.seats, host.rule, host.others_s):
            host.wake()

    async def _book(self) -> None:
        await asyncio.sleep(0)
        names, self._to_book = sorted(self._to_book), set()
        hosts = [self._hosts.setdefault(name, Host()) for name in names]
        bookings = [self._booking(name, host) for name, host in zip(names, hosts, strict=True)]
        left: list[deque[float]] = [deque() for _ in hosts]
        for n, (host, booking) in enumerate(zip(hosts, bookings, strict=True)):
            if booking.last is not None:  # bookings that are being given back must not be used
                left[n], host.booked = host.booked, left[n]
        try:
            firsts = await self._pacer.book(bookings, self._clock.now())
        except Exception as error:  # noqa: BLE001 - whatever it is, the hosts are booked again
            if not isinstance(error, Unavailable):
                _log.exception("hosts could not be booked")
            await self._clock.sleep(_TRY_AGAIN)
            firsts = []
        mono, wall = self._clock.monotonic(), self._clock.now()
        for host, booking, kept, first in zip(hosts, bookings, left, firsts, strict=False):
            if booking.last is None or first >= booking.last:
                host.booked.extend(kept)  # others have booked since, so ours were kept
            start, every = mono + (first - wall).total_seconds(), booking.every_s
            host.book(first, every, booking.count, start)
        for host in hosts:
            host.booking = False
            host.wake()

    def _booking(self, name: str, host: Host) -> Booking:
        """Return a booking for more send times, or one that replaces missed ones."""
        every_s, count = host.delay_s, ahead(host.delay_s)
        last, since = host.booked_until, host.booked_from
        if last is None or since is None or (host.booked and not host.missed):
            return Booking(host=name, every_s=every_s, count=count)
        free_at = self._clock.now() + timedelta(seconds=host.free_at - self._clock.monotonic())
        return Booking(
            host=name, every_s=every_s, count=count, last=last, free_at=max(free_at, since)
        )

    async def _tell(self, telling: Coroutine[object, object, None]) -> None:
        try:
            await telling
        except Unavailable:
            return  # our own state is updated; other processes will learn it from the host

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _wish(name: str, host: Host, mono: float, now: datetime, *, first: bool) -> SlotRequest:
    """Return the request for seats of a host; *first* if its terms are not known yet."""
    held = host.held_until > mono + host.delay_s
    seated = host.good_until is not None and now < host.good_until
    host.drop_missed(mono)
    wanted = host.demand(mono)
    if first:
        wanted = 0 if held else host.wished_at_once
    return SlotRequest(
        host=name,
        wanted=wanted,
        at_once=host.wished_at_once,
        # kept in use during the renewal; the store may give the other half to others
        keeps=max(host.in_flight, (host.seats + 1) // 2 if seated and wanted else 0),
        every_s=host.wished_delay_s,
        book=ahead(host.wished_delay_s) if first and not held and not host.booked else 0,
    )


def ahead(delay_s: float) -> int:
    """Return the number of requests to book at once at a given delay."""
    return max(1, min(_BOOK_AT_MOST, int(_BOOK_AHEAD_S / delay_s))) if delay_s else 1
