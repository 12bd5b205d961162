"""A fleet of worker processes, and what can be done to it."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import monotonic

from tests.chaos.history import Fault, FaultKind

LEASE_S = 6.0
SLOTS = 3
"""Of a worker: so few that urgent jobs have to take them from others."""

STEP_S = 600
"""How far the wall clock of a worker is stepped, either way."""

TICKER_STEP_S = 15
"""How far that of a scheduler is: one that is ahead is early, and there is to be more to decide."""

_LOOK_EVERY_S = 0.1
_LOCKED_S = 3.0
_DRAIN_S = 90.0  # for a worker to end after SIGTERM, on a machine that is busy


@cache  # it leaves a file behind each time, and fails where one has its name
def faketime() -> Mapping[str, str] | None:
    """Return the environment in which a process reads its wall clock from a file; or none."""
    wrapper = shutil.which("faketime")
    if wrapper is None:
        return None
    command = [wrapper, "-m", "-f", "+0", "env"]
    for _ in range(20):  # the name has the process id in it: the next try has another
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if not process.returncode:
            break
    process.check_returncode()
    lines = (line.partition("=") for line in process.stdout.splitlines())
    preload = {name: value for name, _, value in lines if name == "LD_PRELOAD"}
    # a step of the wall clock leaves the monotonic one alone
    return preload | {"FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@dataclass(slots=True)
class WorkerHost:
    """Where one worker after the other runs: a machine of its own."""

    number: int
    options: Sequence[str]
    clock: Path | None = None  # file that its processes read the wall clock from
    step_s: int = STEP_S
    process: asyncio.subprocess.Process | None = None
    worker: str = ""  # the name of that process
    born: int = 0
    busy: bool = False  # something is being done to it


@dataclass(slots=True)
class Fleet:
    """Workers that are replaced when they are killed.

    A worker's name is its user agent, so that the server's log tells who asked.
    """

    folder: Path
    settings: Mapping[str, str]
    places: Sequence[WorkerHost]
    shared: bool = False  # one data directory for all, as on one machine
    faults: list[Fault] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)  # by pid
    ended: list[tuple[str, int]] = field(default_factory=list)  # workers that ended by themselves

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run a worker at each place beside the block; kill what is left in the end."""
        try:
            for place in self.places:
                await self.start(place)
            yield
        finally:
            for place in self.places:
                if place.process is not None and place.process.returncode is None:
                    place.process.kill()
                    await place.process.wait()

    async def start(self, place: WorkerHost) -> None:
        place.born += 1
        place.worker = f"worker{place.number}-{place.born}"
        data = self.folder / ("data" if self.shared else f"data{place.number}")
        more = {"CRAWLYARD_USER_AGENT": place.worker, "CRAWLYARD_DATA_DIR": str(data)}
        stepped = faketime() if place.clock is not None else None
        if place.clock is not None and stepped is not None:
            more |= {**stepped, "FAKETIME_TIMESTAMP_FILE": str(place.clock)}
        with (self.folder / f"{place.worker}.log").open("wb") as log:
            place.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "crawlyard", "work", "--jobs", f"{SLOTS}", *place.options),
                env={**os.environ, **self.settings, **more},
                cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.names[place.process.pid] = place.worker

    async def stop(self) -> None:
        """End all workers as a deploy does, and note how."""
        live = [place for place in self.places if place.process is not None]
        for place in live:
            with suppress(ProcessLookupError):
                place.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
        async with asyncio.timeout(_DRAIN_S):
            for place in live:
                code = await place.process.wait()  # type: ignore[union-attr]
                if code != -signal.SIGTERM or self._has_begun(place):
                    self._has_ended(place, code)

    def _has_ended(self, place: WorkerHost, code: int) -> None:
        """Note how a worker ended."""
        self.ended.append((place.worker, code))

    def _has_begun(self, place: WorkerHost) -> bool:
        """Tell whether a worker has said anything: before, a signal ends it as any program."""
        return (self.folder / f"{place.worker}.log").stat().st_size > 0

    async def kill(self, chance: random.Random) -> None:
        """Kill a worker, and start another in its place."""
        place = await self._some_place(FaultKind.KILL, chance)
        if place is None or place.process is None:
            return
        since = monotonic()
        with suppress(ProcessLookupError):
            place.process.kill()
        await place.process.wait()
        self._note(FaultKind.KILL, since, place.worker)
        await asyncio.sleep(chance.uniform(0, 1))
        await self.start(place)
        place.busy = False

    async def pause(self, chance: random.Random) -> None:
        """Stop a worker for longer than its lease, and let it go on."""
        place = await self._some_place(FaultKind.STOP, chance)
        if place is None or place.process is None:
            return
        if place.process.returncode is not None:
            self._has_ended(place, place.process.returncode)
            await self.start(place)
            place.busy = False
            return
        since = monotonic()
        place.process.send_signal(signal.SIGSTOP)
        locks = False
        try:
            locks = self.shared and await asyncio.to_thread(self._is_locked)
            rest = since + LEASE_S + chance.uniform(1, 3) - monotonic()
            await asyncio.sleep(max(0.0, rest))
        finally:
            self._note(FaultKind.STOP, since, place.worker)
            if locks:  # pages fetched by other workers meanwhile are in no checkpoint
                self._note(FaultKind.LOCK, since, "")
            place.process.send_signal(signal.SIGCONT)
            place.busy = False

    def _is_locked(self) -> bool:
        """Tell whether the SQLite file stays locked for longer than by those who go on."""
        file = self.folder / "data" / "crawlyard.db"
        with closing(sqlite3.connect(file, timeout=_LOCKED_S, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    async def step(self, chance: random.Random) -> None:
        """Step the wall clock of a worker that has one of its own."""
        place = chance.choice([place for place in self.places if place.clock is not None])
        if place.clock is not None:
            since, far = monotonic(), place.step_s
            place.clock.write_text(chance.choice((f"+{far}", f"-{far}", "+0")))
            self._note(FaultKind.STEP, since, place.worker)

    async def done(self, kind: FaultKind, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work* to what all workers share, and note that."""
        since = monotonic()
        try:
            await work()
        finally:
            self._note(kind, since, "")

    def _note(self, kind: FaultKind, since: float, worker: str) -> None:
        self.faults.append(Fault(kind=kind, since=since, until=monotonic(), worker=worker))

    async def _some_place(self, kind: FaultKind, chance: random.Random) -> WorkerHost | None:
        """Reserve and return a worker to harass; one is always spared, so that jobs progress.

        If no worker is free, wait until the first fault of *kind* was injected, else return None.
        """
        while len(free := [place for place in self.places if not place.busy]) < 2:
            if any(fault.kind is kind for fault in self.faults):
                return None
            await asyncio.sleep(_LOOK_EVERY_S)
        place = chance.choice(free)
        place.busy = True
        return place


Deed = Callable[[random.Random], Awaitable[None]]


async def harass(deeds: Sequence[Deed], seconds: float, chance: random.Random) -> None:
    """Do each thing once, then any, for some seconds; return when all are over.

    What comes when is left to chance.
    """
    end, remaining = monotonic() + seconds, chance.sample(deeds, len(deeds))
    async with asyncio.TaskGroup() as group:
        while remaining or monotonic() < end:
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            # each draws from a chance of its own: the next ones do not depend on how long it takes
            deed = remaining.pop() if remaining else chance.choice(deeds)
            group.create_task(_whole(deed(random.Random(chance.random()))))


async def _whole(doing: Awaitable[None]) -> None:
    await doing
