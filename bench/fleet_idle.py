"""What a fleet costs its Postgres, and how soon a job begins: ``python -m bench.fleet_idle``.

It starts a Postgres of its own. ``--presence 50,200`` holds the locks of so many workers in this
process, and measures the CPU of the server and how soon deaths are noticed. ``--workers 8`` starts
so many worker processes, lets them idle, and then submits jobs one by one.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import psycopg
from tests.postgres import Server, a_server

from bench.workers import ready, working
from crawlyard import LOCAL, JobSpec, Settings, Yard
from crawlyard.clock import SystemClock
from crawlyard.core.jobs.lifecycle import State
from crawlyard.dispatch.locks import LockPresence

_TICKS = os.sysconf("SC_CLK_TCK")
_DEATHS = 6


class Cpu:
    """The CPU seconds of a Postgres with all its processes, those that have ended included."""

    def __init__(self, server: Server) -> None:
        self._pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])

    def seconds(self) -> float:
        """Return what it has taken so far."""
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(stat.parent.name) == self._pid:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self._pid:
                total += sum(map(int, fields[11:13]))
        return total / _TICKS


async def presences(server: Server, url: str, workers: int, seconds: float) -> None:
    """Measure what the locks of *workers* cost, and how soon a lost one is noticed."""
    cpu, clock = Cpu(server), SystemClock()
    told = asyncio.Event()
    async with AsyncExitStack() as stack:
        shown = []
        for n in range(workers):
            presence = LockPresence(url, f"worker-{n}", clock, told.set)
            await stack.enter_async_context(presence.shown())
            shown.append(presence)
        while not all(one.holding for one in shown):  # noqa: ASYNC110 - a server tells of nothing
            await asyncio.sleep(0.1)
        await asyncio.sleep(6)
        began, spent, own = time.monotonic(), cpu.seconds(), time.process_time()
        await asyncio.sleep(seconds)
        wall = time.monotonic() - began
        core, mine = (cpu.seconds() - spent) / wall, (time.process_time() - own) / wall / workers
        noticed = [await _death(url, shown, clock, n) for n in range(_DEATHS)]
    _tell(
        f"| {workers} | {core:.1%} | {mine:.2%} | {median(noticed):.2f} | {max(noticed):.2f} |",
    )


async def _death(url: str, shown: Sequence[LockPresence], clock: SystemClock, number: int) -> float:
    """Return after how many seconds one of *shown* knows that another worker is dead."""
    name = f"dying-{number}"
    last = LockPresence(url, name, clock, lambda: None)
    async with last.shown():
        while not last.holding:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(5 + 0.137 * number)
    began = time.monotonic()
    while not any(one.dead({name}) for one in shown):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@asynccontextmanager
async def _fleet(url: str, workers: int, folder: Path) -> AsyncIterator[tuple[Yard, list[int]]]:
    settings = Settings(data_dir=folder, database_url=url, jobs=1)
    async with Yard.open(settings) as yard, AsyncExitStack() as stack:
        pids = [await stack.enter_async_context(working(settings)) for _ in range(workers)]
        await ready(yard, workers)
        yield yard, pids


async def wakeups(server: Server, url: str, workers: int, seconds: float, jobs: int) -> None:
    """Measure an idle fleet, and then the same with a job every 100 ms."""
    cpu = Cpu(server)
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        async with _fleet(url, workers, Path(place)) as (yard, pids):
            await asyncio.sleep(3)
            idle = await _spent(cpu, url, pids, asyncio.sleep(seconds))
            busy = await _spent(cpu, url, pids, _jobs(yard, jobs))
            waits = await _waits(yard)
            with psycopg.connect(url, autocommit=True) as conn:
                row = conn.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid()"
                ).fetchone()
    for what, (wall, of_server, of_workers, commits) in (("idle", idle), ("jobs", busy)):
        each = workers if what == "idle" else jobs
        _tell(
            f"{what}: {wall:.1f} s, server {1000 * of_server / each:.1f} ms, workers "
            f"{1000 * of_workers / each:.1f} ms, {commits / each:.1f} transactions, each"
        )
    cuts = quantiles(waits, n=100, method="inclusive")
    _tell(f"due to begun: p50 {1000 * median(waits):.1f} ms, p99 {1000 * cuts[98]:.1f} ms")
    _tell(f"connections: {row[0] if row else None} for {workers} workers and one caller")


async def _jobs(yard: Yard, jobs: int) -> None:
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(jobs):
            spec = JobSpec(urls=(url,), allow_private=True, delay_s=0, ignore_robots=True)
            await yard.jobs.submit(LOCAL, spec)
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    body = b"<title>A page</title><p>Text of it.</p>"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
    await writer.drain()
    writer.close()


async def _waits(yard: Yard) -> list[float]:
    while any(  # noqa: ASYNC110 - other processes
        count
        for (state, _), count in (await yard.store.jobs.counts()).items()
        if state in {State.PENDING, State.RUNNING}
    ):
        await asyncio.sleep(0.2)
    with psycopg.connect(yard.settings.database_url, autocommit=True) as conn:
        rows = conn.execute(
            "SELECT (started_at - created_at)::float8 / 1000000 FROM jobs"
            " WHERE started_at IS NOT NULL"
        ).fetchall()
    return [row[0] for row in rows]


async def _spent(
    cpu: Cpu, url: str, pids: Sequence[int], doing: Awaitable[object]
) -> tuple[float, ...]:
    began, before = time.monotonic(), (cpu.seconds(), _of(pids), _commits(url))
    await doing
    after = (cpu.seconds(), _of(pids), _commits(url))
    return time.monotonic() - began, *(b - a for a, b in zip(before, after, strict=True))


def _of(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        total += sum(map(int, fields[11:13]))
    return total / _TICKS


def _commits(url: str) -> float:
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return float(row[0]) if row else 0.0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure what the options say."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet_idle", description=__doc__)
    parser.add_argument("--presence", default="", help="numbers of locks, with commas")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    with a_server() as server:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET max_connections = 500")
        server.stop()
        server.start()
        if options.presence:
            _tell("| workers | server | each worker | death noticed, median s | most |")
        for workers in [int(n) for n in options.presence.split(",") if n]:
            asyncio.run(presences(server, server.url(), workers, options.seconds))
        if options.workers:
            asyncio.run(
                wakeups(server, server.url(), options.workers, options.seconds, options.jobs)
            )


if __name__ == "__main__":
    main()
