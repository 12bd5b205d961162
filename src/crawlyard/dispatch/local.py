"""Wake-ups inside one process; other processes on the same store find work by polling."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from crawlyard.core.jobs.priority import Priority
from crawlyard.dispatch.base import Bell, Listener, Presence


class LocalBell:
    """An event that `ring` sets and `wait` clears."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the wait that is under way, or the next."""
        self._rung.set()

    async def wait(
        self,
        at_most: timedelta,
        *,
        least: Priority | None = Priority.LOW,  # noqa: ARG002 - whoever is told may look
    ) -> None:
        """Return when it was rung since the last call, or after *at_most*."""
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()


class NoPresence:
    """Nothing is seen of others; their leases lapse, or their files tell."""

    holding = True

    def known(self, workers: Collection[str]) -> set[str]:  # noqa: ARG002 - nobody
        """Return nobody."""
        return set()

    def dead(self, workers: Collection[str]) -> set[str]:  # noqa: ARG002 - nobody
        """Return nobody."""
        return set()


class LocalDispatcher:
    """The bells of the workers of this process."""

    def __init__(self) -> None:
        self._bells: set[LocalBell] = set()

    def announce(self, due_at: datetime) -> None:  # noqa: ARG002 - every wake-up is for now
        """Wake those who wait, whatever the time: they look into the jobs table."""
        for bell in self._bells:
            bell.ring()

    @asynccontextmanager
    async def bell(self, listener: Listener) -> AsyncIterator[Bell]:  # noqa: ARG002 - for all
        """Return a bell that every announcement rings."""
        bell = LocalBell()
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    @asynccontextmanager
    async def presence(
        self,
        worker: str,  # noqa: ARG002 - nobody looks
        changed: Callable[[], None],  # noqa: ARG002 - nothing does
    ) -> AsyncIterator[Presence]:
        """Return what sees nobody."""
        yield NoPresence()

    async def close(self) -> None:
        """Do nothing: nothing is open."""
