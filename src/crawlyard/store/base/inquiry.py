"""What is asked of a store to explain what goes on: nothing is written."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.page import KnownURL, StoredPage
from crawlyard.core.stats import FailingHost


class InquiryStore(Protocol):
    """Why jobs and URLs wait, and how much has been done."""

    async def front(self, now: datetime, limit: int, without: Collection[str] = ()) -> list[str]:
        """Return the ids of the jobs that a claim takes next, the first in front.

        Jobs of users in *without* are passed over.
        """
        ...

    async def ahead(
        self, job: Job, now: datetime, limit: int, without: Collection[str] = ()
    ) -> int:
        """Return how many jobs a claim takes before *job*; counting ends at *limit*.

        Those of *without* are not counted.
        """
        ...

    async def held_back(self, now: datetime) -> Mapping[str, str]:
        """Return which part of their quota lets no job of some users begin, by user.

        As `core.quota.held_back` says.
        """
        ...

    async def page_of(self, job_id: str, fp: int) -> StoredPage | None:
        """Return the page record of a target, ``None`` if it has none."""
        ...

    async def before(self, job_id: str, known: KnownURL, *, depth_first: bool) -> int:
        """Return how many URLs of a job wait before a waiting one, as `FrontierStore.load` says."""
        ...

    async def roots(self, job_id: str) -> list[str]:
        """Return the URLs that redirects of seeds led to: the scope takes them as seeds."""
        ...

    async def ended(
        self, owner: str | None, since: datetime, until: datetime, step: timedelta
    ) -> Mapping[tuple[int, State], int]:
        """Return how many jobs of a user, or of all, ended in each step from *since* to *until*.

        By the number of the step, from 0, and the state that they have now; zeros left out.
        """
        ...

    async def failing(
        self, owner: str | None, since: datetime, until: datetime, most: int
    ) -> list[FailingHost]:
        """Return the hosts whose URLs failed from *since* up to and without *until*.

        In jobs of a user, or of all, as their pages are now; as `core.stats.failing_hosts`
        orders them. Of more than *most* failures, the latest count alone.
        """
        ...
