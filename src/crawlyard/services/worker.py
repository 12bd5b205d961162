"""A worker: claims jobs in the order of the queue and runs several at once."""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crawlyard.core.checkpoint import Claim
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.dispatch.base import Dispatcher
from crawlyard.errors import NotFound, StoreUnavailable
from crawlyard.ids import new_id
from crawlyard.services.isolation import IsolatedRun, Isolation
from crawlyard.services.presence import Presence
from crawlyard.services.reporting import Reporter, Standing
from crawlyard.services.run import JobRun, Workshop, watch_orders

ORDERS_EVERY = timedelta(milliseconds=250)
POLL_EVERY = timedelta(seconds=1)  # for what no wake-up told us of
_RETRY_EVERY = timedelta(seconds=1)  # while the store is away
PATIENCE_ALONE_S = 5.0
"""A worker for one job gives up a store that is away for longer, while nothing runs."""

_NEVER_LAPSED = datetime(1970, 1, 2, tzinfo=UTC)  # no lease ends before

_log = logging.getLogger(__name__)


def worker_id() -> str:
    """Return a new name for a worker of this process: host, pid, and what makes it unique."""
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{new_id()[-6:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works."""

    slots: int
    lease: timedelta
    shutdown_s: float
    only: str | None = None  # takes this job and no other
    run_over: Callable[[], None] | None = None  # called when a run of a schedule's job is over


class Worker:
    """Runs jobs until it is stopped.

    Several workers on one store never run a job at the same time. A worker that dies
    is noticed by the others: at once on the same host, else when its leases lapse.
    """

    def __init__(
        self,
        shop: Workshop,
        dispatcher: Dispatcher,
        presence: Presence | None,
        isolation: Isolation | None,
        options: WorkerOptions,
        name: str,
    ) -> None:
        self.id = name
        self._shop = shop
        self._dispatcher = dispatcher
        self._presence = presence
        self._isolation = isolation
        self._options = options
        self._runs: dict[asyncio.Task[None], JobRun | IsolatedRun] = {}
        self._stopping = False
        self._looked_at = -POLL_EVERY.total_seconds()
        self._strangers: dict[str, float] = {}  # holders elsewhere, and since when we know
        self._failure: BaseException | None = None
        self._away_since: float | None = None

    def stop(self) -> None:
        """Claim no more; requests in flight get a few seconds, then leases are given back."""
        self._stopping = True
        for run in self._runs.values():
            run.drain(self._options.shutdown_s)
        self._dispatcher.announce(self._shop.clock.now())

    def holds(self, job_id: str) -> bool:
        """Tell whether this worker runs that job now."""
        return any(run.job_id == job_id for run in self._runs.values())

    async def run(self, *, drain: bool = False) -> None:
        """Run jobs until `stop`.

        With *drain*, until no job is pending, waits for its due time, or is leased to a
        worker that is gone. A worker for one job returns when that job has ended, is
        held by an operator, or by another worker.
        """
        shop = self._shop
        reporter = Reporter(self.id, shop.store.workers, shop.tools.gate, shop.deeds, shop.clock)
        beside = (
            asyncio.create_task(watch_orders(shop, self._direct, ORDERS_EVERY)),
            asyncio.create_task(reporter.run(self._standing)),
        )
        try:
            if self._presence is None:
                await self._work(drain=drain)
            else:
                with self._presence:
                    await self._work(drain=drain)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await reporter.leave()

    def _standing(self) -> Standing:
        """Return what this worker is at."""
        running = [run.job_id for run in self._runs.values()]
        return Standing(slots=self._options.slots, running=running, stopping=self._stopping)

    def _direct(self) -> list[JobRun]:
        """Return the jobs that run in this process; a child reads its orders itself."""
        return [run for run in self._runs.values() if isinstance(run, JobRun)]

    async def _work(self, *, drain: bool) -> None:
        try:
            while not self._stopping:
                if await self._look(drain=drain):
                    break
                await self._dispatcher.wait(POLL_EVERY)
        except asyncio.CancelledError:
            self._stopping = True
            for run in self._runs.values():
                run.drain(0)
            raise
        finally:
            if self._runs:
                await asyncio.wait(self._runs)

    async def _look(self, *, drain: bool) -> bool:
        """Take what there is to take, and tell whether this worker is through."""
        try:
            await self._take_back()
            await self._fill()
            through = not self._runs and await self._through(drain=drain)
        except StoreUnavailable as error:
            now = self._shop.clock.monotonic()
            self._away_since = now if self._away_since is None else self._away_since
            alone = self._options.only is not None and not self._runs
            if alone and now - self._away_since >= PATIENCE_ALONE_S:
                raise
            _log.warning("the store is away, trying again: %s", error)
            await self._shop.clock.sleep(_RETRY_EVERY)
            return False
        self._away_since = None
        return through

    async def _fill(self) -> None:
        """Claim jobs for the free slots."""
        options, now = self._options, self._shop.clock.now
        while len(self._runs) < options.slots and not self._stopping:
            claiming = asyncio.ensure_future(
                self._shop.store.leases.claim(self.id, now(), options.lease, options.only)
            )
            try:
                claim = await asyncio.shield(claiming)
            except asyncio.CancelledError:
                if (claim := await claiming) is not None:
                    self._begin(claim)  # it is ours already: it must be given back
                raise
            if claim is None:
                return
            self._begin(claim)

    def _begin(self, claim: Claim) -> None:
        self._shop.deeds.began(claim.job, self._shop.clock.now())
        run: JobRun | IsolatedRun
        if claim.job.isolated and self._isolation is not None:
            run = IsolatedRun(claim, self._shop, self._isolation)
        else:
            run = JobRun(claim, self._shop)
        task = asyncio.create_task(run.run(), name=f"job {claim.job.id}")
        self._runs[task] = run
        task.add_done_callback(self._ended)
        if claim.job.origin.schedule_id is not None and self._options.run_over is not None:
            run_over = self._options.run_over
            task.add_done_callback(lambda _: run_over())
        if self._stopping:  # while it was claimed
            run.drain(self._options.shutdown_s)

    def _ended(self, task: asyncio.Task[None]) -> None:
        run = self._runs.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("job %s was let go: %s", run.job_id, error)
            self._failure = error
        self._dispatcher.announce(self._shop.clock.now())  # a slot is free

    async def _take_back(self) -> None:
        """Queue the jobs of dead workers again, once a second."""
        now = self._shop.clock.monotonic()
        if now - self._looked_at < POLL_EVERY.total_seconds():
            return
        self._looked_at = now
        leases = self._shop.store.leases
        others = set(await leases.holders()) - {self.id}
        taken = []
        if dead := self._dead(others):
            taken += await leases.take_back(_NEVER_LAPSED, dead, self._lost)
        taken += await leases.take_back(self._shop.clock.now(), (), self._lapsed)
        for job in taken:
            _log.warning("the worker of job %s was lost; it is %s now", job.id, job.state)
        if self._presence is not None:
            self._presence.sweep(others)

    def _lost(self, job: Job) -> tuple[Job, Event]:
        """Return a job whose worker is dead: if a child ran it, that died with its parent."""
        return job.lost(self._shop.clock.now(), actor=f"worker:{self.id}", in_child=False)

    def _lapsed(self, job: Job) -> tuple[Job, Event]:
        """Return a job that made no checkpoint in time: if a child ran it, that hangs."""
        now = self._shop.clock.now()
        actor, chance = f"worker:{self.id}", random.random()
        return job.lost(now, actor=actor, in_child=job.isolated, chance=chance)

    async def _through(self, *, drain: bool) -> bool:
        failure, self._failure = self._failure, None
        if self._options.only is not None:
            if failure is not None:
                raise failure
            return await self._only_is_over(self._options.only)
        return drain and await self._is_drained()

    async def _only_is_over(self, job_id: str) -> bool:
        try:
            standing = await self._shop.store.jobs.get(job_id)
        except NotFound:
            return True
        if standing.job.state is State.RUNNING:
            holder = standing.shard.worker
            return holder is not None and holder not in self._dead({holder})
        return standing.job.state is not State.PENDING

    async def _is_drained(self) -> bool:
        counts = await self._shop.store.jobs.counts()
        if any(state is State.PENDING for state, _ in counts):
            return False
        holders = set(await self._shop.store.leases.holders()) - {self.id}
        if self._dead(holders):
            return False
        # a worker of another host may be gone: its leases lapse if it is
        now, known = self._shop.clock.monotonic(), self._known(holders)
        strangers = holders - known
        self._strangers = {w: self._strangers.get(w, now) for w in strangers}
        lease_s = self._options.lease.total_seconds()
        return all(now - since > lease_s for since in self._strangers.values())

    def _dead(self, workers: Collection[str]) -> set[str]:
        return self._presence.dead(workers) if self._presence is not None else set()

    def _known(self, workers: Collection[str]) -> set[str]:
        return self._presence.known(workers) if self._presence is not None else set()
