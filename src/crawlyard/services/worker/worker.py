"""Worker: claims jobs in queue order and runs several at once."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from crawlyard.about import VERSION
from crawlyard.clock import Clock
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Claim, Lease, Order
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.core.overview.worker_status import WorkerReport, WorkerWish
from crawlyard.dispatch.base import Bell, Dispatcher, Listener
from crawlyard.engine.hosts.gate import MOST_REPORTED
from crawlyard.engine.render.process import Usage
from crawlyard.errors import NotFound, SchemaMismatch, StoreUnavailable, Unavailable
from crawlyard.ids import new_id
from crawlyard.services.worker.claiming import Claiming, ClaimRules, listener_of
from crawlyard.services.worker.isolation import IsolatedRun, Isolation
from crawlyard.services.worker.lease_guard import ORDERS_EVERY
from crawlyard.services.worker.leased_moves import yield_to
from crawlyard.services.worker.liveness import Liveness
from crawlyard.services.worker.order_watch import read_orders, watch_orders
from crawlyard.services.worker.reclaim import Reclaimer
from crawlyard.services.worker.reporting import Reporter
from crawlyard.services.worker.run import JobRun, WorkerContext
from crawlyard.store.store import Store

POLL_EVERY = timedelta(seconds=1)  # finds work that no wake-up announced
_RETRY_EVERY = timedelta(seconds=1)  # while the store is unavailable
_CHECK_EVERY = timedelta(seconds=2)  # of the schema's version
_LOOKS_WITHIN_S = 10.0  # of an overloaded store, a look takes seconds
PATIENCE_ALONE_S = 5.0
"""How long a single-job worker with nothing running waits for an unavailable store."""

_log = logging.getLogger(__name__)


def worker_id() -> str:
    """Return a new name for a worker of this process: host, pid and a unique suffix."""
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{new_id()[-6:]}"


async def outdated(store: Store, clock: Clock) -> SchemaMismatch:
    """Wait until the schema is newer than this program, and return the error that says so."""
    while True:
        await clock.sleep(_CHECK_EVERY)
        try:
            await store.check()
        except SchemaMismatch as error:
            return error
        except StoreUnavailable:
            continue


class Worker:
    """Runs jobs until it is stopped.

    Workers that share a store never run the same job at the same time. When a worker dies,
    the others notice: at once where they can see its lock (on the same host or the same
    Postgres), otherwise when its leases lapse.
    """

    def __init__(
        self,
        context: WorkerContext,
        dispatcher: Dispatcher,
        liveness: Liveness,
        isolation: Isolation | None,
        rules: ClaimRules,
        name: str,
        *,
        shutdown_s: float,
        run_over: Callable[[], None],
        compare: Callable[[str], Awaitable[None]],
    ) -> None:
        self.id = name
        self._context = context
        self._store, self._clock = context.store, context.clock
        self._dispatcher = dispatcher
        self._liveness = liveness
        self._bell: Bell | None = None  # set while it runs
        self._reclaimer = Reclaimer(
            name, context.store, context.clock, liveness, context.measures.took_over
        )
        self._isolation = isolation
        self._rules = rules
        self._shutdown_s = shutdown_s  # for requests in flight once the worker stops
        self._run_over = run_over  # called when the run of a scheduled job ends
        self._compare = compare  # the last runs of a schedule, called likewise
        self._comparing: set[asyncio.Task[None]] = set()
        self._claiming = Claiming(
            name,
            context.store,
            context.clock,
            rules,
            free=self._free,
            begin=self._begin,
            give_up=self._give_up,
            took=context.measures.claims,
        )
        self._runs: dict[asyncio.Task[None], JobRun | IsolatedRun] = {}
        self._began_at = context.clock.now()
        self._stopping = False
        self._quiet = False
        self._outdated: Unavailable | None = None
        self._regaining: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._left: list[Lease] = []  # of runs that ended because the store was unavailable
        self._away_since: float | None = None
        self._looked_at: float | None = None  # when it last looked for work, and could
        self.on_stop: Callable[[], object] = lambda: None
        """Called once, when the worker begins to stop; `run` returns when it has stopped."""

    def stop(self) -> None:
        """Stop claiming, give requests in flight `shutdown_s` seconds, then release the leases."""
        self._begin_to_stop(self._shutdown_s)
        self._wake()

    def _begin_to_stop(self, within_s: float) -> None:
        if not self._stopping:
            self._stopping = True
            self.on_stop()
        for run in self._runs.values():
            run.drain(within_s)

    def kill_children(self) -> None:
        """Kill the child processes of isolated jobs; their leases lapse."""
        for run in tuple(self._runs.values()):
            if isinstance(run, IsolatedRun):
                run.drain(0)

    @property
    def stopped(self) -> bool:
        """Return whether the worker was told to stop."""
        return self._stopping

    def heed(self, wish: WorkerWish) -> bool:
        """Apply an operator's wish; return whether it is new. A stop cannot be undone."""
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

    @property
    def looks(self) -> bool:
        """Return whether it looks for work, or did so a moment ago; a quiet worker does too."""
        at = self._looked_at
        lately = at is not None and self._clock.monotonic() - at <= _LOOKS_WITHIN_S
        return lately and self._away_since is None and not self._stopping

    def holds(self, job_id: str) -> bool:
        """Return whether this worker is running the job."""
        return any(run.job_id == job_id for run in self._runs.values())

    async def run(self, *, drain: bool = False) -> None:
        """Run jobs until `stop`.

        With *drain*, return once no pending job is one that this worker may take, now or at its
        next attempt, and none is leased to a dead worker.
        A single-job worker returns when its job has ended, was paused by an operator, or is
        held by another worker.

        Raises:
            SchemaMismatch: a newer Crawlyard has changed the store; the jobs were given back.
            Unavailable: another version was installed meanwhile, and an isolated job needs a child
                process of this one; the jobs were given back.
            StoreUnavailable: the store of a single-job worker was unavailable for too long.
        """
        context = self._context
        context.permit.good = self._liveness.holding
        children = self._isolation.forks.usage if self._isolation is not None else Usage
        reporter = Reporter(
            self.id, self._store.workers, self._hosts, context.counters, self._clock, children
        )
        beside = (
            asyncio.create_task(watch_orders(context, self._all_runs)),
            asyncio.create_task(reporter.run(self._report, self.heed)),
            asyncio.create_task(self._until_outdated()),
        )
        try:
            async with (
                self._liveness.shown(self._changed),
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
        """Stop when the schema is newer than this program, which could write wrong data."""
        self._stop_outdated(await outdated(self._store, self._clock))

    def _stop_outdated(self, error: Unavailable) -> None:
        self._outdated = error
        _log.error("this worker stops: %s", error)
        self.stop()

    def _report(self) -> WorkerReport:
        """Return what this worker reports about itself, apart from what is measured."""
        renderers = self._context.tools.renderers
        return WorkerReport(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            slots=self._rules.slots,
            reserved=self._rules.reserved,
            tags=tuple(sorted(self._rules.tags)),
            browsers=renderers.installed() if renderers is not None else (),
            running=tuple(run.job_id for run in self._runs.values()),
            quiet=self._quiet,
            stopping=self._stopping,
            started_at=self._began_at,
            beat_at=self._clock.now(),
        )

    def _all_runs(self) -> list[JobRun | IsolatedRun]:
        return list(self._runs.values())

    def _hosts(self) -> list[HostReport]:
        """Return what this worker does at hosts, its children included."""
        hosts = self._context.tools.gate.reports()
        for run in self._runs.values():
            if isinstance(run, IsolatedRun):
                hosts += run.hosts
        return sorted(hosts, key=lambda host: -host.in_flight)[:MOST_REPORTED]

    @property
    def _listener(self) -> Listener:
        return listener_of(self.id, self._rules)

    @property
    def _least(self) -> Priority | None:
        """Return the lowest priority level the worker takes now, or ``None`` if it takes no job."""
        free = self._free()
        return self._rules.least(free) if free else None

    def _free(self) -> int | None:
        """Return how many slots are free, ``None`` while it claims nothing."""
        if self._stopping or self._quiet or not self._context.permit.good:
            return None
        return max(0, self._rules.slots - len(self._runs))

    def _wake(self) -> None:
        if self._bell is not None:
            self._bell.ring()

    def _changed(self) -> None:
        """Look for dead workers at once; hold requests while others may think this one dead."""
        self._reclaimer.hasten()
        if not self._liveness.holding:
            self._license(good=False)
        elif not self._context.permit.good and (self._regaining is None or self._regaining.done()):
            self._regaining = asyncio.create_task(self._regain())
        self._wake()

    async def _regain(self) -> None:
        """Resume sending now that others see us alive, but not for jobs they have taken."""
        while self._liveness.holding:
            try:
                await read_orders(self._context, self._all_runs())
            except StoreUnavailable:
                await self._clock.sleep(ORDERS_EVERY)
                continue
            if self._liveness.holding:
                self._license(good=True)
            return

    def _license(self, *, good: bool) -> None:
        if self._context.permit.good == good:
            return
        self._context.permit.good = good
        if not good:
            self._context.tools.gate.forfeit()
            _log.warning("this worker's lock is lost: no request is sent until it is held again")
        elif self._runs:
            _log.warning("this worker's lock is held again")
        for run in self._runs.values():
            run.hold(not good)
        if good:
            self._wake()  # it may claim again, which its last look could not

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
            for task in self._comparing:
                task.cancel()
            await asyncio.gather(*self._comparing, return_exceptions=True)

    async def _look(self, *, drain: bool) -> bool:
        """Claim what can be claimed; return whether this worker has nothing left to do."""
        try:
            await self._give_back()
            await self._claiming.fill()  # first, as a new job should start in milliseconds
            if await self._reclaimer.take_back():
                await self._claiming.fill()
            busy = self._runs or self._left or self._comparing
            through = not busy and await self._through(drain=drain)
        except StoreUnavailable as error:
            now = self._clock.monotonic()
            self._away_since = now if self._away_since is None else self._away_since
            self._reclaimer.excuse()
            alone = self._rules.only is not None and not self._runs
            if alone and now - self._away_since >= PATIENCE_ALONE_S:
                raise
            _log.warning("the store is away, trying again: %s", error)
            await self._clock.sleep(_RETRY_EVERY)
            return False
        self._away_since, self._looked_at = None, self._clock.monotonic()
        return through

    def _give_up(self, job_id: str, shard: int) -> None:
        """Stop running a preempted job, or a shard of it; what is in flight is still stored."""
        for run in self._runs.values():
            if run.job_id == job_id and shard in {0, run.lease.shard}:
                run.obey(Order.STOP, self._clock.now())

    def _begin(self, claim: Claim) -> None:
        """Start running a claimed job."""
        its, runs = claim.lease, self._runs.values()
        held = ((run.lease.job_no, run.lease.shard, run.lease.attempt) for run in runs)
        if (its.job_no, its.shard, its.attempt) in held:
            # two runs must not share a lease: the first goes on with it, or it lapses
            _log.warning("job %s runs here already: a failover lost its claim", its.job_id)
            return
        self._context.counters.began(claim.job, self._clock.now())
        run: JobRun | IsolatedRun
        if claim.job.isolated and self._isolation is not None:
            run = IsolatedRun(claim, self._context, self._isolation)
        else:
            run = JobRun(claim, self._context)
        task = asyncio.create_task(run.run(), name=f"job {claim.job.id}")
        self._runs[task] = run
        task.add_done_callback(self._ended)
        if (schedule_id := claim.job.origin.schedule_id) is not None:
            task.add_done_callback(lambda _: self._scheduled_over(schedule_id))
        if self._stopping:  # the stop came while it was being claimed
            run.drain(self._shutdown_s)

    def _ended(self, task: asyncio.Task[None]) -> None:
        run = self._runs.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("job %s was let go: %s", run.job_id, error)
            self._failure = error
            if isinstance(error, StoreUnavailable) and not run.lease.shard:
                self._left.append(run.lease)
        elif isinstance(run, JobRun) and run.is_lost and not run.lease.shard:
            self._left.append(run.lease)  # ours all the same if a failover has lost checkpoints
        if self._isolation is not None and self._isolation.forks.outdated and not self._stopping:
            message = (
                f"another version of Crawlyard was installed beside this one, {VERSION}, which"
                " cannot start child processes any more; start the worker again"
            )
            self._stop_outdated(Unavailable(message))
        self._wake()  # a slot is free

    def _scheduled_over(self, schedule_id: str) -> None:
        self._run_over()
        if not self._stopping:  # else the next run catches up
            task = asyncio.create_task(self._compared(schedule_id))
            self._comparing.add(task)
            task.add_done_callback(self._comparing.discard)
            task.add_done_callback(lambda _: self._wake())

    async def _compared(self, schedule_id: str) -> None:
        """Find what the last run of a schedule has changed; a failure leaves it to the next."""
        try:
            await self._compare(schedule_id)
        except Exception:  # noqa: BLE001 - it harms no run
            _log.exception("the runs of schedule %s cannot be compared", schedule_id)

    async def _give_back(self) -> None:
        """Requeue jobs let go while the store was unavailable or failed over; none counts as lost.

        Jobs that others have by now are left alone.
        """
        while self._left:
            await yield_to(self._store, self._clock, self._left[0])
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
            standing = await self._store.jobs.get(job_id)
        except NotFound:
            return True
        if standing.job.state is State.RUNNING:
            holder = standing.shard.worker
            return holder is not None and not self._reclaimer.is_dead(holder)
        return standing.job.state is not State.PENDING

    async def waits(self) -> Mapping[WaitReason | None, int]:
        """Return what pending jobs wait for, as `QueueStore.waits` does for this worker."""
        rules, now = self._rules, self._clock.now()
        return await self._store.queue.waits(now, rules.tags, rules.least())

    async def _is_drained(self) -> bool:
        if None in await self.waits():
            return False
        return await self._reclaimer.is_nobodys(self._rules.lease)
