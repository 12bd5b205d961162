"""Rate limiter: delay and concurrency limit of each host, shared by all crawls of a process.

A slot is taken before the request exists, so that the concurrency limit is never exceeded.
The delay counts from when a request is sent: its connection is made first, then it waits for
its send time. With a `Pacer`, all processes on one store keep one pace: they book times in
the store, share the host's slots there (one slot per concurrent request), and learn
of operators' rules and of refusals that other processes got.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeAlias

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.hosts.hosts import HostReport, HostState
from crawlyard.core.hosts.slots import LAST
from crawlyard.engine.hosts.host import Host
from crawlyard.engine.hosts.shared_limits import Pacer, SharedLimits
from crawlyard.engine.http.fetch import FetchFailed, NotSent
from crawlyard.ids import new_id

NEVER = math.inf

BLOCKED = "host blocked"
"""Rule that excludes a URL because an operator has blocked its host."""

MOST_REPORTED = 200
"""Hosts in one report; those with requests in flight and those held come first."""

LONGEST_HOLD_S = 3600.0
"""Longest time that a Retry-After can hold a host; after that, requests resume."""

_BACKOFF_CAP_S = 300.0
_IDLE_S = 15.0  # a host not wanted for this long is idle; longer than any sleep between checks
_EARLY_S = 1.0  # wake up before a booked send time: enough for the store, and slots last until then
_POLL_S = 0.05  # poll interval while requests aren't allowed
_PATIENCE_S = 2.0  # longest wait of a prepared request before it is sent
_RECHECK_S = 10.0  # in longer waits, check this often whether the host was blocked


Allowed: TypeAlias = Callable[[], bool]
"""Returns whether any request may be sent now."""

WaitToSend: TypeAlias = Callable[[Allowed], Awaitable[None]]
"""A method of a slot, which returns when its request may be sent."""


def _job_of(key: str) -> str:
    """Return the id of a job: each shard of a spread job has a key of its own, ID/2."""
    return key.partition("/")[0]


def always() -> bool:
    """Allow every request."""
    return True


class Slot:
    """Permission for one request to a host: taken, used with `wait_to_send`, then released."""

    def __init__(self, rate_limiter: "RateLimiter", host: str, taken_at: float) -> None:
        self.sent = False  # the request may be on its way, so a stop waits for the response
        self._departed = False  # it was released for sending at least once
        self._rate_limiter = rate_limiter
        self._host = host
        self._taken_at = taken_at
        self._released = False

    async def wait_to_send(self, allowed: Allowed = always) -> None:
        """Wait, without a time limit, until the request may be sent; the caller sends it at once.

        Raises:
            FetchFailed: an operator has blocked the host.
        """
        try:
            await self._wait_to_send(NEVER, allowed)
        except NotSent as error:
            detail = f"an operator has blocked {self._host}"
            raise FetchFailed(ErrorKind.BLOCKED_ADDRESS, detail) from error

    async def wait_briefly_to_send(self, allowed: Allowed = always) -> None:
        """Wait until the request may be sent; the caller sends it at once.

        Raises:
            NotSent: the host is blocked or paused, or the wait would be too long.
        """
        await self._wait_to_send(_PATIENCE_S, allowed)

    async def _wait_to_send(self, patience_s: float, allowed: Allowed) -> None:
        taken_at = None if self._departed else self._taken_at
        self.sent = False  # again after a connection was lost before sending
        await self._rate_limiter.wait_to_send(self._host, taken_at, patience_s, allowed)
        self.sent = self._departed = True

    def release(self) -> None:
        """Release the slot because the request has ended or won't be sent; idempotent."""
        if not self._released:
            self._released = True
            self._rate_limiter.release(self._host, sent=self._departed)

    def release_unused(self) -> None:
        """Release the slot before anything was prepared, so that another request can use it."""
        self._rate_limiter.undo_take(self._host, self._taken_at)
        self.release()


class BrowserSlot:
    """Permission for one request that a rendered page makes; used like a `Slot`."""

    def __init__(self, rate_limiter: "RateLimiter", host: str) -> None:
        self._rate_limiter, self._host = rate_limiter, host

    async def wait_to_send(self, allowed: Allowed = always) -> None:
        """Wait until the request may be sent; the caller sends it at once.

        Raises:
            FetchFailed: an operator has blocked the host.
        """
        await self._rate_limiter.wait_to_send_for_browser(self._host, allowed)

    def release(self) -> None:
        """Release the slot, once."""
        self._rate_limiter.release(self._host, sent=True)


class RateLimiter:
    """Decides when each host is ready for its next request, across all jobs.

    If jobs ask for different limits, the longest delay and the lowest concurrency apply to all
    jobs until they leave. *name* identifies the process among those that share the
    *pacer*; its slots last no longer than *lease* if they are not renewed.
    """

    def __init__(
        self,
        clock: Clock,
        pacer: Pacer | None = None,
        name: str | None = None,
        lease: timedelta = LAST,
    ) -> None:
        self._clock = clock
        self._hosts: dict[str, Host] = {}
        self._queues: dict[str, Callable[[str], int]] = {}
        lasts = min(lease, LAST)
        self._shared = (
            SharedLimits(clock, pacer, name or new_id(), self._hosts, lasts)
            if pacer is not None
            else None
        )

    def set_limits(
        self, job: str, host: str, delay_s: float, at_once: int, *, by_robots: bool = False
    ) -> None:
        """Set the delay and concurrency that *job* wants for *host*, until it leaves.

        The delay is *by_robots* if the host's robots.txt asks for more than the job does.
        """
        state = self._hosts.setdefault(host, Host())
        if job not in state.limits_by_job and state.state is not HostState.OPEN:
            state.good_until = None  # refresh, as it may be open again: skipping is final
        state.set_limits(job, delay_s, at_once, by_robots=by_robots)

    def register_queue(self, job: str, waiting: Callable[[str], int]) -> None:
        """Register a function that returns the number of waiting targets of *job* for a host."""
        self._queues[job] = waiting

    def remove_job(self, job: str) -> None:
        """Remove the limits of *job*, and the hosts that are no longer used."""
        now = self._clock.monotonic()
        self._queues.pop(job, None)
        for name, host in list(self._hosts.items()):
            if host.remove_job(job):
                host.wake()  # some of the waiters may belong to the job
            if host.is_idle and host.free_at <= now:
                del self._hosts[name]

    def release_unused_slots(self) -> None:
        """Give back the slots of hosts that no job wants any more, before the next renewal.

        Called when another process is about to take over the hosts of a job that has left.
        """
        if self._shared is not None:
            self._shared.release_unused()

    def ready_in(self, host: str) -> float:
        """Return the seconds until *host* is ready; `NEVER` if that depends on some event.

        In that case, use `when_ready` to learn when to call this again. A host that
        `is_blocked` counts as ready, so that its targets are skipped without a wait.
        """
        state, now = self._hosts[host], self._clock.monotonic()
        state.wanted_at = now
        wait = max(0.0, state.free_at - now)
        if self._shared is None:
            return NEVER if state.in_flight >= state.at_once else state.prepare_in(wait, now)
        if state.good_until is None or self._clock.now() >= state.good_until:
            self._shared.request_terms(host, state)
            return NEVER
        if state.rule is not None and state.rule.state is not HostState.OPEN:
            return 0.0 if state.rule.state is HostState.BLOCKED else NEVER
        return self._slot_ready_in(self._shared, host, state, wait)

    def _slot_ready_in(self, shared: SharedLimits, name: str, host: Host, wait: float) -> float:
        delay = host.delay_s
        if wait > delay:  # held: book only near the end of the hold
            return min(wait - delay, _RECHECK_S)
        if not host.may_hold_slots:  # it was held when its terms were requested, so no slots came
            shared.request_terms(name, host)
            return NEVER
        if host.in_flight >= min(host.slots, host.at_once):
            host.short_of_slots = True
            return NEVER
        return self._window_ready_in(shared, name, host, wait) if delay else wait

    def _window_ready_in(self, shared: SharedLimits, name: str, host: Host, wait: float) -> float:
        now = self._clock.monotonic()
        wait += host.preparing * host.delay_s
        if wait <= 2 * _EARLY_S:  # else book later
            opens = host.window_opens(now + wait)
            if opens == NEVER:
                shared.book(name, host)
                return NEVER
            wait = opens - now
        if wait > 2 * _EARLY_S:  # renew the terms in time
            return min(wait - _EARLY_S, _RECHECK_S)
        return host.prepare_in(wait, now)

    def pace_of(self, host: str) -> tuple[float, float]:
        """Return the seconds until *host* is free, and the delay between two requests."""
        state = self._hosts[host]
        return max(0.0, state.free_at - self._clock.monotonic()), state.delay_s

    def queue_key(self, host: str) -> float:
        """Return the sort key of a ready host: the least for the one that waits longest.

        It is 0 for each host without a delay.
        """
        state = self._hosts[host]
        return state.next_at if state.delay_s else 0.0

    def is_booking(self, host: str) -> bool:
        """Return whether the terms or a window of *host* are being requested from the store."""
        return self._hosts[host].booking

    def is_full(self, host: str) -> bool:
        """Return whether *host* is at its rate or concurrency limit."""
        state = self._hosts[host]
        next_at = max(state.free_at, state.next_at)
        return state.in_flight >= state.at_once or next_at > self._clock.monotonic()

    def held_s(self, host: str) -> float:
        """Return the seconds for which *host* is still held after a refusal."""
        return max(0.0, self._hosts[host].held_until - self._clock.monotonic())

    def is_blocked(self, host: str) -> bool:
        """Return whether an operator has blocked *host*, as far as is known."""
        return self._hosts[host].state is HostState.BLOCKED

    def notify_ready(self, host: str, wake: Callable[[], None]) -> None:
        """Call *wake* once, when a request to *host* has ended or a booking has arrived."""
        self._hosts[host].waiters.append(wake)

    def take(self, host: str) -> Slot:
        """Take a slot; `ready_in` must have just returned 0."""
        state, now = self._hosts[host], self._clock.monotonic()
        state.in_flight += 1
        state.preparing += 1
        state.peak = max(state.peak, state.in_flight)
        state.next_at = now + state.delay_s
        return Slot(self, host, now)

    async def wait_to_send(
        self, host: str, taken_at: float | None, patience_s: float, allowed: Allowed
    ) -> None:
        """Wait until a request may be sent and is *allowed*, and record it as sent.

        Its slot was taken at *taken_at*; ``None`` if it was released before, but not sent.

        Raises:
            NotSent: the host is blocked or paused, or the wait would exceed *patience_s*.
        """
        state, began = self._hosts[host], self._clock.monotonic()
        if taken_at is not None and state.delay_s:
            state.record_preparation(began - taken_at)
        while (wait := self._may_send_in(host, state) if allowed() else _POLL_S) > 0:
            waited = self._clock.monotonic() - began
            is_paused = state.state is HostState.PAUSED and patience_s is not NEVER
            late = waited if wait is NEVER else waited + wait
            if state.state is HostState.BLOCKED or is_paused or late > patience_s:
                raise NotSent(f"no request to {host} is allowed yet")
            await self._wait(host, wait)
        if taken_at is not None:
            state.preparing -= 1
        self._start_delay(state)
        # the request is sent in this step of its task: count from its end, in case it was slow
        asyncio.get_running_loop().call_soon(self._start_delay, state)

    def _start_delay(self, state: Host) -> None:
        state.free_at = max(state.free_at, self._clock.monotonic() + state.delay_s)

    def _may_send_in(self, name: str, host: Host) -> float:
        """Return the seconds until a prepared request may be sent; see `ready_in`."""
        now = self._clock.monotonic()
        wait, delay = max(0.0, host.free_at - now), host.delay_s
        if self._shared is None:
            return wait
        if host.good_until is None or self._clock.now() >= host.good_until:
            self._shared.request_terms(name, host)
            return NEVER
        if host.state is not HostState.OPEN:
            return NEVER
        if not delay or wait > delay:
            return wait
        opens = host.window_opens(now + wait)
        if opens == NEVER:
            self._shared.book(name, host)
            return NEVER
        return opens - now

    def release(self, host: str, *, sent: bool) -> None:
        """Stop counting a request that has ended or was not *sent*; see `Slot.release`."""
        state = self._hosts[host]
        state.in_flight -= 1
        state.preparing -= not sent
        state.wake()

    def undo_take(self, host: str, taken_at: float) -> None:
        """Let another request replace one that was not prepared; see `Slot.release_unused`."""
        state = self._hosts[host]
        if state.next_at == taken_at + state.delay_s:  # no other slot was taken since
            state.next_at = taken_at

    async def _wait(self, host: str, wait: float) -> None:
        if wait is NEVER:
            event = asyncio.Event()
            self.notify_ready(host, event.set)
            await event.wait()
        else:
            # at least the resolution, since a wait rounded to 0 would loop forever
            await self._clock.sleep(max(timedelta(seconds=wait), timedelta.resolution))

    async def acquire(self, host: str) -> Slot:
        """Wait for a slot and take it.

        Raises:
            FetchFailed: an operator has blocked the host.
        """
        while (wait := self.ready_in(host)) > 0:
            await self._wait(host, wait)
        self._check_open(host)
        return self.take(host)

    async def acquire_for_browser(self, host: str) -> BrowserSlot:
        """Wait for a slot for a request of a rendered page, and take it.

        There is no delay between such requests; the next page is delayed from the last of them.

        Raises:
            FetchFailed: an operator has blocked the host.
        """
        state = self._hosts[host]
        while (wait := self._browser_slot_in(host, state)) > 0:
            await self._wait(host, wait)
        self._check_open(host)
        state.in_flight += 1
        state.peak = max(state.peak, state.in_flight)
        return BrowserSlot(self, host)

    def _browser_slot_in(self, name: str, host: Host) -> float:
        now = self._clock.monotonic()
        host.wanted_at = now
        if host.state is not HostState.OPEN:
            return 0.0 if host.state is HostState.BLOCKED else NEVER
        if (held_s := host.held_until - now) > 0:
            return min(held_s, _RECHECK_S)
        if self._shared is not None:
            if (
                host.good_until is None
                or self._clock.now() >= host.good_until
                or not host.may_hold_slots
            ):
                self._shared.request_terms(name, host)
                return NEVER
            if host.in_flight >= host.slots:
                host.short_of_slots = True
                return NEVER
        return NEVER if host.in_flight >= host.at_once else 0.0

    async def wait_to_send_for_browser(self, host: str, allowed: Allowed) -> None:
        """Wait until a request with a `BrowserSlot` may be sent, and record it as sent.

        Raises:
            FetchFailed: an operator has blocked the host.
        """
        state = self._hosts[host]
        while not allowed() or state.state is HostState.PAUSED:
            await self._wait(host, _POLL_S)
        self._check_open(host)
        self._start_delay(state)

    def _check_open(self, host: str) -> None:
        if self.is_blocked(host):
            raise FetchFailed(ErrorKind.BLOCKED_ADDRESS, f"an operator has blocked {host}")

    def record_success(self, host: str) -> None:
        """Record that *host* responds normally, which ends its series of refusals."""
        state = self._hosts[host]
        if state.strikes and self._clock.monotonic() >= state.held_until:
            state.strikes = 0
            state.news += 1
            if self._shared is not None:
                self._shared.report_recovery(host)

    def record_refusal(self, host: str, retry_after_s: float | None) -> float:
        """Hold *host* after a 429 or 503; return the seconds left.

        The hold lasts as long as the host asked for (an hour at most); without a Retry-After,
        twice as long as the last one.
        """
        state, now = self._hosts[host], self._clock.monotonic()
        retry_s = min(retry_after_s or 0.0, LONGEST_HOLD_S)
        if now < state.held_until:  # same burst as the refusal that started the hold
            if now + retry_s > state.held_until:
                self._hold(host, state, retry_s)
            return state.held_until - now
        backoff = min(max(state.delay_s, 1.0) * 2**state.strikes, _BACKOFF_CAP_S)
        state.strikes = min(state.strikes + 1, 16)
        hold_s = backoff if retry_after_s is None else retry_s
        self._hold(host, state, hold_s)
        return hold_s

    def _hold(self, name: str, host: Host, hold_s: float) -> None:
        host.news += 1
        host.hold(self._clock.monotonic() + hold_s)
        if self._shared is not None:
            self._shared.report_hold(name, hold_s, host.strikes)

    def set_process_name(self, name: str) -> None:
        """Take slots under another *name*; this process must have none yet."""
        if self._shared is not None:
            self._shared.process = name

    def expire_slots(self) -> None:
        """Request new terms of each host before its next request.

        Other processes may have taken its slots.
        """
        for host in self._hosts.values():
            host.good_until = None

    def reports(self) -> list[HostReport]:
        """Return the state of each host, the busiest first, at most `MOST_REPORTED`."""
        now, wall = self._clock.monotonic(), self._clock.now()
        active = [(name, host) for name, host in self._hosts.items() if host.limits_by_job]
        active.sort(key=lambda pair: (-pair[1].in_flight, -pair[1].held_until, pair[0]))
        return [
            HostReport(
                host=name,
                in_flight=host.in_flight,
                at_once=host.at_once,
                delay_s=host.delay_s,
                delay_from=host.delay_from,
                held_until=wall + timedelta(seconds=host.held_until - now)
                if host.held_until > now
                else None,
                refusals=host.strikes,
                state=host.state,
                idle=host.held_until <= now and not host.is_wanted(now, _IDLE_S),
                waiting=sum((queues := self._waiting_by_job(name)).values()),
                queues=queues,
                jobs=tuple(dict.fromkeys(map(_job_of, host.limits_by_job))),
            )
            for name, host in active[:MOST_REPORTED]
        ]

    def _waiting_by_job(self, host: str) -> Mapping[str, int]:
        """Return the number of targets that wait for *host*, by job id."""
        queues: Counter[str] = Counter()
        for key, waiting in self._queues.items():
            queues[_job_of(key)] += waiting(host)
        return +queues

    async def close(self) -> None:
        """Stop background tasks and give slots back."""
        if self._shared is not None:
            await self._shared.close()
