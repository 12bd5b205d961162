"""Wake-ups inside one process; other processes on the same file find work by polling."""

import asyncio
from datetime import datetime, timedelta


class LocalDispatcher:
    """An event that `announce` sets and `wait` clears."""

    def __init__(self) -> None:
        self._due = asyncio.Event()

    def announce(self, due_at: datetime) -> None:  # noqa: ARG002 - every wake-up is for now
        """Wake those who wait, whatever the time: they look into the jobs table."""
        self._due.set()

    async def wait(self, at_most: timedelta) -> None:
        """Return at the next announcement, or after *at_most*."""
        try:
            async with asyncio.timeout(at_most.total_seconds()):
                await self._due.wait()
        except TimeoutError:
            return
        self._due.clear()
