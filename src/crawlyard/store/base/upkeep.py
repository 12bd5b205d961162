"""What is asked of a store to keep it from growing for ever."""

from datetime import datetime, timedelta
from typing import Protocol

from crawlyard.core.freed import Freed
from crawlyard.core.job import Job


class UpkeepStore(Protocol):
    """Finds what has had its time, and frees its space in small transactions."""

    async def expired(self, now: datetime, retention: timedelta | None, limit: int) -> list[Job]:
        """Return ended jobs that were kept as long as asked, the longest ended first.

        *retention* is for those whose spec says nothing; ``None`` keeps them for ever.
        """
        ...

    async def paused(self, before: datetime, limit: int, after: Job | None = None) -> list[Job]:
        """Return jobs that have been paused since *before* or earlier, the earliest first.

        With *after*: those that come behind that one in this order.
        """
        ...

    async def forget(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* events, deliveries and ticks older than *before*; return how many.

        A delivery that still waits stays, and so does its event; so do, while a webhook is
        active, events that `DeliveryStore.fan_out` has not looked at, and a tick that waits
        for its run. The newest event always stays: readers go on from its seq.
        """
        ...

    async def tidy(self) -> None:
        """Sum up the counts that are kept of jobs, and correct those that other SQL made wrong."""
        ...

    async def purge(self, rows: int = 1000) -> Freed:
        """Delete up to *rows* rows of deleted jobs, or give free room back to the disk.

        Fewer where they are large. Return what that freed: nothing when all is done.
        The webhooks of a job go with it. Its events stay: whoever reads on from the
        last it has seen may not have read them yet.
        """
        ...

    async def size(self) -> int:
        """Return the bytes that the database takes on its disk; 0 in memory."""
        ...
