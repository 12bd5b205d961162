"""Local dispatcher: wake-ups inside one process; other processes find work by polling."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from crawlyard.core.jobs.spec import Priority
from crawlyard.messaging.dispatcher import Listener, Presence, WakeSignal


class LocalWakeSignal:
    """Event that `wake` sets and `wait` clears."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """End the current wait, or the next one."""
        self._event.set()

    async def wait(
        self,
        at_most: timedelta,
        *,
        least: Priority | None = Priority.LOW,  # noqa: ARG002 - every wake-up counts
    ) -> None:
        """Return when the signal was given since the last call, or after *at_most*."""
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class NoPresence:
    """Presence without knowledge of other workers; leases or lock files show their end."""

    holding = True
    fleet = 1

    def filter_known(self, workers: Collection[str]) -> set[str]:  # noqa: ARG002 - always empty
        """Return none: other workers are not visible."""
        return set()

    def dead(self, workers: Collection[str]) -> set[str]:  # noqa: ARG002 - always empty
        """Return none: a worker that is not visible cannot be seen dying."""
        return set()


class LocalDispatcher:
    """Dispatcher for the workers of this process."""

    def __init__(self) -> None:
        self._signals: set[LocalWakeSignal] = set()

    def announce(self, due_at: datetime) -> None:  # noqa: ARG002 - every wake-up is immediate
        """Wake all waiting workers, regardless of *due_at*; they check the jobs table."""
        for signal in self._signals:
            signal.wake()

    @asynccontextmanager
    async def wake_signal(self, listener: Listener) -> AsyncIterator[WakeSignal]:  # noqa: ARG002 - given for all
        """Return a signal given by each announcement."""
        signal = LocalWakeSignal()
        self._signals.add(signal)
        try:
            yield signal
        finally:
            self._signals.discard(signal)

    @asynccontextmanager
    async def presence(
        self,
        worker: str,  # noqa: ARG002 - not shown to others
        changed: Callable[[], None],  # noqa: ARG002 - never changes
    ) -> AsyncIterator[Presence]:
        """Return a presence that knows no other worker."""
        yield NoPresence()

    async def close(self) -> None:
        """Do nothing, as nothing is open."""
