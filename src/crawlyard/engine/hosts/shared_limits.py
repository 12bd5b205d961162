"""Host limits shared between processes: slots, bookings, holds and rules, kept in the store.

A slot lets a process have one request in flight to a host; the store divides the slots of each
host among the processes. A booking reserves a window: while it lasts, no other process sends to the
host, and this one sends at the host's pace, counted from its own last request.
"""

import asyncio
import logging
import math
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from crawlyard.clock import Clock
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
from crawlyard.engine.hosts.host import Host
from crawlyard.errors import Unavailable

RENEW_EVERY = timedelta(seconds=1)
"""Interval for renewing slots, which also fetches rules and news from other processes."""

_SOON = timedelta(seconds=0.25)  # used once instead, when other processes wait for our slots
_BOOK_AGAIN_S = 1.25  # renew a window that ends before the reply to the next renewal
_COLLECT = timedelta(seconds=0.2)  # hosts that are due later wait this long, to share a transaction
_SAME_S = 0.05  # a hold that ends at most this much later is the same hold
_MAX_BOOKING_REPLY = timedelta(seconds=0.5)  # longest reply time to a booking that is allowed for
_MAX_RENEWAL_S = 2.0  # and to a renewal: other processes that request the host wait as long
_RETRY_DELAY = timedelta(seconds=0.5)  # while the store is unavailable
_BATCH = 500  # hosts per transaction

_log = logging.getLogger(__name__)


class Pacer(Protocol):
    """Shared state of hosts; see `HostStore`."""

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        """Book windows; return when each begins, in the same order."""
        ...

    async def renew_slots(
        self, process: str, requests: Sequence[SlotRequest], now: datetime, until: datetime
    ) -> list[HostTerms]:
        """Renew the slots of a process until *until*; return its terms, in the same order."""
        ...

    async def release_slots(self, *askers: str, unused: Sequence[Booking] = ()) -> None:
        """Give back all slots of some processes, and the *unused* rest of their windows."""
        ...

    async def hold(
        self, host: str, until: datetime, strikes: int = 0, struck_at: datetime | None = None
    ) -> None:
        """Hold *host* until *until*, after *strikes* refusals in a row."""
        ...

    async def reset_refusals(self, host: str) -> None:
        """Set the number of refusals of *host* to 0."""
        ...


class SharedLimits:
    """Exchanges the state of hosts with the store, many hosts per transaction."""

    def __init__(
        self,
        clock: Clock,
        pacer: Pacer,
        process: str,
        hosts: dict[str, Host],
        lasts: timedelta = LAST,
    ) -> None:
        self._clock = clock
        self._lasts = lasts  # from each renewal of a slot
        self._pacer = pacer
        self.process = process
        self._hosts = hosts
        self._to_book: set[str] = set()
        self._terms_queue: set[str] = set()
        self._delayed_terms_queue: set[str] = set()  # of hosts that are not due yet
        self._lock = asyncio.Lock()  # serializes requests for slots
        self._renewing = False
        self._booking_took = timedelta(0)  # the store's reply time to the last booking
        self._renewal_s = 0.0  # the store's reply time to the last renewal
        # other processes wait for slots that were in use at the last renewal
        self._slots_owed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def request_terms(self, name: str, host: Host) -> None:
        """Request the terms of a host, including slots and bookings; then wake its waiters."""
        if not (host.booking or self._closed):
            host.booking = True
            due_s = host.free_at - self._clock.monotonic()
            names = (
                self._terms_queue
                if due_s < 2 * _COLLECT.total_seconds()
                else self._delayed_terms_queue
            )
            names.add(name)
            if len(names) == 1:  # hosts added before it runs share the transaction
                self._spawn(self._request_terms(names))

    def book(self, name: str, host: Host) -> None:
        """Book the next requests to a host; then wake its waiters."""
        if not (host.booking or self._closed):
            host.booking = True
            self._to_book.add(name)
            if len(self._to_book) == 1:
                self._spawn(self._book())

    def report_hold(self, name: str, hold_s: float, strikes: int) -> None:
        """Share a refusal with the other processes."""
        now = self._clock.now()
        until = now + timedelta(seconds=hold_s)
        self._spawn(self._report(self._pacer.hold(name, until, strikes, now)))

    def report_recovery(self, name: str) -> None:
        """Share with the other processes that a host responds normally again."""
        self._spawn(self._report(self._pacer.reset_refusals(name)))

    def release_unused(self) -> None:
        """Give back the slots of hosts that no job wants any more, before the next renewal."""
        self._spawn(self._release_unused())

    async def _release_unused(self) -> None:
        async with self._lock:
            await self._renew_slots(
                [name for name, host in self._hosts.items() if host.is_abandoned]
            )

    async def close(self) -> None:
        """Stop background tasks and give the slots back; no slots are requested afterwards."""
        self._closed = True
        while tasks := tuple(self._tasks):  # a task that ends may start another
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        unused = self._unused_windows()
        if unused or any(host.may_hold_slots for host in self._hosts.values()):
            await self._report(self._pacer.release_slots(self.process, unused=unused))

    def _unused_windows(self) -> list[Booking]:
        """Return the unused rest of our windows."""
        now, mono = self._clock.now(), self._clock.monotonic()
        unused = []
        for name, host in self._hosts.items():
            last, free_at = host.offer_window(now, mono)
            if last is not None and last > now:
                host.windows.clear()
                unused.append(Booking(host=name, every_s=host.delay_s, last=last, free_at=free_at))
        return unused

    async def _request_terms(self, waiting: set[str]) -> None:
        if waiting is self._terms_queue:
            await asyncio.sleep(0)
        else:
            await self._clock.sleep(_COLLECT)
        async with self._lock:
            names = sorted(waiting)
            waiting.clear()
            hosts = [self._hosts.setdefault(name, Host()) for name in names]
            renewed = await self._renew_slots(names, first=True)
        if not renewed:
            await self._clock.sleep(_RETRY_DELAY)
        for host in hosts:
            host.booking = False
            host.wake()
        if renewed and not self._renewing:
            self._renewing = True
            self._spawn(self._keep_renewing())

    async def _keep_renewing(self) -> None:
        """Renew slots until there are none."""
        soon = False
        while True:
            await self._clock.sleep(_SOON if soon else RENEW_EVERY)
            async with self._lock:
                names = [name for name, host in self._hosts.items() if host.may_hold_slots]
                if not names:
                    self._renewing = False
                    return
                self._slots_owed = False
                await self._renew_slots(names)
                soon = self._slots_owed and not soon

    async def _renew_slots(self, names: Sequence[str], *, first: bool = False) -> bool:
        """Renew the slots of some hosts; return whether that succeeded."""
        try:
            for at in range(0, len(names), _BATCH):
                await self._renew_batch(names[at : at + _BATCH], first=first)
        except Exception as error:  # noqa: BLE001 - terms are requested again after any error
            if not isinstance(error, Unavailable):
                _log.exception("the slots of hosts could not be renewed")
            return False
        return True

    async def _renew_batch(self, names: Sequence[str], *, first: bool) -> None:
        now, mono = self._clock.now(), self._clock.monotonic()
        hosts = [self._hosts.setdefault(name, Host()) for name in names]
        requests = [
            _slot_request(name, host, mono, now, self._renewal_s, first=first)
            for name, host in zip(names, hosts, strict=True)
        ]
        news = [host.news for host in hosts]
        ends = [
            _limit_window(host, request.last, request.free_at, now, mono)
            for request, host in zip(requests, hosts, strict=True)
        ]
        booking = [
            host for request, host in zip(requests, hosts, strict=True) if _changes_booking(request)
        ]
        for request, host in zip(requests, hosts, strict=True):
            host.may_hold_slots = True
            host.slots = min(host.slots, request.keeps)  # until the reply arrives
            host.peak, host.short_of_slots = host.in_flight, False
            if not request.wanted:
                host.good_until = None  # the next request must get new terms first
            if not request.book and request.last is not None:
                host.windows.clear()  # the rest is given back
        for host in booking:
            host.booking = True
        try:
            terms = await self._pacer.renew_slots(self.process, requests, now, now + self._lasts)
            self._renewal_s = min(self._clock.monotonic() - mono, _MAX_RENEWAL_S)
        finally:
            for host in booking:
                host.booking = first  # then `_meet` resets it
        for n, (host, request, host_terms) in enumerate(zip(hosts, requests, terms, strict=True)):
            self._apply_terms(host, request, host_terms, ends[n], current=host.news == news[n])
            self._slots_owed |= host_terms.slots < request.keeps
            if request.wanted or first:
                host.good_until = now + self._lasts - MARGIN
            if not request.wanted and not host.in_flight:
                host.may_hold_slots = False
                host.wake()  # waiters must request terms again, as they are no longer renewed
        for host in booking:
            host.wake()

    def _apply_terms(
        self, host: Host, request: SlotRequest, terms: HostTerms, end: float, *, current: bool
    ) -> None:
        """Apply the store's reply; *current* if there was no local news since the request.

        The last window ended at *end*.
        """
        is_changed = host.apply_terms(terms)
        host.alone = terms.alone
        if current:
            host.strikes = terms.strikes
        mono, wall = self._clock.monotonic(), self._clock.now()
        if terms.held_until is not None and terms.held_until > wall:
            until = mono + (terms.held_until - wall).total_seconds()
            if until > host.held_until + _SAME_S:
                host.hold(until)
        if request.book:
            host.end_window_at(end)
        elif request.last is not None:
            host.booked_from = host.booked_until = None
        if terms.booked is not None and terms.first_at is not None:
            host.book(terms.booked, terms.first_at, wall, mono)
        if is_changed:
            host.wake()

    async def _book(self) -> None:
        await asyncio.sleep(0)
        names, self._to_book = sorted(self._to_book), set()
        hosts = [self._hosts.setdefault(name, Host()) for name in names]
        # a window that had passed before the reply arrives would be of no use
        sent_at, mono = self._clock.now() + self._booking_took, self._clock.monotonic()
        bookings = [
            _next_booking(name, host, sent_at, mono + self._booking_took.total_seconds())
            for name, host in zip(names, hosts, strict=True)
        ]
        ends = [
            _limit_window(host, booking.last, booking.free_at, self._clock.now(), mono)
            for booking, host in zip(bookings, hosts, strict=True)
        ]
        try:
            firsts = await self._pacer.book(bookings, sent_at)
        except Exception as error:  # noqa: BLE001 - hosts are booked again after any error
            if not isinstance(error, Unavailable):
                _log.exception("hosts could not be booked")
            await self._clock.sleep(_RETRY_DELAY)
            firsts = []
        now, sent_mono, mono = self._clock.now(), mono, self._clock.monotonic()
        if firsts:
            self._booking_took = min(timedelta(seconds=mono - sent_mono), _MAX_BOOKING_REPLY)
        for host, booking, end, first in zip(hosts, bookings, ends, firsts, strict=False):
            host.end_window_at(end)
            host.book(booking, first, now, mono)
        for host in hosts:
            host.booking = False
            host.wake()

    async def _report(self, report: Coroutine[object, object, None]) -> None:
        try:
            await report
        except Unavailable:
            return  # our own state is updated; other processes will learn it from the host

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _slot_request(
    name: str, host: Host, mono: float, now: datetime, reply_s: float, *, first: bool
) -> SlotRequest:
    """Return the request for slots of a host; *first* if its terms are not known yet.

    The reply is expected in *reply_s*. Until then the last window is used, and the next one, which
    begins then, lasts until the reply to the next renewal.
    """
    is_held = host.held_until > mono + host.delay_s
    has_slots = host.good_until is not None and now < host.good_until
    demand = host.demand(mono)
    if first:
        demand = 0 if is_held else host.jobs_at_once
        book = host.window_opens(max(mono, host.free_at)) == math.inf
    else:
        soon = mono + _BOOK_AGAIN_S + reply_s
        # if other processes wait for the host, it is booked once its last window is used up
        book = host.alone and host.free_at < soon and not any(e > soon for _, e in host.windows)
        book = book and not host.booking
    book = book and demand > 0 and host.delay_s > 0
    idle = not (host.limits_by_job or host.preparing or host.booking)
    last, free_at = host.offer_window(now, mono) if book or idle else (None, None)
    if book and last is not None and free_at is not None:
        free_at = max(free_at, min(last, now + timedelta(seconds=reply_s)))
    return SlotRequest(
        host=name,
        wanted=demand,
        at_once=host.jobs_at_once,
        # kept in use during the renewal; the store may give the other half to other processes
        keeps=max(host.in_flight, (host.slots + 1) // 2 if has_slots and demand else 0),
        every_s=host.jobs_delay_s,
        book=book,
        ahead=host.preparing,
        spare_s=2 * reply_s if first else reply_s,
        last=last,
        free_at=free_at,
    )


def _changes_booking(request: SlotRequest) -> bool:
    return request.book or request.last is not None


def _next_booking(name: str, host: Host, now: datetime, mono: float) -> Booking:
    last, free_at = host.offer_window(now, mono)
    for_s = window_s(host.delay_s, host.preparing, alone=host.alone)
    return Booking(host=name, every_s=host.delay_s, for_s=for_s, last=last, free_at=free_at)


def _limit_window(
    host: Host, last: datetime | None, free_at: datetime | None, now: datetime, mono: float
) -> float:
    """Limit the last window to what any reply to an offer allows; return its previous end.

    The reply may give it to another process, or make it begin at *free_at*.
    """
    if last is None or free_at is None or not host.windows:
        return -math.inf
    safe_s = max((free_at - now).total_seconds(), 0.0) + SPARE_S - GUARD_S
    return host.end_window_at(min(host.windows[-1][1], mono + safe_s))
