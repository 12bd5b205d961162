"""`crawlyard work`: a worker and the services beside it, until it is stopped."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from msgspec import Struct

from crawlyard.cli import invoke, values
from crawlyard.cli.options import Basics, flag, flat, option
from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

# help needs none of them, and few instances send pages
with lazily():
    from crawlyard.api import near
    from crawlyard.bridges.firecrawl import documents
    from crawlyard.cli import signals
    from crawlyard.cli.server import metrics, processes
if TYPE_CHECKING:
    from crawlyard.cli.session import LocalSession
    from crawlyard.cli.signals import Interrupts
    from crawlyard.services.workers.worker import Worker
    from crawlyard.yard import Yard

_MOST = 256  # as for the setting `jobs`
_CONNECTIONS = 3
"""Connections to Postgres. With that of its lock, a worker has four, so 200 workers have 800."""

_log = logging.getLogger(__name__)

Service: TypeAlias = Callable[[], Coroutine[Any, Any, object]]
"""Runs until it is cancelled."""


Slots = Annotated[
    int | None, option(values.count, "--jobs", "N", "Concurrent jobs; default from the settings.")
]
Tags = Annotated[
    list[str] | None,
    option(values.line, "--tag", "TAG", "Also take jobs that require TAG. Repeatable."),
]
Reserved = Annotated[
    int | None,
    option(values.count, "--reserve-urgent", "N", "Reserve N slots for urgent jobs."),
]
Count = Annotated[
    int | None,
    option(values.count, "--processes", "M", "Number of worker processes; default one."),
]
Drain = Annotated[bool, flag("--drain", text="Exit when no work is left.")]
MetricsPort = Annotated[
    int | None,
    option(
        values.port,
        "--metrics-port",
        "N",
        "Serve metrics and health on this port; 0: any free port.",
    ),
]
MetricsHost = Annotated[
    str | None,
    option(
        values.line, "--metrics-host", "ADDR", "Address that serves metrics; default 127.0.0.1."
    ),
]
NoScheduler = Annotated[bool, flag("--no-scheduler", text="Do not run schedules.")]
NoWebhooks = Annotated[bool, flag("--no-webhooks", text="Do not deliver webhooks.")]
NoJanitor = Annotated[
    bool, flag("--no-janitor", text="Do not delete expired records or index pages.")
]


@flat()
def work(
    *,
    jobs: Slots = None,
    count: Count = None,
    tag: Tags = None,
    reserve_urgent: Reserved = None,
    drain: Drain = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = None,
    no_scheduler: NoScheduler = False,
    no_webhooks: NoWebhooks = False,
    no_janitor: NoJanitor = False,
    basics: Basics,
) -> None:
    """Run queued jobs until stopped; Ctrl-C returns them to the queue.

    crawlyard work --jobs 8
    crawlyard work --jobs 16 --processes 4
    crawlyard work --tag eu --tag gpu --reserve-urgent 1
    crawlyard work --drain
    crawlyard work --metrics-port 9701
    crawlyard work --no-scheduler --no-webhooks --no-janitor

    A worker also runs schedules and bulk operations, delivers webhooks, deletes expired records
    and indexes pages for search. With --processes, only the first process does this.

    With --drain, the worker exits when it has done all of this once and no job or operation is
    left that it could run, now or after a retry. It lists the jobs that remain, and why.

    Any number of workers can share a database. A job that requires a tag (crawl --worker-tag)
    runs only on workers with that tag. A process that dies is restarted. The processes serve
    their metrics on consecutive ports, starting with --metrics-port.
    """
    beside = Beside(
        scheduler=not no_scheduler,
        webhooks=not no_webhooks,
        janitor=not no_janitor,
    )
    if metrics_host is not None and metrics_port is None:
        raise Invalid("--metrics-host", "requires --metrics-port")
    metrics_address = None
    if metrics_port is not None:
        metrics_address = metrics.MetricsAddress(
            host=metrics_host or metrics.LOOPBACK, port=metrics_port
        )
    doing = partial(
        run_worker,
        slots=jobs,
        drain=drain,
        beside=beside,
        count=count,
        metrics_address=metrics_address,
    )
    flags = {"worker_tags": tag, "reserve_urgent": reserve_urgent}
    invoke.run_here(
        basics, doing, log_level="info", connections=_CONNECTIONS, flags=flags, waits=True
    )


class Beside(Struct, frozen=True, kw_only=True):
    """Services of a worker beside its jobs."""

    scheduler: bool = True
    webhooks: bool = True
    janitor: bool = True

    def services(self, yard: "Yard") -> Mapping[str, Service]:
        """Return the services to run, by name; operations and jobs always run."""
        every: tuple[tuple[bool, str, Service], ...] = (
            (self.scheduler, "scheduler", yard.scheduler.run),
            (self.webhooks, "webhooks", partial(_deliver, yard)),
            (self.janitor, "janitor", yard.janitor.run),
            (self.janitor and yard.settings.search_index, "search index", yard.indexer.run),
            (True, "operations", yard.operations.run),
        )
        return {name: run for is_on, name, run in every if is_on}

    @property
    def any(self) -> bool:
        """True if any optional service is on."""
        return self.scheduler or self.webhooks or self.janitor

    @property
    def words(self) -> tuple[str, ...]:
        """The options that switch services off."""
        switches = (self.scheduler, self.webhooks, self.janitor)
        return tuple(
            word for word, is_on in zip(processes.NO_SERVICES, switches, strict=True) if not is_on
        )


async def _deliver(yard: "Yard", *, drain: bool = False) -> None:
    """Deliver webhooks, with pages as the bridges have them."""
    yard.deliverer.documents = partial(_read_document, yard)
    await yard.deliverer.run(drain=drain)


async def _read_document(
    yard: "Yard", owner: str, job_id: str, page_id: int
) -> Mapping[str, Any] | None:
    surface = near.NearSurface(yard.services, Actor(id=owner))
    return await documents.page_document(surface, job_id, page_id)


async def run_worker(
    session: "LocalSession",
    *,
    slots: int | None,
    drain: bool,
    beside: Beside,
    count: int | None = None,
    metrics_address: "metrics.MetricsAddress | None" = None,
) -> int:
    """Run a worker until a signal or, with *drain*, until no work is left.

    With a *count*, run this many workers, each in its own process.
    """
    if slots is not None and not 1 <= slots <= _MOST:
        raise Invalid("--jobs", f"expected 1 to {_MOST}, got {slots}")
    if count is not None:
        slot_options = () if slots is None else ("--jobs", str(slots))
        own = (*slot_options, *(("--drain",) if drain else ()))
        stand_in = partial(_beside_alone, session.yard, beside)
        alone = stand_in if beside.any and not drain else None
        code = await processes.supervise(session, count, own, beside.words, alone, metrics_address)
        if drain:
            await _report_pending(session, session.yard.worker(slots=slots))
        return code
    yard = session.yard
    worker, deadline = session.deadline.watch(yard.worker(slots=slots)), session.deadline
    with signals.catch_interrupts(lambda: None, deadline.begin) as stop:
        jobs = count_noun(slots or session.settings.jobs, "job")
        session.tell(f"worker {worker.id} runs up to {jobs} at once")
        async with metrics.serve_metrics(session, worker, metrics_address):
            if drain:
                await _drain(session, worker, beside, stop)
                if not processes.is_supervised():  # the supervisor reports it, once
                    await _report_pending(session, worker)
            else:
                services = beside.services(yard)
                await run_together(
                    worker.run, services, stop, partial(_release_jobs, session, worker)
                )
    deadline.begin()  # for the shutdown of everything else
    # SIGTERM is the normal way to stop a worker; Ctrl-C interrupts a command of the user
    return stop.exit_code if stop.first is signal.SIGINT else 0


async def _beside_alone(yard: "Yard", beside: Beside) -> None:
    """Run the services of the first of several worker processes, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, run in beside.services(yard).items():
            if name != "operations":  # all processes run these
                group.create_task(run())


async def run_together(
    jobs: Service, services: Mapping[str, Service], stop: "Interrupts", let_go: Callable[[], None]
) -> None:
    """Run *jobs* to their end, and *services* until then.

    At a signal, or when a service fails, *let_go* is called, which makes *jobs* end.

    Raises:
        Exception: that of the service that failed; it is logged as well.
    """
    failures: list[Exception] = []
    async with asyncio.TaskGroup() as group:
        working = group.create_task(jobs(), name="jobs")
        beside = [
            group.create_task(_run_service(name, run, failures), name=name)
            for name, run in services.items()
        ]
        beside.append(group.create_task(_wait_for_stop(stop)))
        await asyncio.wait((working, *beside), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            let_go()
        for task in beside:
            task.cancel()
    if failures:
        raise failures[0]


async def _drain(
    session: "LocalSession", worker: "Worker", beside: Beside, stop: "Interrupts"
) -> None:
    """Do all due work: ticks, operations and jobs, then deliveries and clean-up.

    Events are delivered first, as deleting a job deletes its webhooks; events of deletions
    are delivered afterwards.
    """
    yard = session.yard
    if beside.scheduler:
        await _unless_stopped(yard.scheduler.round(), stop)
    jobs, let_go = partial(worker.run, drain=True), partial(_release_jobs, session, worker)
    await run_dry(yard, jobs, stop, let_go, worker.waits, lambda: worker.stopped)
    if worker.stopped:
        return
    if beside.webhooks and stop.first is None:
        await _unless_stopped(_deliver(yard, drain=True), stop)
    if beside.janitor and stop.first is None:
        await _unless_stopped(_sweep(session), stop)
    if beside.janitor and beside.webhooks and stop.first is None:
        await _unless_stopped(_deliver(yard, drain=True), stop)
    if beside.janitor and session.settings.search_index and stop.first is None:
        await _unless_stopped(yard.indexer.catch_up(), stop)


async def run_dry(
    yard: "Yard",
    jobs: Service,
    stop: "Interrupts",
    let_go: Callable[[], None],
    waits: Callable[[], Awaitable[Container[object]]],
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Run operations and *jobs* until there are none left: each may create more of the other.

    *waits* returns what jobs wait for, with ``None`` if any can be claimed (`Worker.waits`).
    At a signal, *let_go* is called, which makes *jobs* end. An operator may end them as well;
    *stopped* then returns true.
    """
    operations = yard.operations
    await _unless_stopped(operations.drain(), stop)
    more = True
    while more and stop.first is None:
        # in parallel: an operation need not wait for the last job
        await run_together(jobs, {"operations": operations.run}, stop, let_go)
        if stopped():
            return
        await _unless_stopped(operations.drain(), stop)
        # an operation may have created some after the worker found none
        more = None in await waits()


_REASONS = {
    WaitReason.QUOTA: "a quota",
    WaitReason.WORKER_TAGS: "a worker with other tags",
    WaitReason.SLOT: "a slot that is not reserved for urgent jobs",
    WaitReason.DUE_TIME: "their start time",
}


async def _report_pending(session: "LocalSession", worker: "Worker") -> None:
    """Report the number of pending jobs, by what they wait for; nothing if there are none."""
    counts = await worker.waits()
    reasons = [f"{name} ({counts[key]:,})" for key, name in _REASONS.items() if key in counts]
    if reasons:
        jobs = count_noun(sum(counts.values()), "job")
        session.tell(f"left {jobs} pending, waiting for {', '.join(reasons)}")


async def _sweep(session: "LocalSession") -> None:
    """Run the janitor once, and report deletions, if any."""
    swept = await session.yard.janitor.sweep()
    if swept:
        session.tell(str(swept))


async def _unless_stopped(work: Coroutine[Any, Any, object], stop: "Interrupts") -> None:
    """Run *work* until a signal; skip it if there was one before."""
    if stop.first is not None:
        work.close()
        return
    async with asyncio.TaskGroup() as group:
        tasks = group.create_task(work), group.create_task(_wait_for_stop(stop))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _run_service(name: str, run: Service, failures: list[Exception]) -> None:
    try:
        await run()
    except Exception as error:  # noqa: BLE001 - after any error, the jobs are released first
        _log.exception("the %s failed; stopping the worker", name)
        failures.append(error)


def _release_jobs(session: "LocalSession", worker: "Worker") -> None:
    session.tell("stopping; jobs return to the queue; press Ctrl-C again to quit at once")
    worker.stop()


async def _wait_for_stop(stop: "Interrupts") -> None:
    """Return at a signal, or when the supervisor of this process is gone."""
    watch = asyncio.create_task(_unless_orphaned(stop))
    try:
        while stop.first is None:
            await stop.wait(3600)
    finally:
        watch.cancel()


async def _unless_orphaned(stop: "Interrupts") -> None:
    await processes.wait_for_parent_end()
    if stop.first is None:
        stop.receive(signal.SIGTERM)
