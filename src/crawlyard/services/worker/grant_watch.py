"""Grant watch: pauses running jobs when a grant that they need is withdrawn."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from crawlyard.clock import Clock
from crawlyard.core.access.policy import not_granted
from crawlyard.core.access.user import Grant
from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Lease
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.services.access.policy import Policy
from crawlyard.services.worker.leased_moves import hold
from crawlyard.store.store import Store


def ungranted(job: Job, missing: Sequence[Grant], now: datetime, actor: str) -> tuple[Job, Event]:
    """Return the job, paused because grants are *missing*, and its event.

    Raises:
        IllegalMove: it cannot be paused.
    """
    detail = f"{not_granted(missing)} any more; once it is, resume the job"
    reason = StateReason.NOT_GRANTED
    return job.moved(Move.PAUSE, now, actor=actor, reason=reason, detail=detail)


async def hold_ungranted(store: Store, clock: Clock, held: Sequence[tuple[Lease, Job]]) -> None:
    """Pause the jobs under our leases that need a grant that was withdrawn.

    Their runs learn of it as of any pause. Reads the settings once for all jobs, and not at
    all if no job needs a grant.

    Raises:
        StoreUnavailable: the store is unavailable.
    """
    needing = [(lease, job.by_grant) for lease, job in held if job.by_grant]
    needed = {grant for _, by_grant in needing for grant in by_grant}
    missing = set(await Policy(store).withheld(tuple(needed)))
    for lease, by_grant in needing:
        if lost := [grant for grant in by_grant if grant in missing]:
            actor = f"worker:{lease.worker}"
            decide = partial(ungranted, missing=lost, now=clock.now(), actor=actor)
            await hold(store, lease, decide)
