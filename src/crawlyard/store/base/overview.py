"""What is asked of a store to show how things stand, and what is in trouble."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from crawlyard.core.attention import Backlog, End, Line
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import StateReason
from crawlyard.core.schedule import CrawlSchedule
from crawlyard.core.schedule_records import RecentTick
from crawlyard.core.webhook import Webhook


class OverviewStore(Protocol):
    """Things of a user, or of all (``None``), that a person should know of."""

    async def recent(
        self, schedule_ids: Collection[str], limit: int
    ) -> Mapping[str, Sequence[RecentTick]]:
        """Return the last *limit* ticks of each of these schedules, the latest first.

        With the states of their jobs, all of one moment. One without any is left out.
        """
        ...

    async def overdue(self, owner: str | None, before: datetime, limit: int) -> list[CrawlSchedule]:
        """Return schedules that should have been fired before *before*, the latest due last.

        One that is paused is not late.
        """
        ...

    async def paused(
        self,
        owner: str | None,
        before: datetime,
        reasons: Collection[StateReason],
        limit: int,
    ) -> list[Job]:
        """Return jobs paused before *before*, or for one of *reasons*, the longest first."""
        ...

    async def failures(
        self, owner: str | None, since: datetime, limit: int
    ) -> Sequence[tuple[Line | None, End]]:
        """Return the jobs that have failed since *since* with their lines, the last first."""
        ...

    async def ends(self, lines: Mapping[Line, datetime], last: int) -> Mapping[Line, Sequence[End]]:
        """Return how the jobs of *lines* have ended since the instant of each, the last first.

        At most *last* of each; who was cancelled is left out.
        """
        ...

    async def backlog(self, owner: str | None, now: datetime) -> Backlog:
        """Return how many jobs are due at *now* and wait, and since when."""
        ...

    async def damaged(self, limit: int, among: int) -> list[Job]:
        """Return jobs of anybody that cannot be read as they are stored, newest first.

        The newest *among* jobs are looked at, a portion at a time.
        """
        ...

    async def off(self, owner: str | None, limit: int) -> list[Webhook]:
        """Return webhooks that are switched off, the last that was changed first."""
        ...
