"""A dispatcher that is made when it is first needed: a command that only looks needs none."""

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from crawlyard.core.wakeup import Wakeup
from crawlyard.dispatch.base import Bell, Dispatcher, Listener, Presence


class Deferring(Dispatcher, Protocol):
    """A dispatcher that is told of work within the transaction that makes it due."""

    async def defer(self, connection: Any, dues: Collection[Wakeup]) -> None:
        """Let others hear of *dues* once the transaction that *connection* is in is committed."""
        ...


class LateDispatcher:
    """What *make* makes, from its first use on."""

    def __init__(self, make: Callable[[], Deferring]) -> None:
        self._make = make
        self._made: Deferring | None = None

    def announce(self, due_at: datetime) -> None:
        """Wake those of this process who wait."""
        if self._made is not None:
            self._made.announce(due_at)

    async def defer(self, connection: Any, dues: Collection[Wakeup]) -> None:
        """Let others hear of *dues* once the transaction that *connection* is in is committed."""
        await self._needed().defer(connection, dues)

    def bell(self, listener: Listener) -> AbstractAsyncContextManager[Bell]:
        """Return the bell of one worker."""
        return self._needed().bell(listener)

    def presence(
        self, worker: str, changed: Callable[[], None]
    ) -> AbstractAsyncContextManager[Presence]:
        """Show that a worker is alive, and return what is known of others."""
        return self._needed().presence(worker, changed)

    async def close(self) -> None:
        """Let go of what was made."""
        if self._made is not None:
            await self._made.close()

    def _needed(self) -> Deferring:
        if self._made is None:
            self._made = self._make()
        return self._made
