"""What may be lost: how far the running jobs have come, and the word that something happened."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import StrEnum, auto
from typing import Protocol

from crawlyard.core.jobs.progress import Progress

KEPT = timedelta(hours=24)
"""How long the last progress of a job is known."""


class BusReach(StrEnum):
    """Whom a bus reaches now."""

    PROCESS = auto()  # its own process, as it is meant to
    YARD = auto()  # all processes of the yard
    AWAY = auto()  # its own process alone, until what carries it to the others is back


class Ear:
    """What has come over a bus for one who listens, until he takes it.

    Of each job the last word alone waits, so that it is bounded by the jobs that run.
    """

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}  # by the ids of the jobs
        self._happened = False
        self._news = asyncio.Event()

    def put(self, progress: Mapping[str, Progress], *, happened: bool) -> None:
        """Let news follow; what was said of a job gives way to what is said of it now."""
        self._progress.update(progress)
        self._happened |= happened
        self._news.set()

    async def news(self) -> None:
        """Return as soon as there is anything to take."""
        await self._news.wait()

    def take(self) -> tuple[Mapping[str, Progress], bool]:
        """Return what has come of each job, and whether events were told of; none waits then."""
        taken = self._progress, self._happened
        self._progress, self._happened = {}, False
        self._news.clear()
        return taken


class Bus(Protocol):
    """Carries what may be lost. No method waits for another machine that does not answer."""

    @property
    def reach(self) -> BusReach:
        """Return whom it reaches now."""
        ...

    def begin(self) -> None:
        """Look for what carries it to other processes, if anything does, before it is needed."""
        ...

    async def check(self) -> BusReach:
        """Return whom it reaches, asked just now: after some seconds at most."""
        ...

    async def publish(self, job_id: str, progress: Progress) -> None:
        """Tell who listens how far a job has come, and keep it as the last word on that job."""
        ...

    async def happened(self) -> None:
        """Tell who listens that events were stored just now."""
        ...

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published in `KEPT`, ``None`` if none is known (any more)."""
        ...

    def listen(self) -> AbstractContextManager[Ear]:
        """Return what hears, for the block, all that is published."""
        ...

    async def close(self) -> None:
        """Let go of what carries it. What was published a moment ago may be lost."""
        ...
