"""Leased moves: a worker moves a job that it runs itself, for lack of a grant or of quota."""

from collections.abc import Callable

from msgspec.structs import replace

from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Claim, Lease, Standing
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spread import Share
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.store import Store

_TRIES = 8  # a move that loses a race is retried on a fresh read


async def hold(store: Store, lease: Lease, decide: Callable[[Job], tuple[Job, Event]]) -> None:
    """Save a job under our lease as *decide* says, unless it stopped running or was taken over.

    The crawl learns of it as of any pause, and what it has in flight is still stored.

    Raises:
        StoreUnavailable: the store is unavailable.
    """
    for _ in range(_TRIES):
        try:
            standing = await leased(store, lease)
        except NotFound:
            return
        job, shard = standing.job, standing.shard
        if job.state is not State.RUNNING or shard.attempt != lease.attempt:
            return  # someone else moved the job or holds it now
        try:
            await store.jobs.save(*decide(job))
        except Conflict:
            continue
        return


async def leased(store: Store, lease: Lease) -> Standing:
    """Return the job of a lease, with the shard that the lease covers.

    Raises:
        NotFound: the job is gone.
        StoreUnavailable: the store is unavailable.
    """
    standing = await store.jobs.get(lease.job_id)
    if not lease.shard:
        return standing
    shards = await store.spread.shards(lease.job_id)
    shard = shards.get(lease.shard)
    return standing if shard is None else replace(standing, shard=shard)


async def reclaimed(store: Store, lease: Lease) -> Claim | None:
    """Return the claim for a lease, or ``None`` if it is no longer held or the job not running.

    Raises:
        NotFound: the job is gone.
        StoreUnavailable: the store is unavailable.
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
