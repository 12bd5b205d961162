"""Reclaiming: taking back the jobs of dead workers."""

import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from crawlyard.clock import Clock
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Job
from crawlyard.services.workers.liveness import Liveness
from crawlyard.store.store import Store

LOOK_EVERY = timedelta(milliseconds=500)

_LOOKS_PER_S = 20
"""Polls of a whole fleet per second. In a large one, each worker polls less often: a poll reads all
leases, and any worker can take back jobs. Workers that notice a death poll at once."""

EXCUSED = timedelta(seconds=5)
"""Grace period after the store was unavailable, in which live workers renew their leases."""

LATE = timedelta(seconds=3)
"""Polls further apart than this mean a delay: this process was stopped, its machine slept, or
the store kept it waiting. Other workers may have been delayed too and still be alive."""

_NEVER_LAPSED = datetime(1970, 1, 2, tzinfo=UTC)  # before any lease ends

_log = logging.getLogger(__name__)


class Reclaimer:
    """Queues the jobs of dead workers again, on behalf of the worker *name*."""

    def __init__(
        self,
        name: str,
        store: Store,
        clock: Clock,
        liveness: Liveness,
        took: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._name = name
        self._took = took  # receives the number of leases taken back
        self._store = store
        self._clock = clock
        self._liveness = liveness
        self._looks_at = 0.0
        self._came_at: datetime | None = None
        self._late = False
        self._excused_until = 0.0
        self._strangers: dict[str, float] = {}  # holders whose fate is unknown, and since when

    def hasten(self) -> None:
        """Make the next `take_back` poll at once, as another worker has died."""
        self._looks_at = 0.0

    def excuse(self) -> None:
        """Don't count lapsed leases as losses for `EXCUSED`, as no worker could reach the store."""
        self._excused_until = self._clock.monotonic() + EXCUSED.total_seconds()

    async def take_back(self) -> bool:
        """Queue the jobs of dead workers again, twice a second; return whether there was any.

        In a fleet of more than ten workers, each polls less often.

        Raises:
            StoreUnavailable: the store is unavailable.
        """
        self._excuse_if_late()
        now = self._clock.monotonic()
        if now < self._looks_at:
            return False
        self._looks_at = now + self._pause_s()
        leases = self._store.leases
        holders = await self._other_holders()
        jobs = []
        if dead := self._liveness.dead(holders):
            # first, so that a worker that claims one of their jobs finds the host slots free
            await self._store.hosts.release_slots(*dead)
            jobs += await leases.take_back(_NEVER_LAPSED, dead, self._lose, self._took)
        if now >= self._excused_until:
            jobs += await leases.take_back(self._clock.now(), (), self._lose, self._took)
        for job in jobs:
            _log.warning("the worker of job %s was lost; it is %s now", job.id, job.state)
        self._liveness.sweep(holders)
        return bool(jobs)

    def _pause_s(self) -> float:
        """Return the time between two polls of this worker."""
        shared_s = self._liveness.fleet / _LOOKS_PER_S
        # at random, as after a restart of the database all begin at once
        return max(LOOK_EVERY.total_seconds(), shared_s * random.uniform(0.5, 1.5))

    def _excuse_if_late(self) -> None:
        now = self._clock.now()  # unlike the monotonic clock, it advances while a machine sleeps
        late = self._came_at is not None and now - self._came_at > LATE
        if late and not self._late:  # otherwise a process that is always slow would never reclaim
            self.excuse()
        self._came_at, self._late = now, late

    async def is_nobodys(self, lease: timedelta) -> bool:
        """Return whether no lease needs to be waited for.

        Leases of live workers don't, and those of dead workers do until they are taken back. A
        worker of unknown fate may be dead: its leases count for the duration *lease*, after
        which they have lapsed if it is.
        """
        holders = await self._other_holders()
        now, traceable = self._clock.monotonic(), self._liveness.traceable(holders)
        if self._liveness.dead(holders) or (holders and now < self._excused_until):
            return False
        strangers = holders - traceable
        self._strangers = {w: self._strangers.get(w, now) for w in strangers}
        return all(now - since > lease.total_seconds() for since in self._strangers.values())

    def is_dead(self, worker: str) -> bool:
        """Return whether *worker* is known to be dead."""
        return worker in self._liveness.dead({worker})

    async def _other_holders(self) -> set[str]:
        return set(await self._store.leases.holders()) - {self._name}

    def _lose(self, job: Job) -> tuple[Job, Event]:
        """Return a job after losing its worker, which died or was stopped for too long.

        A child process that ran the job is not blamed: only its parent knows whether it hung.
        """
        return job.lose_worker(self._clock.now(), actor=f"worker:{self._name}", in_child=False)
