"""Jobs whose owner has used up his quota for the day: they wait until the next one."""

from collections.abc import Sequence
from functools import partial

from crawlyard.clock import Clock
from crawlyard.core.jobs.checkpoint import Lease
from crawlyard.core.jobs.job import Job
from crawlyard.services.worker.leased_moves import hold
from crawlyard.store.store import Store


async def hold_spent(store: Store, clock: Clock, held: Sequence[tuple[Lease, Job]]) -> None:
    """Let those jobs under leases of ours wait again whose owners may fetch no more today.

    One read for all of them. A claim passes them over until then.

    Raises:
        StoreUnavailable: the store is away.
    """
    spent = await store.queue.spent(clock.now())
    for lease, job in held:
        if (part := spent.get(job.owner)) is not None:
            actor = f"worker:{lease.worker}"
            await hold(store, lease, partial(Job.spent, now=clock.now(), actor=actor, part=part))
