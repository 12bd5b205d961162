"""Local dispatcher: wake-ups inside one process; other processes find work by polling."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from crawlyard.core.jobs.spec import Priority
from crawlyard.messaging.dispatcher import Bell, Listener, Presence


class LocalBell:
    """Event that `ring` sets and `wait` clears."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the current wait, or the next one."""
        self._rung.set()

    async def wait(
        self,
        at_most: timedelta,
        *,
        least: Priority | None = Priority.LOW,  # noqa: ARG002 - every wake-up counts
    ) -> None:
        """Return when the bell was rung since the last call, or after *at_most*."""
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()


class NoPresence:
    """Presence without knowledge of other workers; leases or lock files show their end."""

    holding = True
    fleet = 1

    def known(self, workers: Collection[str]) -> set[str]:  # noqa: ARG002 - always empty
        """Return an empty set."""
        return set()

    def dead(self, workers: Collection[str]) -> set[str]:  # noqa: ARG002 - always empty
        """Return an empty set."""
        return set()


class LocalDispatcher:
    """Dispatcher for the workers of this process."""

    def __init__(self) -> None:
        self._bells: set[LocalBell] = set()

    def announce(self, due_at: datetime) -> None:  # noqa: ARG002 - every wake-up is immediate
        """Wake all waiting workers, regardless of *due_at*; they check the jobs table."""
        for bell in self._bells:
            bell.ring()

    @asynccontextmanager
    async def bell(self, listener: Listener) -> AsyncIterator[Bell]:  # noqa: ARG002 - rung for all
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
        worker: str,  # noqa: ARG002 - not shown to others
        changed: Callable[[], None],  # noqa: ARG002 - never changes
    ) -> AsyncIterator[Presence]:
        """Return a presence that knows no other worker."""
        yield NoPresence()

    async def close(self) -> None:
        """Do nothing, as nothing is open."""
