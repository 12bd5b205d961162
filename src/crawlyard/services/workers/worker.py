"""Worker: claims jobs in queue order and runs several at once."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from crawlyard.about import VERSION
from crawlyard.clock import Clock
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.core.workers.status import WorkerReport, WorkerWish
from crawlyard.errors import SchemaMismatch, StoreUnavailable, Unavailable
from crawlyard.ids import new_id
from crawlyard.messaging.dispatcher import Dispatcher, WakeSignal
from crawlyard.services.workers.claiming import Claiming, ClaimRules
from crawlyard.services.workers.completion import Completion
from crawlyard.services.workers.isolation import Isolation
from crawlyard.services.workers.liveness import Liveness
from crawlyard.services.workers.order_watch import watch_orders
from crawlyard.services.workers.permit import PermitKeeper
from crawlyard.services.workers.reclaim import Reclaimer
from crawlyard.services.workers.reporting import Reporter
from crawlyard.services.workers.run import WorkerContext
from crawlyard.services.workers.runs import Runs
from crawlyard.services.workers.scheduled_runs import ScheduledRuns
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


async def wait_until_outdated(store: Store, clock: Clock) -> SchemaMismatch:
    """Wait until the schema is newer than this program, and return the error that says so."""
    while True:
        await clock.sleep(_CHECK_EVERY)
        try:
            await store.check()
        except SchemaMismatch as error:
            return error
        except StoreUnavailable:
            continue


async def _until_outdated(context: WorkerContext, fail: Callable[[Unavailable], None]) -> None:
    """Fail when the schema is newer than this program, which could write wrong data."""
    fail(await wait_until_outdated(context.store, context.clock))


class LoopState(Struct):
    """State of a worker's loop."""

    began_at: datetime
    wake_signal: WakeSignal | None = None  # set while it runs
    stopping: bool = False
    quiet: bool = False  # an operator wants it to claim nothing
    error: Unavailable | None = None  # why it stops by itself
    unavailable_since: float | None = None  # the store, on the monotonic clock
    round_at: float | None = None  # of the last round that reached the store, likewise


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
        store, clock, measures = context.store, context.clock, context.measures
        self.id = name
        self._context, self._dispatcher = context, dispatcher
        self._liveness, self._rules = liveness, rules
        self._state = LoopState(clock.now())
        scheduled, wake = ScheduledRuns(run_over, compare, self._wake), self._wake
        self._runs = Runs(context, isolation, scheduled, shutdown_s, wake=wake, fail=self._fail)
        self._permit = PermitKeeper(context, liveness, self._runs, wake)
        self._reclaimer = Reclaimer(name, store, clock, liveness, measures.took_over)
        self._completion = Completion(store, clock, rules, self._reclaimer)
        self._claiming = Claiming(
            name,
            store,
            clock,
            rules,
            free=self._free,
            begin=self._runs.begin,
            give_up=self._runs.give_up,
            took=measures.claims,
        )
        self.on_stop: Callable[[], object] = lambda: None
        """Called once, when the worker begins to stop; `run` returns when it has stopped."""

    def stop(self) -> None:
        """Stop claiming, give requests in flight `shutdown_s` seconds, then release the leases."""
        if not self._state.stopping:
            self._state.stopping = True
            self.on_stop()
        self._runs.drain()
        self._wake()

    def kill_children(self) -> None:
        """Kill the child processes of isolated jobs; their leases lapse."""
        self._runs.kill_children()

    @property
    def stopped(self) -> bool:
        """True once `stop` was called."""
        return self._state.stopping

    @property
    def looks(self) -> bool:
        """True if the worker polls for work, or did so a moment ago, even while draining."""
        state, now = self._state, self._context.clock.monotonic()
        lately = state.round_at is not None and now - state.round_at <= _LOOKS_WITHIN_S
        return lately and state.unavailable_since is None and not state.stopping

    async def waits(self) -> Mapping[WaitReason | None, int]:
        """Return the waiting reasons of pending jobs, from `QueueStore.waits` for this worker."""
        return await self._completion.waits()

    async def run(self, *, drain: bool = False) -> None:
        """Run jobs until `stop`.

        With *drain*, return once there is no pending job that this worker may claim, now or at its
        next attempt, and no job leased to a dead worker. A single-job worker returns when its job
        has ended, was paused by an operator, or is held by another worker.

        Raises:
            SchemaMismatch: a newer Crawlyard has changed the store; the jobs were released.
            Unavailable: another version was installed meanwhile, and an isolated job needs a child
                process of this one; the jobs were released.
            StoreUnavailable: the store of a single-job worker was unavailable for too long.
        """
        context, runs, workers = self._context, self._runs, self._context.store.workers
        context.permit.good = self._liveness.holding
        reporter = Reporter(
            self.id, workers, runs.hosts, context.counters, context.clock, runs.children_usage
        )
        beside = (
            asyncio.create_task(watch_orders(context, lambda: tuple(runs))),
            asyncio.create_task(reporter.run(self._report, self._apply)),
            asyncio.create_task(_until_outdated(context, self._fail)),
        )
        try:
            async with (
                self._liveness.presence(self._check_presence),
                self._dispatcher.wake_signal(self._rules.listener(self.id)) as wake_signal,
            ):
                self._state.wake_signal = wake_signal
                self._check_presence()
                await self._rounds(wake_signal, drain=drain)
        finally:
            self._state.wake_signal = None
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await reporter.leave()
        if self._state.error is not None:
            raise self._state.error

    async def _rounds(self, wake_signal: WakeSignal, *, drain: bool) -> None:
        """Poll for work on every wake-up; at the end, wait for the running jobs."""
        try:
            while not self._state.stopping and not await self._round(drain=drain):
                free = self._free()
                least = self._rules.least(free) if free else None
                await wake_signal.wait(POLL_EVERY, least=least)
        except asyncio.CancelledError:
            self.stop()
            self._runs.drain(0)
            raise
        finally:
            await self._runs.wait()

    async def _round(self, *, drain: bool) -> bool:
        """Claim what can be claimed; return whether this worker has nothing left to do."""
        state, clock, runs = self._state, self._context.clock, self._runs
        try:
            await runs.release_lost()
            await self._claiming.fill()  # first, as a new job should start in milliseconds
            if await self._reclaimer.take_back():
                await self._claiming.fill()
            idle = not runs.busy
            is_done = idle and await self._completion.is_reached(runs.take_failure(), drain=drain)
        except StoreUnavailable as error:
            now = clock.monotonic()
            if state.unavailable_since is None:
                state.unavailable_since = now
            self._reclaimer.excuse()
            alone = self._rules.only is not None and not len(runs)
            if alone and now - state.unavailable_since >= PATIENCE_ALONE_S:
                raise
            _log.warning("the store is unavailable, retrying: %s", error)
            await clock.sleep(_RETRY_EVERY)
            return False
        state.unavailable_since, state.round_at = None, clock.monotonic()
        return is_done

    def _fail(self, error: Unavailable) -> None:
        """Stop, and raise *error* once the jobs have been released."""
        self._state.error = error
        _log.error("stopping this worker: %s", error)
        self.stop()

    def _apply(self, wish: WorkerWish) -> bool:
        """Apply an operator's wish; return whether it is new. A stop cannot be undone."""
        state, quiet = self._state, wish is WorkerWish.QUIET
        news = (not state.stopping and wish is WorkerWish.STOP) or state.quiet != quiet
        if news:
            _log.info("an operator wants this worker to %s", wish or "go on")
            state.quiet = quiet
            if wish is WorkerWish.STOP:
                self.stop()
            else:
                self._wake()
        return news

    def _wake(self) -> None:
        if self._state.wake_signal is not None:
            self._state.wake_signal.wake()

    def _check_presence(self) -> None:
        """Look for dead workers at once, and check that others can see this one alive."""
        self._reclaimer.hasten()
        self._permit.update()
        self._wake()

    def _free(self) -> int | None:
        """Return how many slots are free, ``None`` while it claims nothing."""
        if self._state.stopping or self._state.quiet or not self._context.permit.good:
            return None
        return max(0, self._rules.slots - len(self._runs))

    def _report(self) -> WorkerReport:
        """Return this worker's report without the measurements."""
        rules, state, renderers = self._rules, self._state, self._context.tools.renderers
        return WorkerReport(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            slots=rules.slots,
            reserved=rules.reserved,
            tags=tuple(sorted(rules.tags)),
            browsers=renderers.installed() if renderers is not None else (),
            running=tuple(run.job_id for run in self._runs),
            quiet=state.quiet,
            stopping=state.stopping,
            started_at=state.began_at,
            beat_at=self._context.clock.now(),
        )
