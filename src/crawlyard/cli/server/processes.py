"""Worker processes of one supervisor: started, restarted when they die, stopped together."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from crawlyard.cli.server.deadline import PARENT_S
from crawlyard.cli.server.metrics import MetricsAddress
from crawlyard.cli.session import LocalSession
from crawlyard.cli.signals import catch_interrupts
from crawlyard.config import Settings
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Invalid, StoreUnavailable

MOST_PROCESSES = 64

NO_SERVICES = ("--no-scheduler", "--no-webhooks", "--no-janitor")
"""Options of a worker without services: it only runs jobs and operations."""

ServiceRunner: TypeAlias = Callable[[], Awaitable[object]]
"""Runs the services of the first process here, until it is cancelled."""

SUPERVISOR_VARIABLE = "CRAWLYARD_SUPERVISOR"
"""Environment variable of a worker process: the pid of its supervisor."""

_RESTART_WAITS_S = (1.0, 30.0)
"""Waits before a restart: the first, which doubles with each death, and the longest."""

_STABLE_AFTER_S = 60.0  # a process that lived longer resets the wait
_POLL_EVERY_S = 1.0

_log = logging.getLogger(__name__)


async def supervise(
    session: LocalSession,
    processes: int,
    options: Sequence[str],
    service_options: Sequence[str],
    run_services: ServiceRunner | None = None,
    metrics: MetricsAddress | None = None,
) -> int:
    """Run worker processes until a signal, or until all have exited normally.

    Each process gets *options*. The first one also gets *service_options*, which select the
    services that it runs in addition to jobs and operations. Once an operator has stopped it,
    *run_services* runs these services here until its siblings have ended. Each process serves
    *metrics*, if given.

    Raises:
        Invalid: *processes* is zero or too large.
        SchemaMismatch: a newer Crawlyard has changed the store meanwhile.
    """
    if not 1 <= processes <= MOST_PROCESSES:
        raise Invalid("--processes", f"expected 1 to {MOST_PROCESSES}, got {processes}")
    crew = WorkerProcesses(session)
    session.deadline.before_the_end(crew.kill)
    with catch_interrupts(crew.kill, partial(session.deadline.begin, PARENT_S)) as stop:
        started = count_noun(processes, "worker process", "worker processes")
        session.tell(f"{started}; the first also runs schedules, webhooks and upkeep")
        option_lists = [
            (
                *options,
                *(service_options if index == 0 else NO_SERVICES),
                *(metrics.words(index) if metrics else ()),
            )
            for index in range(processes)
        ]
        task = asyncio.create_task(crew.run(option_lists, run_services))
        task.add_done_callback(lambda _: stop.nudge())
        while not task.done() and stop.first is None:
            await stop.wait(3600)
        if not task.done():
            session.tell("stopping; jobs return to the queue; press Ctrl-C again to quit at once")
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return stop.exit_code if stop.first is signal.SIGINT else 0


class WorkerProcesses:
    """Worker processes that this process starts, restarts and stops."""

    def __init__(self, session: LocalSession) -> None:
        self._session = session
        self._processes: set[Process] = set()

    async def run(
        self, option_lists: Sequence[Sequence[str]], run_services: ServiceRunner | None = None
    ) -> None:
        """Run ``crawlyard work`` with each of *option_lists*, until all processes have ended.

        Once the first has ended, *run_services* runs until its siblings have ended. If cancelled,
        stop all and wait for them.

        Raises:
            SchemaMismatch: as for `keep_running`.
        """
        tasks = [asyncio.create_task(self.keep_running(options)) for options in option_lists]
        try:
            if run_services is not None:
                tasks.append(asyncio.create_task(self._take_over(run_services, *tasks)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def keep_running(self, options: Sequence[str]) -> None:
        """Run a worker process, and restart it when it dies, until it exits normally.

        It exits when an operator stops it, or it has nothing left to do. If it dies soon after
        its start, the wait before the next start gets longer.

        Raises:
            SchemaMismatch: a newer Crawlyard has changed the store: a restart would fail again.
        """
        clock, (first_s, last_s) = self._session.clock, _RESTART_WAITS_S
        wait_s = first_s
        while True:
            began = clock.monotonic()
            async with self._start_process(options) as process:
                code = await process.wait()
            if code == 0:
                return
            if clock.monotonic() - began > _STABLE_AFTER_S:
                wait_s = first_s
            restart = f"restarting in {wait_s:g} s"
            self._session.tell(f"worker process {process.pid} exited with {code}; {restart}")
            with contextlib.suppress(StoreUnavailable):
                await self._session.yard.store.check()
            await asyncio.sleep(wait_s)
            wait_s = min(last_s, 2 * wait_s)

    async def _take_over(
        self,
        run_services: ServiceRunner,
        first: "asyncio.Task[None]",
        *siblings: "asyncio.Task[None]",
    ) -> None:
        """Run the services of the *first* process from its end until the *siblings* have ended."""
        await asyncio.wait((first,))
        if all(task.done() for task in siblings):
            return
        self._session.tell("the first worker process has ended; its services now run here")
        services = asyncio.create_task(self._keep_services_running(run_services))
        try:
            await asyncio.wait(siblings)
        finally:
            services.cancel()
            await asyncio.gather(services, return_exceptions=True)

    async def _keep_services_running(self, run_services: ServiceRunner) -> None:
        wait_s, last_s = _RESTART_WAITS_S
        while True:
            try:
                await run_services()
            except Exception:  # noqa: BLE001 - the workers continue after any error
                _log.exception("background services failed; restarting in %g s", wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(last_s, 2 * wait_s)

    def kill(self) -> None:
        """Kill all processes at once."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    @contextlib.asynccontextmanager
    async def _start_process(self, options: Sequence[str]) -> AsyncIterator[Process]:
        """Start a process; leaving the block stops it and waits for its end."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crawlyard", "work", *options),
            env=worker_environment(self._session.settings),
            start_new_session=True,  # Ctrl-C is handled by the supervisor
        )
        self._processes.add(process)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
            self._processes.discard(process)


def worker_environment(settings: Settings) -> Mapping[str, str]:
    """Return the environment variables of a worker process, which ends when this process does.

    Settings from the command line, the environment or `crawlyard.toml` are passed on.
    """
    values = {name: getattr(settings, name) for name in settings.named}
    values["data_dir"] = settings.data_dir.absolute()
    variables = {f"CRAWLYARD_{name.upper()}": _text(value) for name, value in values.items()}
    return os.environ | variables | {SUPERVISOR_VARIABLE: str(os.getpid())}


def is_supervised() -> bool:
    """Return whether another process supervises this one."""
    return bool(os.environ.get(SUPERVISOR_VARIABLE))


async def wait_for_parent_end() -> None:
    """Return when the process that supervises this one is gone; never if there is none."""
    parent_id = os.environ.get(SUPERVISOR_VARIABLE, "")
    while not parent_id or parent_id == str(os.getppid()):  # noqa: ASYNC110 - no event reports it
        await asyncio.sleep(_POLL_EVERY_S)


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
