"""Time that moves only when a test says so."""

import asyncio
import heapq
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import ClassVar

from crawlyard.clock import SystemClock
from tests.builders import NOW

_TURNS = 50
"""Turns of the event loop after which every task waits for time or for another task."""


class SteppedClock(SystemClock):
    """Time that passes as it does, and jumps on when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._jumped = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self._jumped

    def jump(self, by: timedelta) -> None:
        self._jumped += by


class EarlierClock(SystemClock):
    """A clock that starts a minute before builders claim jobs."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead = super().now() - NOW + timedelta(minutes=1)

    def now(self) -> datetime:
        return super().now() - self._ahead


class FakeClock:
    """A `crawlyard.clock.Clock` that stands still between two calls of `advance`."""

    instances: ClassVar = 0  # clocks created in this process

    def __init__(self, now: datetime = NOW) -> None:
        FakeClock.instances += 1
        self._now = self._started = now
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._order = count()
        self._stepped = timedelta(0)

    def now(self) -> datetime:
        """Return the current instant."""
        return self._now

    def wall(self) -> datetime:
        """Return the wall clock: `now`, and the sum of all steps."""
        return self._now + self._stepped

    def step(self, by: timedelta) -> None:
        """Set the wall clock forward, or back."""
        self._stepped += by

    def stall(self, duration: timedelta) -> None:
        """Let time pass within one step of the event loop, without waking a sleeper."""
        self._now += duration

    def monotonic(self) -> float:
        """Return the seconds since its creation plus 1,024: a monotonic clock starts anywhere."""
        return 1024.0 + (self._now - self._started).total_seconds()

    @property
    def sleepers(self) -> int:
        """The number of tasks that wait for `advance`."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def sleep(self, duration: timedelta) -> None:
        """Return once it was advanced by *duration*."""
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + duration, next(self._order), woken))
        await woken

    async def advance(self, duration: timedelta) -> None:
        """Move time on, waking each sleeper at its own instant, in order."""
        end = self._now + duration
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self._now = end


@dataclass
class LeapingClock:
    """A clock that goes as all others, and leaps when a test says so."""

    inner: SystemClock = field(default_factory=SystemClock)
    leapt: timedelta = timedelta(0)

    def now(self) -> datetime:
        return self.inner.now() + self.leapt

    def wall(self) -> datetime:
        return self.inner.wall() + self.leapt

    def monotonic(self) -> float:
        return self.inner.monotonic() + self.leapt.total_seconds()

    async def sleep(self, duration: timedelta) -> None:
        await self.inner.sleep(duration)


async def settle() -> None:
    """Let tasks run until all are waiting."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
