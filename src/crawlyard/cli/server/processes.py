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

NOTHING_BESIDE = ("--no-scheduler", "--no-webhooks", "--no-janitor")
"""Options of a worker that only runs jobs and operations."""

StandIn: TypeAlias = Callable[[], Awaitable[object]]
"""Runs the background services of the first process until it is cancelled."""

PARENT = "CRAWLYARD_SUPERVISOR"
"""Environment variable of a worker process: the pid of its supervisor."""

_AGAIN_S = (1.0, 30.0)
"""Waits before a restart: the first, which doubles with each death, and the longest."""

_LASTED_S = 60.0  # a process that lived longer resets the wait
_LOOK_EVERY_S = 1.0

_log = logging.getLogger(__name__)


async def supervise(
    session: LocalSession,
    processes: int,
    own: Sequence[str],
    beside: Sequence[str],
    stand_in: StandIn | None = None,
    metrics: MetricsAddress | None = None,
) -> int:
    """Run worker processes until a signal, or until all have exited normally.

    *own* are the options of each; *beside* those of the first only, which select its services
    beside jobs: the siblings run only operations. Once an operator has stopped the first process,
    *stand_in* runs these services here until the siblings have ended. Each process serves
    *metrics*, if given.

    Raises:
        Invalid: *processes* is zero or too large.
        SchemaMismatch: a newer Crawlyard has changed the store meanwhile.
    """
    if not 1 <= processes <= MOST_PROCESSES:
        raise Invalid("--processes", f"expected 1 to {MOST_PROCESSES}, got {processes}")
    crew = Crew(session)
    session.deadline.before_the_end(crew.kill)
    with catch_interrupts(crew.kill, partial(session.deadline.begin, PARENT_S)) as stop:
        started = count_noun(processes, "worker process", "worker processes")
        session.tell(f"{started}; the first also runs schedules, webhooks and upkeep")
        words = [
            (*own, *(beside if n == 0 else NOTHING_BESIDE), *(metrics.words(n) if metrics else ()))
            for n in range(processes)
        ]
        working = asyncio.create_task(crew.work(words, stand_in))
        working.add_done_callback(lambda _: stop.nudge())
        while not working.done() and stop.first is None:
            await stop.wait(3600)
        if not working.done():
            session.tell("stopping; jobs return to the queue; press Ctrl-C again to quit at once")
            working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    return stop.exit_code if stop.first is signal.SIGINT else 0


class Crew:
    """Worker processes of an instance."""

    def __init__(self, session: LocalSession) -> None:
        self._session = session
        self._processes: set[Process] = set()

    async def work(self, each: Sequence[Sequence[str]], stand_in: StandIn | None = None) -> None:
        """Run ``crawlyard work`` once for *each*, with these options, until all have ended.

        Once the first has ended, *stand_in* runs beside the siblings. If cancelled, stop all and
        wait for them.

        Raises:
            SchemaMismatch: as for `keep`.
        """
        keeping = [asyncio.create_task(self.keep(words)) for words in each]
        try:
            if stand_in is not None:
                keeping.append(asyncio.create_task(self._stand_in(stand_in, *keeping)))
            await asyncio.gather(*keeping)
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    async def keep(self, words: Sequence[str]) -> None:
        """Run a worker process, and restart it when it dies, until it exits normally.

        It exits when an operator stops it, or it has nothing left to do. If it dies soon after
        its start, the wait before the next start gets longer.

        Raises:
            SchemaMismatch: a newer Crawlyard has changed the store: a restart would fail again.
        """
        clock, (first_s, last_s) = self._session.clock, _AGAIN_S
        wait_s = first_s
        while True:
            began = clock.monotonic()
            async with self._start_process(words) as process:
                code = await process.wait()
            if code == 0:
                return
            if clock.monotonic() - began > _LASTED_S:
                wait_s = first_s
            again = f"restarting in {wait_s:g} s"
            self._session.tell(f"worker process {process.pid} exited with {code}; {again}")
            with contextlib.suppress(StoreUnavailable):
                await self._session.yard.store.check()
            await asyncio.sleep(wait_s)
            wait_s = min(last_s, 2 * wait_s)

    async def _stand_in(
        self, run: StandIn, first: "asyncio.Task[None]", *siblings: "asyncio.Task[None]"
    ) -> None:
        """Run the services of the *first* process from its end until the *siblings* have ended."""
        await asyncio.wait((first,))
        if all(task.done() for task in siblings):
            return
        self._session.tell("the first worker process has ended; its services now run here")
        beside = asyncio.create_task(self._again(run))
        try:
            await asyncio.wait(siblings)
        finally:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)

    async def _again(self, run: StandIn) -> None:
        wait_s, last_s = _AGAIN_S
        while True:
            try:
                await run()
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
    async def _start_process(self, words: Sequence[str]) -> AsyncIterator[Process]:
        """Start a process; leaving the block stops it and waits for its end."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crawlyard", "work", *words),
            env=environment(self._session.settings),
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


def environment(settings: Settings) -> Mapping[str, str]:
    """Return the environment of a process for the instance of *settings*, which ends with us.

    Settings from the command line, the environment or `crawlyard.toml` are passed on.
    """
    values = {name: getattr(settings, name) for name in settings.named}
    values["data_dir"] = settings.data_dir.absolute()
    named = {f"CRAWLYARD_{name.upper()}": _text(value) for name, value in values.items()}
    return os.environ | named | {PARENT: str(os.getpid())}


def is_supervised() -> bool:
    """Return whether another process supervises this one."""
    return bool(os.environ.get(PARENT))


async def wait_for_parent_end() -> None:
    """Return when the process that supervises this one is gone; never if there is none."""
    parent = os.environ.get(PARENT, "")
    while not parent or parent == str(os.getppid()):  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(_LOOK_EVERY_S)


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
