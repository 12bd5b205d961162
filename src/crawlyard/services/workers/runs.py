"""Runs of the jobs in a worker's slots, each in this process or in a child."""

import asyncio
import logging
from collections.abc import Callable, Iterator

from crawlyard.about import VERSION
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Claim, Lease, Order
from crawlyard.engine.hosts.rate_limiter import MOST_REPORTED
from crawlyard.engine.render.process import ProcessUsage
from crawlyard.errors import StoreUnavailable, Unavailable
from crawlyard.services.workers.isolation import IsolatedRun, Isolation, Run
from crawlyard.services.workers.leased_moves import yield_to
from crawlyard.services.workers.run import JobRun, WorkerContext
from crawlyard.services.workers.scheduled_runs import ScheduledRuns

_log = logging.getLogger(__name__)


class Runs:
    """The runs of one worker.

    Without *isolation*, all jobs run in this process. *wake* is called when a slot becomes free,
    *fail* with an error if no child process can be started any more.
    """

    def __init__(
        self,
        context: WorkerContext,
        isolation: Isolation | None,
        scheduled: ScheduledRuns,
        shutdown_s: float,
        *,
        wake: Callable[[], None],
        fail: Callable[[Unavailable], None],
    ) -> None:
        self._context = context
        self._isolation = isolation
        self._scheduled = scheduled
        self._shutdown_s = shutdown_s  # for requests in flight once the worker stops
        self._wake, self._fail = wake, fail
        self._draining = False
        self._failure: BaseException | None = None
        self._in_use: Isolation | None = None  # set with the first isolated job
        self._runs: dict[asyncio.Task[None], Run] = {}
        self._unreleased: list[Lease] = []  # of runs that ended without access to the store

    def __iter__(self) -> Iterator[Run]:
        """Iterate over the runs at the time of the call."""
        return iter(tuple(self._runs.values()))

    def __len__(self) -> int:
        """Return how many slots are taken."""
        return len(self._runs)

    @property
    def busy(self) -> bool:
        """True while a job runs or has ended with work left, such as a lease to release."""
        return bool(self._runs or self._unreleased or self._scheduled.busy)

    def begin(self, claim: Claim) -> None:
        """Start running a claimed job."""
        its = claim.lease
        leases = ((run.lease.job_no, run.lease.shard, run.lease.attempt) for run in self)
        if (its.job_no, its.shard, its.attempt) in leases:
            # two runs must not share a lease: the first goes on with it, or it lapses
            _log.warning("job %s runs here already: a failover lost its claim", its.job_id)
            return
        self._context.counters.began(claim.job, self._context.clock.now())
        run: Run
        if claim.job.isolated and self._isolation is not None:
            run = IsolatedRun(claim, self._context, self._isolation)
            self._in_use = self._isolation
        else:
            run = JobRun(claim, self._context)
        task = asyncio.create_task(run.run(), name=f"job {claim.job.id}")
        self._runs[task] = run
        task.add_done_callback(self._finish)
        if (schedule_id := claim.job.origin.schedule_id) is not None:
            after = self._scheduled.finish
            task.add_done_callback(lambda _: after(schedule_id, compare=not self._draining))
        if self._draining:  # the worker was stopped while it claimed the job
            run.drain(self._shutdown_s)

    def give_up(self, job_id: str, shard: int) -> None:
        """Stop running a preempted job, or a shard of it; what is in flight is still stored."""
        for run in self:
            if run.job_id == job_id and shard in {0, run.lease.shard}:
                run.apply_order(Order.STOP, self._context.clock.now())

    def drain(self, within_s: float | None = None) -> None:
        """Stop all jobs and queue them again; requests in flight get *within_s* seconds.

        Without *within_s*, they get the time that the settings give them.
        """
        self._draining = True
        for run in self:
            run.drain(self._shutdown_s if within_s is None else within_s)

    def kill_children(self) -> None:
        """Kill the child processes of isolated jobs; their leases lapse."""
        for run in self._isolated_runs():
            run.drain(0)

    async def wait(self) -> None:
        """Wait until all jobs have ended, after `drain`."""
        if self._runs:
            await asyncio.wait(self._runs)
        await self._scheduled.close()

    def take_failure(self) -> BaseException | None:
        """Return the error of the last run that failed since the last call."""
        failure, self._failure = self._failure, None
        return failure

    async def release_lost(self) -> None:
        """Requeue jobs let go while the store was unavailable or failed over; none counts as lost.

        Jobs claimed by other workers since are left alone.

        Raises:
            StoreUnavailable: the store is still unavailable.
        """
        while self._unreleased:
            await yield_to(self._context.store, self._context.clock, self._unreleased[0])
            del self._unreleased[0]

    def hosts(self) -> list[HostReport]:
        """Return the host reports of this worker, including its children."""
        hosts = self._context.tools.rate_limiter.reports()
        for run in self._isolated_runs():
            hosts += run.hosts
        return sorted(hosts, key=lambda host: -host.in_flight)[:MOST_REPORTED]

    def children_usage(self) -> ProcessUsage:
        """Return the CPU time and memory used by the child processes of isolated jobs."""
        return ProcessUsage() if self._in_use is None else self._in_use.forks.usage()

    def _isolated_runs(self) -> Iterator[IsolatedRun]:
        return (run for run in self if isinstance(run, IsolatedRun))

    def _finish(self, task: asyncio.Task[None]) -> None:
        run = self._runs.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("job %s was let go: %s", run.job_id, error)
            self._failure = error
        # a lost lease may be ours all the same if a failover has lost checkpoints
        unreleased = isinstance(error, StoreUnavailable) or (error is None and run.is_lost)
        if unreleased and not run.lease.shard:
            self._unreleased.append(run.lease)
        if self._in_use is not None and self._in_use.forks.outdated and not self._draining:
            message = (
                f"another version of Crawlyard was installed beside this one, {VERSION}, which"
                " cannot start child processes any more; start the worker again"
            )
            self._fail(Unavailable(message))
        self._wake()
