"""Postgres dispatcher: wake-ups between machines, by LISTEN on the connection of a worker's lock.

The store sends a notice after each transaction that made work due (`store/db/postgres.py`). All
workers receive it. Each draws a place in line and looks after a delay that grows with it, so that
one or two look at once, the others only in case these were busy, and no job wakes a whole fleet.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import import_module
from math import log2
from typing import TYPE_CHECKING

from crawlyard.clock import Clock
from crawlyard.core.jobs.notices import WakeupNotice, read
from crawlyard.core.jobs.spec import Priority
from crawlyard.messaging.dispatcher import Listener, Presence, WakeSignal
from crawlyard.messaging.local_dispatcher import LocalDispatcher, LocalWakeSignal

if TYPE_CHECKING:
    from crawlyard.messaging.locks import LockPresence

STEP_S = 0.01
"""Delay of the second in line; it grows by this whenever the place doubles."""

LAST = 4.0
"""A worker further back leaves the work to others, or to its next poll."""

SOON_S = 60.0
"""Work due later than this is left to polls."""


def delay_s(place: float) -> float | None:
    """Return how long the worker at *place* in line waits before it looks; ``None``: it doesn't.

    The first one is at a place between 0 and 1.
    """
    if place > LAST:
        return None
    return STEP_S * log2(place) if place > 1 else 0.0


class PostgresDispatcher(LocalDispatcher):
    """Wakes the workers of this process when a notice arrives.

    *url* must lead to the server itself or to a pooler in session mode: a lock and a subscription
    belong to a session.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__()
        self._url = url
        self._clock = clock
        self._listening: set[NoticeWakeSignal] = set()

    @asynccontextmanager
    async def wake_signal(self, listener: Listener) -> AsyncIterator[WakeSignal]:
        """Yield a signal given by announcements in this process and by its notices."""
        if listener.choosy:
            async with super().wake_signal(listener) as plain:
                yield plain
            return
        signal = NoticeWakeSignal(listener)
        self._signals.add(signal)
        self._listening.add(signal)
        try:
            yield signal
        finally:
            self._signals.discard(signal)
            self._listening.discard(signal)
            signal.close()

    @asynccontextmanager
    async def presence(self, worker: str, changed: Callable[[], None]) -> AsyncIterator[Presence]:
        """Hold the worker's lock, listen for notices, and return the liveness of others."""

        def on_notice(payload: str) -> None:
            self._handle_notice(payload, presence.fleet)

        # only now: commands without a worker need no driver
        locks = import_module("crawlyard.messaging.locks")
        presence: LockPresence = locks.LockPresence(
            self._url, worker, self._clock, changed, on_notice
        )
        async with presence.hold_lock():
            yield presence

    def _handle_notice(self, payload: str, fleet: int) -> None:
        notice = read(payload)
        if notice is None:
            return
        due_in_s = max(0.0, notice.at - self._clock.now().timestamp())
        # not by a ranking, as no process knows which workers have free slots
        wait_s = delay_s(random.random() * fleet / notice.count)
        if wait_s is None or due_in_s > SOON_S:
            return
        for signal in self._listening:
            signal.handle_notice(notice, due_in_s + wait_s)


class NoticeWakeSignal(LocalWakeSignal):
    """Wake-up signal of one worker, given for the notices of work that it takes."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._tags = listener.tags
        self._least: Priority | None = listener.least
        self._timer: asyncio.Handle | None = None
        self._wakes_at = 0.0  # uvloop makes no timer, with its time, of what is due at once

    async def wait(self, at_most: timedelta, *, least: Priority | None = Priority.LOW) -> None:
        """Return when the signal was given since the last call, or after *at_most*.

        A worker that takes no job, or urgent ones only, is not woken for what it would leave.
        """
        before, self._least = self._least, least
        try:
            await super().wait(at_most)
        finally:
            self._least = before

    def handle_notice(self, notice: WakeupNotice, within_s: float) -> None:
        """Wake it after *within_s* if this worker takes the work."""
        if self._least is None or (self._least is Priority.URGENT and not notice.urgent):
            return
        if not set(filter(None, notice.needs.split("\n"))) <= self._tags:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + within_s
        if self._timer is None or not loop.time() < self._wakes_at <= at:
            self.close()
            self._timer, self._wakes_at = loop.call_at(at, self.wake), at

    def close(self) -> None:
        """Drop the wake-up that is due."""
        if self._timer is not None:
            self._timer.cancel()
