"""A worker: claims jobs in the order of the queue and runs several at once."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from datetime import timedelta

from msgspec import Struct

from crawlyard.core.jobs.checkpoint import Claim, Lease, Order
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.watch import WorkerWish
from crawlyard.dispatch.base import Bell, Dispatcher, Listener
from crawlyard.errors import NotFound, SchemaMismatch, StoreUnavailable
from crawlyard.ids import new_id
from crawlyard.services.worker.claiming import Claiming, ClaimRules, listener_of
from crawlyard.services.worker.isolation import IsolatedRun, Isolation
from crawlyard.services.worker.lease_guard import ORDERS_EVERY
from crawlyard.services.worker.liveness import Liveness
from crawlyard.services.worker.order_watch import read_orders, watch_orders
from crawlyard.services.worker.reclaim import Reclaimer
from crawlyard.services.worker.reporting import Reporter, WorkerStanding
from crawlyard.services.worker.run import JobRun, WorkerContext, yield_to
from crawlyard.services.worker.schema_watch import outdated
from crawlyard.services.worker.shard_run import run_of

POLL_EVERY = timedelta(seconds=1)  # for what no wake-up told us of
_RETRY_EVERY = timedelta(seconds=1)  # while the store is away
PATIENCE_ALONE_S = 5.0
"""A worker for one job gives up a store that is away for longer, while nothing runs."""

_log = logging.getLogger(__name__)


def worker_id() -> str:
    """Return a new name for a worker of this process: host, pid, and what makes it unique."""
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{new_id()[-6:]}"


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """How a worker works."""

    rules: ClaimRules
    shutdown_s: float
    run_over: Callable[[], None] | None = None  # called when a run of a schedule's job is over


class Worker:
    """Runs jobs until it is stopped.

    Several workers on one store never run a job at the same time. A worker that dies
    is noticed by the others: at once where they see its lock, on the same host or the same
    Postgres, else when its leases lapse.
    """

    def __init__(
        self,
        shop: WorkerContext,
        dispatcher: Dispatcher,
        signs: Liveness,
        isolation: Isolation | None,
        options: WorkerOptions,
        name: str,
    ) -> None:
        self.id = name
        self._shop = shop
        self._dispatcher = dispatcher
        self._signs = signs
        self._bell: Bell | None = None  # while it runs
        self._rescue = Reclaimer(name, shop.store, shop.clock, signs)
        self._isolation = isolation
        self._options = options
        self._rules = options.rules
        self._claiming = Claiming(name, shop.store, shop.clock, options.rules)
        self._runs: dict[asyncio.Task[None], JobRun | IsolatedRun] = {}
        self._stopping = False
        self._quiet = False
        self._outdated: SchemaMismatch | None = None
        self._regaining: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._left: list[Lease] = []  # of runs that ended for want of the store
        self._away_since: float | None = None
        self.on_stop: Callable[[], object] = lambda: None
        """Called once, when it begins to stop; `run` returns when it has stopped."""

    def stop(self) -> None:
        """Claim no more; requests in flight get a few seconds, then leases are given back."""
        self._begin_to_stop(self._options.shutdown_s)
        self._wake()

    def _begin_to_stop(self, within_s: float) -> None:
        if not self._stopping:
            self._stopping = True
            self.on_stop()
        for run in self._runs.values():
            run.drain(within_s)

    def kill_children(self) -> None:
        """Kill the processes of jobs that run alone; their leases lapse."""
        for run in tuple(self._runs.values()):
            if isinstance(run, IsolatedRun):
                run.drain(0)

    @property
    def stopped(self) -> bool:
        """Tell whether it was told to stop."""
        return self._stopping

    def heed(self, wish: WorkerWish) -> bool:
        """Do as an operator wishes; tell whether that is news. Who stops does not begin again."""
        news = (not self._stopping and wish is WorkerWish.STOP) or self._quiet != (
            wish is WorkerWish.QUIET
        )
        if news:
            _log.info("an operator wants this worker to %s", wish or "go on")
            self._quiet = wish is WorkerWish.QUIET
            if wish is WorkerWish.STOP:
                self.stop()
            else:
                self._wake()
        return news

    def holds(self, job_id: str) -> bool:
        """Tell whether this worker runs that job now."""
        return any(run.job_id == job_id for run in self._runs.values())

    async def run(self, *, drain: bool = False) -> None:
        """Run jobs until `stop`.

        With *drain*, until no job is pending, waits for its due time, or is leased to a
        worker that is gone. A worker for one job returns when that job has ended, is
        held by an operator, or by another worker.

        Raises:
            SchemaMismatch: a newer Crawlyard has changed the store; the jobs were given back.
            StoreUnavailable: a worker for one job found the store away for long.
        """
        shop = self._shop
        shop.licence.good = self._signs.holding
        reporter = Reporter(self.id, shop.store.workers, shop.tools.gate, shop.deeds, shop.clock)
        beside = (
            asyncio.create_task(watch_orders(shop, self._direct)),
            asyncio.create_task(reporter.run(self._standing, self.heed)),
            asyncio.create_task(self._until_outdated()),
        )
        try:
            async with (
                self._signs.shown(self._changed),
                self._dispatcher.bell(self._listener) as bell,
            ):
                self._bell = bell
                self._changed()
                await self._work(bell, drain=drain)
        finally:
            self._bell = None
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await reporter.leave()
        if self._outdated is not None:
            raise self._outdated

    async def _until_outdated(self) -> None:
        """Stop when a newer version has changed the tables: it knows what to write, we do not."""
        self._outdated = await outdated(self._shop.store, self._shop.clock)
        _log.error("this worker stops: %s", self._outdated)
        self.stop()

    def _standing(self) -> WorkerStanding:
        """Return what this worker is at."""
        running = [run.job_id for run in self._runs.values()]
        return WorkerStanding(
            slots=self._rules.slots,
            reserved=self._rules.reserved,
            tags=tuple(sorted(self._rules.tags)),
            running=running,
            quiet=self._quiet,
            stopping=self._stopping,
        )

    def _direct(self) -> list[JobRun]:
        """Return the jobs that run in this process; a child reads its orders itself."""
        return [run for run in self._runs.values() if isinstance(run, JobRun)]

    @property
    def _listener(self) -> Listener:
        return listener_of(self.id, self._shop.store, self._shop.clock, self._rules)

    @property
    def _least(self) -> Priority | None:
        """Return the lowest level of which it takes jobs by now; ``None``: it takes none."""
        free = self._rules.slots - self.taken
        return self._rules.least(free) if self.takes_more and free > 0 else None

    def _wake(self) -> None:
        if self._bell is not None:
            self._bell.ring()

    def _changed(self) -> None:
        """Look at once, as somebody has died; send nothing while others may think we have."""
        self._rescue.hasten()
        if not self._signs.holding:
            self._license(good=False)
        elif not self._shop.licence.good and (self._regaining is None or self._regaining.done()):
            self._regaining = asyncio.create_task(self._regain())
        self._wake()

    async def _regain(self) -> None:
        """Send again, now that others see us: but not for jobs that they took meanwhile."""
        while self._signs.holding:
            try:
                await read_orders(self._shop, self._direct())
            except StoreUnavailable:
                await self._shop.clock.sleep(ORDERS_EVERY)
                continue
            if self._signs.holding:
                self._license(good=True)
            return

    def _license(self, *, good: bool) -> None:
        if self._shop.licence.good == good:
            return
        self._shop.licence.good = good
        if not good:
            _log.warning("this worker's lock is lost: no request is sent until it is held again")
        elif self._runs:
            _log.warning("this worker's lock is held again")
        for run in self._runs.values():
            run.hold(not good)
        if good:
            self._wake()  # it may claim now: it has looked before, perhaps, in vain

    async def _work(self, bell: Bell, *, drain: bool) -> None:
        try:
            while not self._stopping:
                if await self._look(drain=drain):
                    break
                await bell.wait(POLL_EVERY, least=self._least)
        except asyncio.CancelledError:
            self._begin_to_stop(0)
            raise
        finally:
            if self._runs:
                await asyncio.wait(self._runs)

    async def _look(self, *, drain: bool) -> bool:
        """Take what there is to take, and tell whether this worker is through."""
        try:
            await self._give_back()
            await self._claiming.fill(self)  # first: who waits for it waits for milliseconds
            if await self._rescue.take_back():
                await self._claiming.fill(self)
            through = not (self._runs or self._left) and await self._through(drain=drain)
        except StoreUnavailable as error:
            now = self._shop.clock.monotonic()
            self._away_since = now if self._away_since is None else self._away_since
            self._rescue.excuse()
            alone = self._rules.only is not None and not self._runs
            if alone and now - self._away_since >= PATIENCE_ALONE_S:
                raise
            _log.warning("the store is away, trying again: %s", error)
            await self._shop.clock.sleep(_RETRY_EVERY)
            return False
        self._away_since = None
        return through

    @property
    def taken(self) -> int:
        """Return how many jobs it runs."""
        return len(self._runs)

    @property
    def takes_more(self) -> bool:
        """Tell whether it claims jobs: not once it stops, while it is quiet, or must not send."""
        return self._shop.licence.good and not (self._stopping or self._quiet)

    def give_up(self, job_id: str, shard: int) -> None:
        """Stop a job that waits again, or a shard of it: what is in flight is still stored."""
        for run in self._direct():
            if run.job_id == job_id and shard in {0, run.lease.shard}:
                run.obey(Order.STOP, self._shop.clock.now())

    def begin(self, claim: Claim) -> None:
        """Run a job that was claimed."""
        self._shop.deeds.began(claim.job, self._shop.clock.now())
        run: JobRun | IsolatedRun
        if claim.job.isolated and self._isolation is not None:
            run = IsolatedRun(claim, self._shop, self._isolation)
        else:
            run = run_of(claim, self._shop)
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
            if isinstance(error, StoreUnavailable) and not run.lease.shard:
                self._left.append(run.lease)
        self._wake()  # a slot is free

    async def _give_back(self) -> None:
        """Queue the jobs again that were let go while the store was away: it is no death."""
        while self._left:
            await yield_to(self._shop, self._left[0])
            del self._left[0]

    async def _through(self, *, drain: bool) -> bool:
        failure, self._failure = self._failure, None
        if self._rules.only is not None:
            if failure is not None:
                raise failure
            return await self._only_is_over(self._rules.only)
        return drain and await self._is_drained()

    async def _only_is_over(self, job_id: str) -> bool:
        try:
            standing = await self._shop.store.jobs.get(job_id)
        except NotFound:
            return True
        if standing.job.state is State.RUNNING:
            holder = standing.shard.worker
            return holder is not None and not self._rescue.is_dead(holder)
        return standing.job.state is not State.PENDING

    async def waits(self) -> bool:
        """Tell whether a job waits that this worker takes, due or not."""
        waiting = self._shop.store.queue.waiting(self._rules.tags, self._rules.least())
        return await waiting > 0

    async def _is_drained(self) -> bool:
        if await self.waits():
            return False
        return await self._rescue.is_nobodys(self._rules.lease)
