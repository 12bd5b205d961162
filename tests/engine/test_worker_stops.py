"""Stops of a worker and its background tasks: it ends for each cause of a stop."""

import asyncio
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import uvloop

from crawlyard import Settings, Yard
from crawlyard.cli.server.work import Beside, run_together
from crawlyard.cli.signals import Interrupts
from crawlyard.demo.server import SiteServer
from tests.engine.rig import a_spec
from tests.jobs import submit
from tests.site import GraphSite

STOPS = 20
AT_ONCE = 4
LONGEST_S = 20.0  # of one of these; a hang fails instead of blocking the suite
_PAGES = [f"/{n}" for n in range(200)]
_SITE = GraphSite({"/": _PAGES} | {page: [] for page in _PAGES})

Fault = Callable[[Path, Interrupts], None]
"""Makes a worker on a database stop."""


def without(table: str, database: Path, _: Interrupts) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as broken:
        broken.execute(f"ALTER TABLE {table} RENAME TO lost")


def unreadable(database: Path, stop: Interrupts) -> None:
    """Overwrite the file; that alone is waited for, as a database that is away."""
    for file in (database, database.with_name(database.name + "-wal")):
        with file.open("r+b") as raw:
            raw.write(b"\xff" * file.stat().st_size)
    stop.receive(signal.SIGTERM)


def terminated(_: Path, stop: Interrupts) -> None:
    stop.receive(signal.SIGTERM)


FAULTS: dict[str, Fault] = {
    "a failing janitor": partial(without, "ticks"),
    "a failing deliverer": partial(without, "cursors"),
    "a lost table": partial(without, "shards"),
    "SIGTERM": terminated,
    "an unreadable file": unreadable,
}


async def stopped(url: str, folder: Path, fault: Fault, after_s: float) -> bool:
    """Run a worker with a job until *fault*, and tell whether it ended."""
    async with Yard.open(Settings(data_dir=folder, shutdown_s=0.1)) as yard:
        await submit(yard, a_spec(url, per_host=4))
        worker, stop = yard.worker(), Interrupts(lambda: None)
        doing = run_together(worker.run, Beside().services(yard), stop, worker.stop)
        running = asyncio.create_task(doing)
        at = asyncio.get_running_loop().call_later(after_s, fault, folder / "crawlyard.db", stop)
        await asyncio.wait((running,), timeout=LONGEST_S)
        at.cancel()
        ended = running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return ended


def test_a_worker_exits_on_every_kind_of_stop_at_any_time(tmp_path: Path) -> None:
    chance = random.Random(14)
    kinds = islice(cycle(FAULTS), STOPS)
    stops = [(n, kind, chance.random() * 0.3) for n, kind in enumerate(kinds)]

    hung: list[str] = []

    async def some_of_them(url: str, remaining: Iterator[tuple[int, str, float]]) -> None:
        for n, kind, after_s in remaining:
            if not await stopped(url, tmp_path / str(n), FAULTS[kind], after_s):
                hung.append(f"{kind} after {after_s:.3f} s")

    async def all_of_them() -> None:
        remaining = iter(stops)
        async with SiteServer(_SITE, latency_s=0.02) as server:
            lanes = (some_of_them(f"{server.url}/", remaining) for _ in range(AT_ONCE))
            await asyncio.gather(*lanes)

    uvloop.run(all_of_them())  # the loop of the command line

    assert hung == []
