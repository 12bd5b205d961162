"""`crawlyard work`: a worker and what runs beside it, until it is stopped."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from msgspec import Struct

from crawlyard.cli import invoke, values
from crawlyard.cli.options import Basics, flag, flat, option
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.core.quantity import counted
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

# help needs neither
with lazily():
    from crawlyard.cli import signals
    from crawlyard.cli.server import metrics, processes
if TYPE_CHECKING:
    from crawlyard.cli.session import LocalSession
    from crawlyard.cli.signals import Interrupts
    from crawlyard.services.workers.worker import Worker
    from crawlyard.yard import Yard

_MOST = 256  # as the setting `jobs`
_CONNECTIONS = 3
"""To Postgres. With the one of its lock a worker has four, so 200 workers have 800."""

_log = logging.getLogger(__name__)

Service: TypeAlias = Callable[[], Coroutine[Any, Any, object]]
"""What runs until it is cancelled."""


Slots = Annotated[
    int | None, option(values.count, "--jobs", "N", "How many jobs at once; else by the settings.")
]
Tags = Annotated[
    list[str] | None,
    option(values.line, "--tag", "TAG", "Take jobs that need it too. Repeatable."),
]
Reserved = Annotated[
    int | None,
    option(values.count, "--reserve-urgent", "N", "Keep so many slots for urgent jobs."),
]
Count = Annotated[
    int | None,
    option(values.count, "--processes", "M", "Run as many workers, a process each; else one."),
]
Drain = Annotated[bool, flag("--drain", text="End when nothing is left to do.")]
MetricsPort = Annotated[
    int | None,
    option(values.port, "--metrics-port", "N", "Show metrics and health there; 0: a free one."),
]
MetricsHost = Annotated[
    str | None,
    option(values.line, "--metrics-host", "ADDR", "Where they are shown; else 127.0.0.1."),
]
NoScheduler = Annotated[bool, flag("--no-scheduler", text="Do not run what schedules make due.")]
NoWebhooks = Annotated[bool, flag("--no-webhooks", text="Do not deliver events to webhooks.")]
NoJanitor = Annotated[bool, flag("--no-janitor", text="Do not delete what has had its time.")]


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
    """Run queued jobs until stopped; Ctrl-C gives them back.

    crawlyard work --jobs 8
    crawlyard work --jobs 16 --processes 4
    crawlyard work --tag eu --tag gpu --reserve-urgent 1
    crawlyard work --drain
    crawlyard work --metrics-port 9701
    crawlyard work --no-scheduler --no-webhooks --no-janitor

    Beside the jobs, it works at bulk operations, fires schedules, delivers to webhooks,
    keeps the store small and indexes the words of pages. Any number of workers may do so.
    With --drain, that is done once, and it ends when no operation is left and no job that it may
    take, now or at its next attempt. It says how many it leaves, and why.
    Jobs that need a tag (--worker-tag) are left to workers that have it. Of several
    processes, the first alone does these things beside; one that dies is started again.
    They show their metrics on ports that follow each other, from --metrics-port on.
    """
    beside = Beside(
        scheduler=not no_scheduler,
        webhooks=not no_webhooks,
        janitor=not no_janitor,
    )
    if metrics_host is not None and metrics_port is None:
        raise Invalid("--metrics-host", "expected --metrics-port with it")
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
    """What a worker does beside its jobs."""

    scheduler: bool = True
    webhooks: bool = True
    janitor: bool = True

    def services(self, yard: "Yard") -> Mapping[str, Service]:
        """Return what is to run, by its name; operations always are, as jobs are."""
        every: tuple[tuple[bool, str, Service], ...] = (
            (self.scheduler, "scheduler", yard.scheduler.run),
            (self.webhooks, "webhooks", yard.deliverer.run),
            (self.janitor, "janitor", yard.janitor.run),
            (self.janitor and yard.settings.search_index, "search index", yard.indexer.run),
            (True, "operations", yard.operations.run),
        )
        return {name: run for is_on, name, run in every if is_on}

    @property
    def any(self) -> bool:
        """Tell whether it does anything that not every worker does."""
        return self.scheduler or self.webhooks or self.janitor

    @property
    def words(self) -> tuple[str, ...]:
        """Return what says so on the command line."""
        switches = (self.scheduler, self.webhooks, self.janitor)
        return tuple(
            word
            for word, is_on in zip(processes.NOTHING_BESIDE, switches, strict=True)
            if not is_on
        )


async def run_worker(
    session: "LocalSession",
    *,
    slots: int | None,
    drain: bool,
    beside: Beside,
    count: int | None = None,
    metrics_address: "metrics.MetricsAddress | None" = None,
) -> int:
    """Run a worker until a signal or, with *drain*, until nothing is left to do.

    With a *count*, as many workers, each in a process of its own.
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
    worker, deadline = session.deadline.of(yard.worker(slots=slots)), session.deadline
    with signals.interrupts(lambda: None, deadline.begin) as stop:
        jobs = counted(slots or session.settings.jobs, "job")
        session.tell(f"worker {worker.id} runs up to {jobs} at once")
        async with metrics.shown(session, worker, metrics_address):
            if drain:
                await _drain(session, worker, beside, stop)
                if not processes.supervised():  # the supervisor reports it, once
                    await _report_pending(session, worker)
            else:
                services = beside.services(yard)
                await run_together(worker.run, services, stop, partial(_let_go, session, worker))
    deadline.begin()  # of the end that all have: what is open is closed
    # SIGTERM is how a worker is meant to be stopped; Ctrl-C breaks off what somebody began
    return stop.exit_code if stop.first is signal.SIGINT else 0


async def _beside_alone(yard: "Yard", beside: Beside) -> None:
    """Run what one worker process of several does beside its jobs, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, run in beside.services(yard).items():
            if name != "operations":  # all of them do that
                group.create_task(run())


async def run_together(
    jobs: Service, services: Mapping[str, Service], stop: "Interrupts", let_go: Callable[[], None]
) -> None:
    """Run *jobs* to their end, and *services* until then.

    At a signal, and when a service fails, *let_go* is called, which makes *jobs* end.

    Raises:
        Exception: that of the service that failed; it is logged as well.
    """
    failures: list[Exception] = []
    async with asyncio.TaskGroup() as group:
        working = group.create_task(jobs(), name="jobs")
        beside = [
            group.create_task(_watched(name, run, failures), name=name)
            for name, run in services.items()
        ]
        beside.append(group.create_task(_stopped(stop)))
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
    """Do what is due now: ticks, operations and jobs, then what is to be told and cleaned.

    What is deleted takes its own webhooks with it, so that all is told before; and what is
    told of a deletion comes after it.
    """
    yard = session.yard
    if beside.scheduler:
        await _unless_stopped(yard.scheduler.round(), stop)
    jobs, let_go = partial(worker.run, drain=True), partial(_let_go, session, worker)
    await run_dry(yard, jobs, stop, let_go, worker.waits, lambda: worker.stopped)
    if worker.stopped:
        return
    if beside.webhooks and stop.first is None:
        await _unless_stopped(yard.deliverer.run(drain=True), stop)
    if beside.janitor and stop.first is None:
        await _unless_stopped(_sweep(session), stop)
    if beside.janitor and beside.webhooks and stop.first is None:
        await _unless_stopped(yard.deliverer.run(drain=True), stop)
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
    """Do operations and *jobs* until there are neither: each may make more of the other.

    *waits* returns what jobs wait for, with ``None`` if any can be taken (`Worker.waits`).
    At a signal, *let_go* is called, which makes *jobs* end. So does an operator, as *stopped*
    tells then.
    """
    operations = yard.operations
    await _unless_stopped(operations.drain(), stop)
    more = True
    while more and stop.first is None:
        # beside: what is asked meanwhile need not wait for the last job
        await run_together(jobs, {"operations": operations.run}, stop, let_go)
        if stopped():
            return
        await _unless_stopped(operations.drain(), stop)
        # an operation may have made some after the worker had seen that there was none
        more = None in await waits()


_REASONS = {
    WaitReason.QUOTA: "a quota",
    WaitReason.WORKER_TAGS: "a worker with other tags",
    WaitReason.SLOT: "a slot that is not reserved for urgent jobs",
    WaitReason.DUE_TIME: "their start time",
}


async def _report_pending(session: "LocalSession", worker: "Worker") -> None:
    """Write how many jobs stay pending, by what they wait for; nothing if there are none."""
    counts = await worker.waits()
    reasons = [f"{name} ({counts[key]:,})" for key, name in _REASONS.items() if key in counts]
    if reasons:
        jobs = counted(sum(counts.values()), "job")
        session.tell(f"left {jobs} pending, waiting for {', '.join(reasons)}")


async def _sweep(session: "LocalSession") -> None:
    """Do what the janitor does, and tell of it if that was anything."""
    swept = await session.yard.janitor.sweep()
    if swept:
        session.tell(str(swept))


async def _unless_stopped(work: Coroutine[Any, Any, object], stop: "Interrupts") -> None:
    """Do *work*, broken off at a signal; not at all if one came before."""
    if stop.first is not None:
        work.close()
        return
    async with asyncio.TaskGroup() as group:
        tasks = group.create_task(work), group.create_task(_stopped(stop))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _watched(name: str, run: Service, failures: list[Exception]) -> None:
    try:
        await run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the jobs are given back first
        _log.exception("the %s has failed, so the worker stops", name)
        failures.append(error)


def _let_go(session: "LocalSession", worker: "Worker") -> None:
    session.tell("stopping; jobs go back to the queue; once more quits at once")
    worker.stop()


async def _stopped(stop: "Interrupts") -> None:
    """Return at a signal, or when the process that supervises this one is gone."""
    watch = asyncio.create_task(_unless_orphaned(stop))
    try:
        while stop.first is None:
            await stop.wait(3600)
    finally:
        watch.cancel()


async def _unless_orphaned(stop: "Interrupts") -> None:
    await processes.orphaned()
    if stop.first is None:
        stop.receive(signal.SIGTERM)
