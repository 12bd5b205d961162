"""Taking back the jobs of workers that are no more."""

import logging
from datetime import UTC, datetime, timedelta

from crawlyard.clock import Clock
from crawlyard.core.event import Event
from crawlyard.core.jobs.job import Job
from crawlyard.services.worker.liveness import Liveness
from crawlyard.store.store import Store

LOOK_EVERY = timedelta(seconds=1)

EXCUSED = timedelta(seconds=5)
"""After the store was away, for those who could not renew their leases and now do."""

LATE = timedelta(seconds=3)
"""A look that comes so long after the last one: this process was stopped, its machine slept,
or the store kept it waiting. All others may have fared alike, who are there nevertheless."""

_NEVER_LAPSED = datetime(1970, 1, 2, tzinfo=UTC)  # no lease ends before

_log = logging.getLogger(__name__)


class Reclaimer:
    """Queues the jobs of dead workers again, for the worker *name*."""

    def __init__(self, name: str, store: Store, clock: Clock, signs: Liveness) -> None:
        self._name = name
        self._store = store
        self._clock = clock
        self._signs = signs
        self._looked_at = -LOOK_EVERY.total_seconds()
        self._came_at: datetime | None = None
        self._late = False
        self._excused_until = 0.0
        self._strangers: dict[str, float] = {}  # holders elsewhere, and since when we know

    def hasten(self) -> None:
        """Look at once the next time: somebody has died."""
        self._looked_at = -LOOK_EVERY.total_seconds()

    def excuse(self) -> None:
        """Take no lapsed lease for a loss in the next seconds: the store was away for all."""
        self._excused_until = self._clock.monotonic() + EXCUSED.total_seconds()

    async def take_back(self) -> bool:
        """Queue the jobs of dead workers again, once a second; tell whether there was any.

        Raises:
            StoreUnavailable: the store is away.
        """
        self._excuse_if_late()
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK_EVERY.total_seconds():
            return False
        self._looked_at = now
        leases = self._store.leases
        others = await self._others()
        taken = []
        if dead := self._signs.dead(others):
            taken += await leases.take_back(_NEVER_LAPSED, dead, self._lost)
        if now >= self._excused_until:
            taken += await leases.take_back(self._clock.now(), (), self._lost)
        for job in taken:
            _log.warning("the worker of job %s was lost; it is %s now", job.id, job.state)
        self._signs.sweep(others)
        return bool(taken)

    def _excuse_if_late(self) -> None:
        now = self._clock.now()  # goes on while a machine sleeps, which the other clock does not
        late = self._came_at is not None and now - self._came_at > LATE
        if late and not self._late:  # else a process that is always slow would take nothing back
            self.excuse()
        self._came_at, self._late = now, late

    async def is_nobodys(self, lease: timedelta) -> bool:
        """Tell whether no lease is held that has to be waited for.

        Those of dead workers are taken back. A worker of whom nothing can be told may be
        gone: its leases lapse if it is.
        """
        holders = await self._others()
        now, known = self._clock.monotonic(), self._signs.known(holders)
        if self._signs.dead(holders) or (holders and now < self._excused_until):
            return False
        strangers = holders - known
        self._strangers = {w: self._strangers.get(w, now) for w in strangers}
        return all(now - since > lease.total_seconds() for since in self._strangers.values())

    def is_dead(self, worker: str) -> bool:
        """Tell whether *worker* ran and does no more, as far as that can be told."""
        return worker in self._signs.dead({worker})

    async def _others(self) -> set[str]:
        return set(await self._store.leases.holders()) - {self._name}

    def _lost(self, job: Job) -> tuple[Job, Event]:
        """Return a job whose worker is gone, or was stopped longer than its leases last.

        A child that ran it is not blamed: only its parent knows whether it hung.
        """
        return job.lost(self._clock.now(), actor=f"worker:{self._name}", in_child=False)
