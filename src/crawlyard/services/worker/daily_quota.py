"""Daily quota: requeues running jobs whose owner has used up the quota until the next day."""

from collections.abc import Sequence
from functools import partial

from crawlyard.clock import Clock
from crawlyard.core.jobs.checkpoint import Lease
from crawlyard.core.jobs.job import Job
from crawlyard.services.worker.leased_moves import hold
from crawlyard.store.store import Store


async def hold_spent(store: Store, clock: Clock, held: Sequence[tuple[Lease, Job]]) -> None:
    """Requeue the jobs under our leases whose owners have used up their quota for today.

    One read for all jobs. Claims skip these jobs until the next day.

    Raises:
        StoreUnavailable: the store is unavailable.
    """
    spent = await store.queue.spent(clock.now())
    for lease, job in held:
        if (part := spent.get(job.owner)) is not None:
            actor = f"worker:{lease.worker}"
            await hold(store, lease, partial(Job.spent, now=clock.now(), actor=actor, part=part))
