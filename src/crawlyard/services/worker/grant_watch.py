"""Jobs that live by a grant of the settings: they are paused when it is withdrawn."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from crawlyard.clock import Clock
from crawlyard.core.access.grant import not_granted
from crawlyard.core.access.user import Grant
from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Lease
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.services.access.policy import Policy
from crawlyard.services.worker.leased_moves import hold
from crawlyard.store.store import Store


def ungranted(job: Job, missing: Sequence[Grant], now: datetime, actor: str) -> tuple[Job, Event]:
    """Return the job paused for want of the grants that are *missing*, and its event.

    Raises:
        IllegalMove: it cannot be paused.
    """
    detail = f"{not_granted(missing)} any more; once it is, resume the job"
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
            actor = f"worker:{lease.worker}"
            decide = partial(ungranted, missing=lost, now=clock.now(), actor=actor)
            await hold(store, lease, decide)
