"""Time, passed in: nothing else in Crawlyard reads a clock."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to wait."""

    def now(self) -> datetime:
        """Return the instant, aware and in UTC: for what is stored or shown."""
        ...

    def wall(self) -> datetime:
        """Return what a clock on the wall says now, aware and in UTC: for schedules.

        It follows every step of the machine's clock; `now` does not.
        """
        ...

    def monotonic(self) -> float:
        """Return seconds that never step back: for durations."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Return after *duration*."""
        ...


class SystemClock:
    """Wall time read once, then carried on by the monotonic clock.

    A step of the machine's clock (NTP, an operator) therefore neither lapses a
    lease nor extends one, whenever it comes.
    """

    def __init__(self) -> None:
        self._offset = timedelta(0)
        self._anchor = datetime.now(UTC)
        self._started = _elapsed()

    def shift(self, by: timedelta) -> None:
        """Be *by* further from now on, once that is known to be the distance to another clock.

        The wall is not read again: it may have been stepped since that was measured.
        """
        self._offset += by
        self._anchor += by

    def now(self) -> datetime:
        """Return the instant, aware and in UTC."""
        return self._anchor + timedelta(seconds=_elapsed() - self._started)

    def wall(self) -> datetime:
        """Return what a clock on the wall says now."""
        return datetime.now(UTC) + self._offset

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        return time.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        """Return after *duration*."""
        await asyncio.sleep(duration.total_seconds())


_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def _elapsed() -> float:
    """Return monotonic seconds that count a suspended machine's sleep, where the system can."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
