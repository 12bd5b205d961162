"""How often each host may be asked: one gate for all the crawls of a process.

A slot is taken before the request exists, so that the number of requests under way is never
exceeded. The delay counts from when a request is sent: its connection is made first, and then
it waits for its instant. With a `Pacer`, several processes on one
store keep one pace: they book their instants there, share its seats, and learn there
what operators, and the refusals that others got, say of it.
"""

import asyncio
import math
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.hosts.rule import HostState
from crawlyard.core.hosts.status import HostReport
from crawlyard.engine.hosts.ledger import Host, HostLedger, Pacer
from crawlyard.engine.http.errors import FetchFailed, NotSent
from crawlyard.ids import new_id

NEVER = math.inf

BLOCKED = "host blocked"
"""As the rule that keeps a URL out: an operator has blocked its host."""

MOST_REPORTED = 200
"""Hosts of one report: those with requests under way or held first."""

LONGEST_HOLD_S = 3600.0
"""The most that a Retry-After is taken for; the host is asked again then."""

_BACKOFF_CAP_S = 300.0
_IDLE_S = 15.0  # nobody has wanted to ask it: longer than anybody sleeps before he looks again
_EARLY_S = 1.0  # before a booked instant: long enough for the store, and seats last until then
_LOOK_AGAIN_S = 0.05  # whether a request is allowed
_PATIENCE_S = 2.0  # for which a request that is prepared waits to be sent
_LOOK_S = 10.0  # whoever waits for longer looks whether the host was blocked meanwhile


Allowed: TypeAlias = Callable[[], bool]
"""Tells whether a request may be sent at all, now."""


def always() -> bool:
    """Allow every request."""
    return True


class Slot:
    """The right to one request to a host: it is prepared, then sent, and at last given back."""

    def __init__(self, gate: "HostGate", host: str, taken_at: float) -> None:
        self.sent = False  # it may be on its way, so a stop waits for its answer
        self._departed = False  # it was to be sent, at least once
        self._gate = gate
        self._host = host
        self._taken_at = taken_at
        self._given = False

    async def go(self, allowed: Allowed = always) -> None:
        """Return when the request may be sent, which is at once; wait for as long as it takes.

        Raises:
            FetchFailed: an operator has blocked the host.
        """
        try:
            await self._go(NEVER, allowed)
        except NotSent as error:
            detail = f"an operator has blocked {self._host}"
            raise FetchFailed(ErrorKind.BLOCKED_ADDRESS, detail) from error

    async def go_soon(self, allowed: Allowed = always) -> None:
        """Return when the request may be sent, which is at once.

        Raises:
            NotSent: it would have to wait for long.
        """
        await self._go(_PATIENCE_S, allowed)

    async def _go(self, patience_s: float, allowed: Allowed) -> None:
        taken_at = None if self._departed else self._taken_at
        self.sent = False  # a connection was lost before it was sent: it waits once more
        await self._gate.depart(self._host, taken_at, patience_s, allowed)
        self.sent = self._departed = True

    def give(self) -> None:
        """Give it back: the request has ended, or is not sent. More than once, it does nothing."""
        if not self._given:
            self._given = True
            self._gate.give(self._host, sent=self._departed)

    def give_unused(self) -> None:
        """Give it back before anything was prepared: another request may take its place."""
        self._gate.undo(self._host, self._taken_at)
        self.give()


class HostGate:
    """Says when a host may be asked again, for all jobs together.

    Where jobs differ in their wishes, the longest delay and the fewest requests at
    once hold for all of them while they are there. *name* is that of the process among
    those that share the *pacer*.
    """

    def __init__(self, clock: Clock, pacer: Pacer | None = None, name: str | None = None) -> None:
        self._clock = clock
        self._hosts: dict[str, Host] = {}
        self._queues: dict[str, Callable[[str], int]] = {}
        self._seating = (
            HostLedger(clock, pacer, name or new_id(), self._hosts) if pacer is not None else None
        )

    def wish(self, job: str, host: str, delay_s: float, at_once: int) -> None:
        """Say how *job* wants *host* to be treated, until it leaves."""
        known = self._hosts.setdefault(host, Host())
        if job not in known.wishes and known.state is not HostState.OPEN:
            known.good_until = None  # it may have been opened since: what is skipped stays so
        known.wish(job, delay_s, at_once)

    def queue(self, job: str, waiting: Callable[[str], int]) -> None:
        """Say what tells how many targets of *job* wait for a host, until it leaves."""
        self._queues[job] = waiting

    def leave(self, job: str) -> None:
        """Forget the wishes of *job*, and hosts that nobody asks for any more."""
        now = self._clock.monotonic()
        self._queues.pop(job, None)
        for name, host in list(self._hosts.items()):
            if host.forget(job):
                host.wake()  # of those that wait some may be of the job
            if host.is_idle and host.free_at <= now:
                del self._hosts[name]

    def ready_in(self, host: str) -> float:
        """Return in how many seconds *host* may be asked; `NEVER` until something happens.

        In that case `when_ready` tells when to ask again. A host that `is_blocked` is
        ready: what waits for it need not wait to be told.
        """
        state, now = self._hosts[host], self._clock.monotonic()
        state.asked_at = now
        wait = max(0.0, state.free_at - now)
        if self._seating is None:
            return NEVER if state.in_flight >= state.at_once else state.prepared_in(wait, now)
        if state.good_until is None or self._clock.now() >= state.good_until:
            self._seating.meet(host, state)
            return NEVER
        if state.rule is not None and state.rule.state is not HostState.OPEN:
            return 0.0 if state.rule.state is HostState.BLOCKED else NEVER
        return self._seated_in(self._seating, host, state, wait)

    def _seated_in(self, seating: HostLedger, name: str, host: Host, wait: float) -> float:
        delay = host.delay_s
        if wait > delay:  # held: book when the end is near, not before
            return min(wait - delay, _LOOK_S)
        if not host.sat:  # it was held when its terms were asked for
            seating.meet(name, host)
            return NEVER
        if host.in_flight >= min(host.seats, host.at_once):
            host.short = True
            return NEVER
        return self._booked_in(seating, name, host, wait) if delay else wait

    def _booked_in(self, seating: HostLedger, name: str, host: Host, wait: float) -> float:
        now = self._clock.monotonic()
        host.drop_missed(now)
        if len(host.booked) <= host.preparing:
            seating.book(name, host)  # ahead, while others are prepared for the first of them
            if not host.preparing:
                return NEVER
        if host.booked:
            wait = max(wait, host.booked[min(host.preparing, len(host.booked) - 1)] - now)
            # with its terms looked up before: an instant that is missed costs a whole delay
            if wait > 2 * _EARLY_S:
                return min(wait - _EARLY_S, _LOOK_S)
        return host.prepared_in(wait, now)

    def pace_of(self, host: str) -> tuple[float, float]:
        """Return in how many seconds *host* is free, and the delay between two requests."""
        state = self._hosts[host]
        return max(0.0, state.free_at - self._clock.monotonic()), state.delay_s

    def is_full(self, host: str) -> bool:
        """Tell whether *host* is asked as often as it may be at this moment."""
        state = self._hosts[host]
        next_at = max(state.free_at, state.next_at)
        return state.in_flight >= state.at_once or next_at > self._clock.monotonic()

    def held_s(self, host: str) -> float:
        """Return for how many seconds *host* is still held after a refusal."""
        return max(0.0, self._hosts[host].held_until - self._clock.monotonic())

    def is_blocked(self, host: str) -> bool:
        """Tell whether an operator has blocked *host*, as far as is known."""
        return self._hosts[host].state is HostState.BLOCKED

    def when_ready(self, host: str, wake: Callable[[], None]) -> None:
        """Call *wake* once, when a request to *host* has ended or a booking has come."""
        self._hosts[host].waiters.append(wake)

    def take(self, host: str) -> Slot:
        """Take a slot; the caller has just seen `ready_in` return 0."""
        state, now = self._hosts[host], self._clock.monotonic()
        state.in_flight += 1
        state.preparing += 1
        state.peak = max(state.peak, state.in_flight)
        state.next_at = now + state.delay_s
        return Slot(self, host, now)

    async def depart(
        self, host: str, taken_at: float | None, patience_s: float, allowed: Allowed
    ) -> None:
        """Wait until a request may be sent, and is *allowed*; take note that it is sent.

        Its slot was taken at *taken_at*; ``None``: it was to be sent before, but was not.

        Raises:
            NotSent: the host is blocked, or that would take longer than *patience_s*.
        """
        state, began = self._hosts[host], self._clock.monotonic()
        if taken_at is not None and state.delay_s:
            state.prepared(began - taken_at)
        while (wait := self._sent_in(host, state) if allowed() else _LOOK_AGAIN_S) > 0:
            waited = self._clock.monotonic() - began
            held = state.state is HostState.PAUSED and patience_s is not NEVER
            late = waited if wait is NEVER else waited + wait
            if state.state is HostState.BLOCKED or held or late > patience_s:
                raise NotSent(f"{host} may not be asked yet")
            await self._until(host, wait)
        if taken_at is not None:
            state.preparing -= 1
        if state.booked:
            state.booked.popleft()
        state.free_at = max(state.free_at, self._clock.monotonic() + state.delay_s)

    def _sent_in(self, name: str, host: Host) -> float:
        """Return in how many seconds a request that is prepared may be sent; see `ready_in`."""
        now = self._clock.monotonic()
        wait, delay = max(0.0, host.free_at - now), host.delay_s
        if self._seating is None:
            return wait
        if host.good_until is None or self._clock.now() >= host.good_until:
            self._seating.meet(name, host)
            return NEVER
        if host.state is not HostState.OPEN:
            return NEVER
        if not delay or wait > delay:
            return wait
        host.drop_missed(now)
        if host.missed or not host.booked:
            self._seating.book(name, host)
            return NEVER
        return max(wait, host.booked[0] - now)

    def give(self, host: str, *, sent: bool) -> None:
        """Count a request no more that has ended, or that is not *sent*; see `Slot.give`."""
        state = self._hosts[host]
        state.in_flight -= 1
        state.preparing -= not sent
        state.wake()

    def undo(self, host: str, taken_at: float) -> None:
        """Let another request be prepared in place of one that was not; see `give_unused`."""
        state = self._hosts[host]
        if state.next_at == taken_at + state.delay_s:  # nobody has taken another slot since
            state.next_at = taken_at

    async def _until(self, host: str, wait: float) -> None:
        if wait is NEVER:
            event = asyncio.Event()
            self.when_ready(host, event.set)
            await event.wait()
        else:
            # no less than a duration can be: one that is rounded to 0 would be slept for ever
            await self._clock.sleep(max(timedelta(seconds=wait), timedelta.resolution))

    async def acquire(self, host: str) -> Slot:
        """Wait for a slot and take it.

        Raises:
            FetchFailed: an operator has blocked the host.
        """
        while (wait := self.ready_in(host)) > 0:
            await self._until(host, wait)
        if self.is_blocked(host):
            raise FetchFailed(ErrorKind.BLOCKED_ADDRESS, f"an operator has blocked {host}")
        return self.take(host)

    def answered(self, host: str) -> None:
        """Take note that *host* serves: its refusals are over."""
        state = self._hosts[host]
        if state.strikes and self._clock.monotonic() >= state.held_until:
            state.strikes = 0
            state.news += 1
            if self._seating is not None:
                self._seating.tell_answer(host)

    def refused(self, host: str, retry_after_s: float | None) -> float:
        """Hold *host* after a 429 or 503; return for how many seconds.

        For as long as it asked for (an hour at most), or twice as long as the last time.
        """
        state, now = self._hosts[host], self._clock.monotonic()
        asked_s = min(retry_after_s or 0.0, LONGEST_HOLD_S)
        if now < state.held_until:  # of the same burst as the refusal that began the hold
            if now + asked_s > state.held_until:
                self._hold(host, state, asked_s)
            return state.held_until - now
        backoff = min(max(state.delay_s, 1.0) * 2**state.strikes, _BACKOFF_CAP_S)
        state.strikes = min(state.strikes + 1, 16)
        hold_s = backoff if retry_after_s is None else asked_s
        self._hold(host, state, hold_s)
        return hold_s

    def _hold(self, name: str, host: Host, hold_s: float) -> None:
        host.news += 1
        host.hold(self._clock.monotonic() + hold_s)
        if self._seating is not None:
            self._seating.tell_hold(name, hold_s, host.strikes)

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
                state=host.state,
                idle=host.held_until <= now and not host.is_wanted(now, _IDLE_S),
                waiting=sum(waiting(name) for waiting in self._queues.values()),
                # a job that is spread wishes for each of its shards by itself: ID/2
                jobs=tuple(dict.fromkeys(key.partition("/")[0] for key in host.wishes)),
            )
            for name, host in wished[:MOST_REPORTED]
        ]

    async def close(self) -> None:
        """Stop what runs in the background, and give seats back."""
        if self._seating is not None:
            await self._seating.close()
