"""Completion of a worker that has nothing left to do."""

from collections.abc import Mapping

from crawlyard.clock import Clock
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.errors import NotFound
from crawlyard.services.workers.claiming import ClaimRules
from crawlyard.services.workers.reclaim import Reclaimer
from crawlyard.store.store import Store


class Completion:
    """Decides when a worker is done: a single-job worker with its job, another if it drains."""

    def __init__(self, store: Store, clock: Clock, rules: ClaimRules, reclaimer: Reclaimer) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._reclaimer = reclaimer

    async def waits(self) -> Mapping[WaitReason | None, int]:
        """Return the waiting reasons of pending jobs, from `QueueStore.waits` for this worker."""
        rules, now = self._rules, self._clock.now()
        return await self._store.queue.waits(now, rules.tags, rules.least())

    async def is_reached(self, failure: BaseException | None, *, drain: bool) -> bool:
        """Return whether no job is left for this worker, which runs none at the moment.

        A single-job worker raises *failure*, the error of its run.

        Raises:
            StoreUnavailable: the store is unavailable.
        """
        if self._rules.only is not None:
            if failure is not None:
                raise failure
            return await self._is_over(self._rules.only)
        if not drain or None in await self.waits():
            return False
        return await self._reclaimer.is_nobodys(self._rules.lease)

    async def _is_over(self, job_id: str) -> bool:
        """Return whether a job has ended, is paused, or is run by another worker."""
        try:
            standing = await self._store.jobs.get(job_id)
        except NotFound:
            return True
        if standing.job.state is State.RUNNING:
            holder = standing.shard.worker
            return holder is not None and not self._reclaimer.is_dead(holder)
        return standing.job.state is not State.PENDING
