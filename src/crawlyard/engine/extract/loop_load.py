"""Load of the event loop, and the cores that could take some of it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HIGH = 0.85
"""Share of its time that the thread of a busy event loop computes."""

_WINDOW_S = 0.5
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # "max 100000", or microseconds of each 100,000


def usable_cores() -> int:
    """Return the cores that this process may use at once; a quota counts in whole cores."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text("ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup, or no quota
        return cores


class LoopLoad:
    """Tells whether the thread of the event loop is short of time while cores are free.

    Measured over windows of half a second. Work that others take over counts as if this thread
    did it: else relief would end as soon as it helps.
    """

    def __init__(
        self,
        *,
        high: float = HIGH,
        cores: int | None = None,
        wall: Callable[[], float] = time.monotonic,
        computing: Callable[[], float] = time.thread_time,
        running: Callable[[], float] = lambda: os.getloadavg()[0],
    ) -> None:
        """*computing* returns CPU seconds of this thread, *running* the processes that run."""
        self._high = high
        self._cores = usable_cores() if cores is None else cores
        self._wall = wall
        self._computing = computing
        self._running = running
        self._began = wall()
        self._computed = computing()
        self._relief_s = 0.0
        self._is_high = False

    @contextmanager
    def relief(self) -> Iterator[None]:
        """Count the time of the block as work that this thread was spared."""
        began = self._wall()
        try:
            yield
        finally:
            self._relief_s += self._wall() - began

    def is_high(self) -> bool:
        """Return whether others should take over work; a load that began goes on without cores."""
        now = self._wall()
        elapsed = now - self._began
        if elapsed >= _WINDOW_S:
            computed = self._computing()
            share = (computed - self._computed + self._relief_s) / elapsed
            self._is_high = share >= self._high and (self._is_high or self._running() < self._cores)
            self._began, self._computed, self._relief_s = now, computed, 0.0
        return self._is_high
