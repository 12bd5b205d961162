"""A move of a running job that its own worker makes: for want of a grant, or of quota."""

from collections.abc import Callable

from msgspec.structs import replace

from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Claim, Lease, Standing
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spread import Share
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.store import Store

_TRIES = 8  # a move that loses a race is read and tried again


async def hold(store: Store, lease: Lease, decide: Callable[[Job], tuple[Job, Event]]) -> None:
    """Save a job under a lease of ours as *decide* says, unless it runs no more, or elsewhere.

    The crawl hears of it as of any pause, and what it has in flight is still stored.

    Raises:
        StoreUnavailable: the store is away.
    """
    for _ in range(_TRIES):
        try:
            standing = await leased(store, lease)
        except NotFound:
            return
        job, shard = standing.job, standing.shard
        if job.state is not State.RUNNING or shard.attempt != lease.attempt:
            return  # somebody else has moved it, or has it now
        try:
            await store.jobs.save(*decide(job))
        except Conflict:
            continue
        return


async def leased(store: Store, lease: Lease) -> Standing:
    """Return the job of a lease, and the shard that the lease is of.

    Raises:
        NotFound: the job is gone.
        StoreUnavailable: the store is away.
    """
    standing = await store.jobs.get(lease.job_id)
    if not lease.shard:
        return standing
    shards = await store.spread.shards(lease.job_id)
    shard = shards.get(lease.shard)
    return standing if shard is None else replace(standing, shard=shard)


async def reclaimed(store: Store, lease: Lease) -> Claim | None:
    """Return the claim that a lease stands for, ``None`` if it is another's or nobody's by now.

    Raises:
        NotFound: the job is gone.
        StoreUnavailable: the store is away.
    """
    standing = await leased(store, lease)
    job, mine = standing.job, standing.shard
    ours = (mine.worker, mine.attempt) == (lease.worker, lease.attempt)
    if not ours or job.state is not State.RUNNING:
        return None
    now_held = replace(lease, seq=mine.seq, version=job.version)
    if not lease.shard:
        return Claim(lease=now_held, job=job, shard=mine)
    total, ceiling = (await store.jobs.get(job.id)).shard, job.limits.duration_s
    left_s = None if ceiling is None else ceiling - total.usage.duration_s
    share = Share(budget=mine.budget, left_s=left_s)
    total = replace(total, lease_until=mine.lease_until)
    return Claim(lease=now_held, job=job, shard=total, share=share)
