"""Moves of jobs under a worker's own leases, and the release of leases."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import not_granted
from crawlyard.core.access.user import Grant
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.checkpoint import Lease
from crawlyard.core.jobs.job import Job, Shard, Standing
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.errors import Conflict, NotFound
from crawlyard.services.access.policy import Policy
from crawlyard.services.races import TRIES
from crawlyard.store.store import Store


async def find_leased(store: Store, lease: Lease) -> Standing | None:
    """Return the job of a lease and the shard it covers, or ``None`` if the lease is lost.

    Raises:
        StoreUnavailable: the store is unavailable.
    """
    try:
        standing = await store.jobs.get(lease.job_id)
    except NotFound:
        return None
    if lease.shard:
        shards = await store.spread.shards(lease.job_id)
        standing = replace(standing, shard=shards.get(lease.shard, Shard()))
    shard = standing.shard
    return standing if (shard.worker, shard.attempt) == (lease.worker, lease.attempt) else None


async def yield_to(store: Store, clock: Clock, lease: Lease) -> None:
    """Release the lease of a whole job after someone else changed the job; their change wins.

    A job that was only edited is still marked as running, but no worker would run it, so it is
    queued again.

    Raises:
        StoreUnavailable: the store is unavailable.
    """
    actor, reason = f"worker:{lease.worker}", StateReason.WAITING_SLOT
    for _ in range(TRIES):
        standing = await find_leased(store, lease)
        if standing is None or standing.job.state is not State.RUNNING:
            break
        moved = standing.job.apply_move(Move.REQUEUE, clock.now(), actor=actor, reason=reason)
        with suppress(Conflict):
            await store.leases.settle(lease, *moved)
            return
    await store.leases.free(lease)


def pause_ungranted(
    job: Job, missing: Sequence[Grant], now: datetime, actor: str
) -> tuple[Job, Event]:
    """Return the job, paused because grants are *missing*, and its event.

    Raises:
        IllegalMove: it cannot be paused.
    """
    detail = f"{not_granted(missing)} any more; once it is, resume the job"
    reason = StateReason.NOT_GRANTED
    return job.apply_move(Move.PAUSE, now, actor=actor, reason=reason, detail=detail)


async def hold_ungranted(store: Store, clock: Clock, running: Sequence[tuple[Lease, Job]]) -> None:
    """Pause the jobs under our leases that need a grant that was withdrawn.

    Reads the settings once for all jobs, and not at all if no job needs a grant.

    Raises:
        StoreUnavailable: the store is unavailable.
    """
    needed = {grant for _, job in running for grant in job.by_grant}
    missing = set(await Policy(store).withheld(tuple(needed)))
    for lease, job in running:
        if lost := [grant for grant in job.by_grant if grant in missing]:
            actor = f"worker:{lease.worker}"
            decide = partial(pause_ungranted, missing=lost, now=clock.now(), actor=actor)
            await _hold(store, lease, decide)


async def hold_spent(store: Store, clock: Clock, running: Sequence[tuple[Lease, Job]]) -> None:
    """Requeue the jobs under our leases whose owners have used up their quota for today.

    One read for all jobs. Claims skip these jobs until the next day.

    Raises:
        StoreUnavailable: the store is unavailable.
    """
    spent = await store.positions.find_spent_owners(clock.now())
    for lease, job in running:
        if (part := spent.get(job.owner)) is not None:
            actor = f"worker:{lease.worker}"
            decide = partial(Job.requeue_for_quota, now=clock.now(), actor=actor, part=part)
            await _hold(store, lease, decide)


async def _hold(store: Store, lease: Lease, decide: Callable[[Job], tuple[Job, Event]]) -> None:
    """Save a job under our lease as *decide* says, unless it stopped running or was taken over.

    The crawl stops as for any pause, and results in flight are still stored.
    """
    for _ in range(TRIES):
        standing = await find_leased(store, lease)
        if standing is None or standing.job.state is not State.RUNNING:
            return
        with suppress(Conflict):
            await store.jobs.save(*decide(standing.job))
            return
