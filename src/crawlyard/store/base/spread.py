"""What is asked of a store about jobs that several workers crawl at once."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from crawlyard.core.checkpoint import Asker, Claim, Lease, Shard
from crawlyard.core.due import Due
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.leaving import Decide
from crawlyard.core.page import Target


class SpreadStore(Protocol):
    """The shards of running jobs: `LeaseStore.claim` begins a job with one of them.

    A running job that is spread has at least one shard under a lease. Its totals are
    those of shard 0; what its shards may still use and what was used never come to
    more than its limits.
    """

    async def join(
        self, asker: Asker, now: datetime, lease: timedelta, *, in_turn: bool
    ) -> Claim | None:
        """Lease a free shard of a running job that has something waiting.

        Of the jobs that *asker* may take, that which `core.queue.claim_key` puts first;
        with *in_turn* only if no pending job comes before it. Pages per day of its
        owner's quota must be left, and something of each of its limits. Who has a
        shard of the job takes another one only when it was free for `REST`.
        """
        ...

    async def leave(
        self, lease: Lease, now: datetime, until: datetime, decide: Decide, *, further: bool
    ) -> Claim | None:
        """Give a shard back, with what it might still have used; all in one transaction.

        With *further*, another shard of the job that has something waiting is leased to
        the same worker until *until*, and returned. Otherwise, if no shard is leased any
        more and the job runs, it is saved as *decide* says. Does nothing if the lease is
        no longer ours.
        """
        ...

    async def lose(
        self, lease: Lease, now: datetime, decide: Callable[[Job], tuple[Job, Event]]
    ) -> Job | None:
        """Take a shard from its holder, who died of it: see `LeaseStore.take_back`.

        Return the job if it was saved as *decide* says: it was the last shard, or has
        killed too many.
        """
        ...

    async def load(
        self, lease: Lease, limit: int, *, depth_first: bool, without: Collection[str] = ()
    ) -> list[Target]:
        """Return waiting targets of the hosts of a shard: see `FrontierStore.load`."""
        ...

    async def joinable(self, now: datetime, besides: str | None = None) -> Collection[Due]:
        """Return what shards wait for somebody to `join`: once for all that are alike to a worker.

        With *besides*, a worker, those alone that it has to leave to others until they were
        free for `REST`. Leftovers of limits and quotas are not looked at.
        """
        ...

    async def shards(self, job_id: str) -> Mapping[int, Shard]:
        """Return the shards that a job is cut into by their numbers, none if it is not."""
        ...
