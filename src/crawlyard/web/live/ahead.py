"""News that come over the bus, ahead of the next look at the store."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

from crawlyard.bus.base import Bus
from crawlyard.clock import Clock
from crawlyard.core.jobs.progress import Progress

HEAR_EVERY = timedelta(milliseconds=100)
"""At most this often, news are taken from the bus; those that come first do not wait."""


class Ahead:
    """Hears what all processes say over the bus, and ends the wait for the next look."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._prompt = asyncio.Event()

    async def hear(self, tell: Callable[[Mapping[str, Progress]], None]) -> None:
        """*Tell* of the progress of jobs, by their ids, as it comes, until cancelled."""
        with self._bus.listen() as ear:
            while True:
                await ear.news()
                progress, happened = ear.take()
                if progress:
                    tell(progress)
                if happened:
                    self._prompt.set()
                await self._clock.sleep(HEAR_EVERY)

    async def until_events(self, at_most: timedelta) -> None:
        """Return when somebody has said that events were stored, or after *at_most*."""
        waits = (
            asyncio.ensure_future(self._clock.sleep(at_most)),
            asyncio.ensure_future(self._prompt.wait()),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._prompt.clear()
