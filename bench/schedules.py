"""How late ticks are with many schedules, and what a scheduler takes while nothing is due.

``python -m bench.schedules`` measures on SQLite, and with ``--postgres URL`` on an empty
database there as well: progress goes to stderr, the table to stdout.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.engine import make_url

from crawlyard.clock import Clock, SystemClock
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.job import Job
from crawlyard.core.schedules.planning import planned
from crawlyard.core.schedules.schedule import CrawlSchedule, Overlap, Tick
from crawlyard.core.templates.template import Parameter, TemplateDraft
from crawlyard.ids import new_id
from crawlyard.store.codec.schedules import schedule_row
from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.database import Database, SqliteDatabase
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.store.open import clock_offset, open_sql_store
from crawlyard.store.queries import Firing
from crawlyard.store.schedules.ticks import TickStore
from crawlyard.store.tables.base import metadata
from crawlyard.store.tables.schedules import schedules as table
from crawlyard.yard import Yard

if TYPE_CHECKING:
    from crawlyard.store.store import Store

_PORTION = 5_000
_LEAD = timedelta(seconds=3)  # between the idle time and the first tick
_FILLING = timedelta(seconds=10)  # for the schedules that are due; the others are there by then
_PATIENCE = timedelta(minutes=5)  # with ticks that do not come


@dataclass(frozen=True, slots=True)
class Run:
    """What one run on one database came to."""

    idle_cpu_s: float
    busy_cpu_s: float
    delays_s: Sequence[float]


@dataclass(frozen=True, slots=True)
class TimedTicks:
    """A `TickStore` that notes how long after its instant each tick was committed."""

    inner: TickStore
    clock: Clock
    delays_s: list[float] = field(default_factory=list)

    async def due(self, now: datetime, limit: int) -> list[CrawlSchedule]:
        """Ask the store."""
        return await self.inner.due(now, limit)

    async def waiting(self, limit: int) -> list[CrawlSchedule]:
        """Ask the store."""
        return await self.inner.waiting(limit)

    async def next_at(self) -> datetime | None:
        """Ask the store."""
        return await self.inner.next_at()

    async def active(self, schedule_ids: Collection[str]) -> Mapping[str, Sequence[Job]]:
        """Ask the store."""
        return await self.inner.active(schedule_ids)

    async def failures(self, schedule_ids: Collection[str], last: int) -> Mapping[str, int]:
        """Ask the store."""
        return await self.inner.failures(schedule_ids, last)

    async def fire(self, firings: Sequence[Firing]) -> list[bool]:
        """Let the store write, and note when it was done."""
        first = await self.inner.fire(firings)
        now = self.clock.wall()
        due = (t.due_at for f, won in zip(firings, first, strict=True) if won for t in f.ticks)
        self.delays_s.extend((now - at).total_seconds() for at in due)
        return first

    async def ticks(
        self, schedule_id: str, before: datetime | None = None, limit: int = 100
    ) -> list[Tick]:
        """Ask the store."""
        return await self.inner.ticks(schedule_id, before, limit)

    async def ticks_between(
        self, schedule_id: str, since: datetime, until: datetime
    ) -> Mapping[datetime, Tick]:
        """Ask the store."""
        return await self.inner.ticks_between(schedule_id, since, until)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.schedules", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000, help="all there are")
    parser.add_argument("--due", type=int, default=1_000, help="of these, due in the minute")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds with nothing due")
    parser.add_argument("--rounds", type=int, default=3, help="runs on each database")
    parser.add_argument(
        "--same-second",
        action="store_true",
        help="all that are due come in one second, by cron, of one template, without overlap",
    )
    parser.add_argument("--postgres", default="", help="the URL of an empty database")
    return parser.parse_args()


def others(now: datetime, numbers: range) -> Iterator[dict[str, Any]]:
    """Yield schedules that come once a day, and not within the measurement."""
    for number in numbers:
        schedule = _schedule(now, number, f"{number % 60} {number // 60 % 24} * * *")
        yield schedule_row(planned(schedule, now + timedelta(hours=2)))


def _spread(now: datetime, due: int, first: datetime) -> Iterator[dict[str, Any]]:
    """Yield schedules that come in the minute from *first*."""
    for number in range(due):
        at = first + timedelta(seconds=number * 60 // due)
        yield schedule_row(planned(_schedule(now, number, f"at {at:%Y-%m-%dT%H:%M:%S}Z"), now))


def _of_one_second(
    now: datetime, due: int, first: datetime, template_id: str
) -> Iterator[dict[str, Any]]:
    """Yield schedules that come at *first*, a full minute, each day.

    They are of one template, skip where a job has not ended, and every fourth counts failures.
    """
    for number in range(due):
        schedule = replace(
            _schedule(now, number, f"{first:%M %H} * * *"),
            template_id=template_id,
            params={"site": f"https://{number}.example/"},
            overrides={},
            overlap=Overlap.SKIP,
            pause_after=None if number % 4 else 3,
        )
        yield schedule_row(planned(schedule, now))


def _schedule(now: datetime, number: int, when: str) -> CrawlSchedule:
    return CrawlSchedule(
        id=new_id(),
        owner="local",
        name=f"schedule {number:06}",
        overrides={"urls": [f"https://{number}.example/"], "limits": {"pages": 100}},
        when=when,
        created_at=now,
        updated_at=now,
    )


async def filled(database: Database, rows: Iterator[dict[str, Any]]) -> None:
    """Write *rows* of schedules, many in a transaction."""
    while portion := [row for row, _ in zip(rows, range(_PORTION), strict=False)]:
        await database.write(partial(insert_new, table=table, rows=portion))
    await database.write(lambda conn: conn.execute(text("ANALYZE")))


async def _run(settings: Settings, database: Database, options: argparse.Namespace) -> Run:
    clock = SystemClock()
    if settings.database_url:
        clock.shift(await clock_offset(settings.database_url, clock))
    store: Store = await open_sql_store(settings.database_url or settings.data_dir / "crawlyard.db")
    timed = TimedTicks(store.ticks, clock)
    yard = Yard(settings, replace(store, ticks=timed), clock)
    await filled(database, others(clock.wall(), range(options.due, options.schedules)))
    first = await _add_due(yard, database, options)
    await asyncio.sleep((first - _LEAD - clock.wall()).total_seconds() - options.idle)
    task = asyncio.create_task(yard.scheduler.run())
    await asyncio.sleep(1)  # its first look, with the statements compiled
    idle_from = _cpu_s()
    await asyncio.sleep(options.idle - 1)
    busy_from = _cpu_s()
    await asyncio.sleep((first - clock.wall()).total_seconds())
    while len(timed.delays_s) < options.due and clock.wall() < first + _PATIENCE:  # noqa: ASYNC110 - a bench
        await asyncio.sleep(0.1)
    busy_to = _cpu_s()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await store.close()
    return Run(busy_from - idle_from, busy_to - busy_from, sorted(timed.delays_s))


async def _add_due(yard: Yard, database: Database, options: argparse.Namespace) -> datetime:
    """Add the schedules that are due, and return when the first of them is."""
    now = yard.clock.wall().replace(microsecond=0)
    first = now + _FILLING + timedelta(seconds=options.idle) + _LEAD
    rows = _spread(now, options.due, first)
    if options.same_second:
        first += timedelta(minutes=1) - timedelta(seconds=first.second)  # as cron has them
        draft = TemplateDraft(
            name="one for all",
            spec={"urls": ["{{site}}"], "limits": {"pages": 100}},
            parameters=(Parameter(name="site", required=True),),
        )
        template = await yard.templates.create(LOCAL, draft)
        rows = _of_one_second(now, options.due, first, template.id)
    await filled(database, rows)
    if yard.clock.wall() > first - _LEAD - timedelta(seconds=options.idle):
        raise SystemExit("filling the database took too long; let fewer be due")
    return first


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _on_sqlite(options: argparse.Namespace) -> Run:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(data_dir=Path(folder))
        await (await open_sql_store(Path(folder) / "crawlyard.db")).close()
        database = SqliteDatabase(Path(folder) / "crawlyard.db")
        try:
            return await _run(settings, database, options)
        finally:
            await database.close()


async def _on_postgres(options: argparse.Namespace) -> Run:
    settings = Settings(database_url=options.postgres)
    await (await open_sql_store(options.postgres)).close()
    database = PostgresDatabase(make_url(options.postgres), connections=1)
    kept = {"users", "alembic_version"}
    names = ", ".join(name for name in metadata.tables if name not in kept)
    try:
        await database.write(lambda conn: conn.execute(text(f"TRUNCATE {names}")))
        return await _run(settings, database, options)
    finally:
        await database.close()


def _line(name: str, runs: Sequence[Run], due: int) -> str:
    cuts = [quantiles(run.delays_s, n=100) for run in runs]
    shares = (
        median(cut[49] for cut in cuts),
        median(cut[98] for cut in cuts),
        median(run.delays_s[-1] for run in runs),
    )
    delays = " | ".join(f"{1000 * share:.0f}" for share in shares)
    idle = 1000 * median(run.idle_cpu_s for run in runs)
    busy = 1000 * median(run.busy_cpu_s for run in runs) / due
    return f"| {name} | {delays} | {idle:.0f} | {busy:.1f} |"


async def _main() -> None:
    options = _options()
    measured = {"SQLite": _on_sqlite} | ({"Postgres": _on_postgres} if options.postgres else {})
    sys.stderr.write(f"load before: {os.getloadavg()[0]:.2f}\n")
    runs: dict[str, list[Run]] = {name: [] for name in measured}
    for turn in range(1, options.rounds + 1):
        for name, measure in measured.items():
            run = await measure(options)
            if len(run.delays_s) != options.due:
                raise SystemExit(f"{name}: {len(run.delays_s)} ticks of {options.due}")
            runs[name].append(run)
            sys.stderr.write(f"{turn}/{options.rounds} {_line(name, [run], options.due)}\n")
    sys.stdout.write("| store | p50 ms | p99 ms | max ms | idle CPU ms | CPU ms a tick |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for name, each in runs.items():
        sys.stdout.write(f"{_line(name, each, options.due)}\n")


if __name__ == "__main__":
    asyncio.run(_main())
