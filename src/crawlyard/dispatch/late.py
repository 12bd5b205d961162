"""Dispatcher created on first use, since read-only commands need none."""

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crawlyard.core.jobs.queue import Wakeup
from crawlyard.dispatch.base import Bell, Listener, Presence

if TYPE_CHECKING:
    from crawlyard.dispatch.procrastinate import TicketDispatcher


class LateDispatcher:
    """Proxy for the dispatcher that *make* creates on first use."""

    def __init__(self, make: "Callable[[], TicketDispatcher]") -> None:
        self._make = make
        self._made: TicketDispatcher | None = None

    def announce(self, due_at: datetime) -> None:
        """Wake the waiting workers of this process."""
        if self._made is not None:
            self._made.announce(due_at)

    async def defer(self, connection: Any, dues: Collection[Wakeup]) -> None:
        """Send the wake-ups *dues* when the transaction of *connection* is committed."""
        await self._needed().defer(connection, dues)

    def bell(self, listener: Listener) -> AbstractAsyncContextManager[Bell]:
        """Return the bell of one worker."""
        return self._needed().bell(listener)

    def presence(
        self, worker: str, changed: Callable[[], None]
    ) -> AbstractAsyncContextManager[Presence]:
        """Show that a worker is alive, and return the presence of the others."""
        return self._needed().presence(worker, changed)

    async def close(self) -> None:
        """Close the dispatcher if it was created."""
        if self._made is not None:
            await self._made.close()

    def _needed(self) -> "TicketDispatcher":
        if self._made is None:
            self._made = self._make()
        return self._made
