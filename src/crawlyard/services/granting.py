"""Jobs that live by a grant of the settings: they are paused when it is withdrawn."""

from collections.abc import Sequence
from datetime import datetime

from crawlyard.clock import Clock
from crawlyard.core.checkpoint import Lease
from crawlyard.core.event import Event
from crawlyard.core.grant import not_granted
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import Move, State, StateReason
from crawlyard.core.user import Grant
from crawlyard.errors import Conflict, NotFound
from crawlyard.services.policy import Policy
from crawlyard.store.base import Store

_TRIES = 8  # a move that loses a race is read and tried again


def ungranted(job: Job, missing: Sequence[Grant], now: datetime, actor: str) -> tuple[Job, Event]:
    """Return the job paused for want of the grants that are *missing*, and its event.

    Raises:
        IllegalMove: it cannot be paused.
    """
    detail = f"{not_granted(missing)} any more; once it does, resume the job"
    reason = StateReason.NOT_GRANTED
    return job.moved(Move.PAUSE, now, actor=actor, reason=reason, detail=detail)


async def hold_ungranted(store: Store, clock: Clock, held: Sequence[tuple[Lease, Job]]) -> None:
    """Pause those jobs under leases of ours that ask for what is not granted any more.

    Their workers hear of it as of any pause. One read for all of them, and none where
    no job needs a grant.

    Raises:
        StoreUnavailable: the store is away.
    """
    needing = [(lease, job.by_grant) for lease, job in held if job.by_grant]
    needed = {grant for _, by_grant in needing for grant in by_grant}
    missing = set(await Policy(store).withheld(tuple(needed)))
    for lease, by_grant in needing:
        if lost := [grant for grant in by_grant if grant in missing]:
            await _hold(store, clock, lease, lost)


async def _hold(store: Store, clock: Clock, lease: Lease, missing: Sequence[Grant]) -> None:
    actor = f"worker:{lease.worker}"
    for _ in range(_TRIES):
        try:
            standing = await store.jobs.get(lease.job_id)
        except NotFound:
            return
        job, shard = standing.job, standing.shard
        if job.state is not State.RUNNING or shard.attempt != lease.attempt:
            return  # somebody else has moved it, or has it now
        try:
            await store.jobs.save(*ungranted(job, missing, clock.now(), actor))
        except Conflict:
            continue
        return
