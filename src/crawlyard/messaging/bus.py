"""Bus interface: lossy messages about the progress of running jobs and about new events."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import StrEnum, auto
from typing import Protocol

from crawlyard.core.jobs.progress import Progress

PROGRESS_KEPT_FOR = timedelta(hours=24)
"""How long the last progress of a job is kept."""


class BusReach(StrEnum):
    """Processes that a bus currently reaches."""

    PROCESS = auto()  # only its own process, by design
    YARD = auto()  # all processes of the instance
    AWAY = auto()  # only its own process, until its transport is available again


class BusSubscription:
    """Subscription to a bus: buffers messages until the subscriber takes them.

    Only the last progress of each job is kept, so the number of running jobs bounds the buffer.
    """

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}  # by job id
        self._events_stored = False
        self._news = asyncio.Event()

    def add(self, progress: Mapping[str, Progress], *, events_stored: bool) -> None:
        """Add news; newer progress of a job replaces older."""
        self._progress.update(progress)
        self._events_stored |= events_stored
        self._news.set()

    async def news(self) -> None:
        """Wait until there is anything to take."""
        await self._news.wait()

    def take(self) -> tuple[Mapping[str, Progress], bool]:
        """Return and clear the progress by job id, and whether events were stored."""
        news = self._progress, self._events_stored
        self._progress, self._events_stored = {}, False
        self._news.clear()
        return news


class Bus(Protocol):
    """Carries messages that may be lost. No method waits long for an unresponsive machine."""

    @property
    def reach(self) -> BusReach:
        """Processes that the bus currently reaches."""
        ...

    def begin(self) -> None:
        """Start connecting to the transport to other processes, if there is one, ahead of use."""
        ...

    async def check(self) -> BusReach:
        """Check the transport and return the reach, within a few seconds."""
        ...

    async def publish(self, job_id: str, progress: Progress) -> None:
        """Send the progress of a job to subscribers, and keep it as the latest."""
        ...

    async def notify_events_stored(self) -> None:
        """Notify subscribers that events were just stored."""
        ...

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress of the last `PROGRESS_KEPT_FOR`, ``None`` if none is known."""
        ...

    def subscribe(self) -> AbstractContextManager[BusSubscription]:
        """Subscribe, for the block, to all that is published."""
        ...

    async def close(self) -> None:
        """Close the transport. What was published a moment ago may be lost."""
        ...
