"""Clocks, passed as arguments: no other module of Crawlyard reads a clock."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias


class Clock(Protocol):
    """Source of the current time, and of waits."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC, for what is stored or shown."""
        ...

    def wall(self) -> datetime:
        """Return the current wall-clock time, aware and in UTC, for schedules.

        It follows every step of the machine's clock; `now` does not.
        """
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards, for durations."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait, counting time as this clock does."""
        ...


SLEW = 0.02
"""Largest relative change of a second while a clock is steered.

A crystal is wrong by a factor of up to 0.0001; the shortest lease, of 6 s, moves by 0.12 s.
"""


Course: TypeAlias = tuple[datetime, float, float]
"""An instant, the reading of the monotonic clock at it, and the correction since, in seconds."""


class SystemClock:
    """Wall-clock time read once, then advanced by the monotonic clock.

    So a step of the machine's clock (by NTP or an operator) never expires a lease early or extends
    one.
    """

    def __init__(self) -> None:
        self._offset = timedelta(0)
        # replaced as a whole: other threads read the clock as well
        self._course: Course = (datetime.now(UTC), _elapsed_s(), 0.0)

    def shift(self, by: timedelta) -> None:
        """Shift the clock by *by*, the measured offset to another clock.

        The wall clock is not read again: it may have been stepped since the offset was measured.
        """
        self._offset += by
        anchor, started, correction = self._course
        self._course = (anchor + by, started, correction)

    def steer(self, by: timedelta) -> None:
        """Approach another clock, *by* ahead of this one, without a step.

        The rest of an earlier correction is dropped.
        """
        at = _elapsed_s()
        self._course = (self._at(at), at, by.total_seconds())

    def course(self) -> Course:
        """Return the state of this clock, for `follow`."""
        return self._course

    def follow(self, course: Course) -> None:
        """Use the *course* of the clock of another process of this machine."""
        self._course = course

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        return self._at(_elapsed_s())

    def _at(self, instant: float) -> datetime:
        anchor, started, correction = self._course
        passed = instant - started
        corrected = max(-SLEW * passed, min(correction, SLEW * passed))
        return anchor + timedelta(seconds=passed + corrected)

    def wall(self) -> datetime:
        """Return the current wall-clock time."""
        return datetime.now(UTC) + self._offset

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        """Wait, counting time as this clock does."""
        await asyncio.sleep(duration.total_seconds())


_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def _elapsed_s() -> float:
    """Return monotonic seconds that include time in suspend, if the system supports it."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
