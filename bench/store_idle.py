# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"
"""Cost of an idle server with waiting schedules and ended jobs."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from bench.store_jobs import fill
from bench.store_serving import served
from crawlyard.config import Settings
from crawlyard.core.schedules.planning import plan_next
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.ids import new_id
from crawlyard.store.codec.schedules import schedule_row
from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.database import Database
from crawlyard.store.tables.schedules import schedules as schedule_table
from crawlyard.yard import Yard

_PORTION = 5_000
_SETTLED_S = 10.0  # after its start: the first sweep of the janitor is over


@dataclass(frozen=True, slots=True)
class Idle:
    """Cost of an idle server."""

    schedules: int
    jobs: int
    share: float  # of a core
    bytes: int  # resident
    switches: float  # voluntary, of its main thread, a second: how often it woke

    def table_row(self) -> str:
        """Return a Markdown row: schedules, jobs, CPU share and wake-ups."""
        return (
            f"{self.schedules:,} | {self.jobs:,} | {100 * self.share:.2f} | "
            f"{self.bytes / 1e6:.0f} | {self.switches:.0f}"
        )


HEAD = (
    "| schedules | ended jobs | % of a core | MB resident | wake-ups/s |\n|---|---|---|---|---|\n"
)


async def idle(
    settings: Settings,
    database: Database,
    schedules: int,
    jobs: int,
    seconds: float,
    log: Path,
) -> Idle:
    """Fill the store, and let a server with its worker and its scheduler stand idle."""
    async with Yard.open(settings) as yard:
        await fill(yard, database, jobs, ended=True)
        rows = _daily(yard.clock.wall() + timedelta(hours=1), schedules)
        while portion := [row for row, _ in zip(rows, range(_PORTION), strict=False)]:
            await database.write(partial(insert_new, table=schedule_table, rows=portion))
        await database.write(lambda conn: conn.execute(text("ANALYZE")))
    with served(settings, log) as (process_id, _):
        process = psutil.Process(process_id)
        await asyncio.sleep(_SETTLED_S)
        began, cpu, woken = time.monotonic(), _cpu(process), process.num_ctx_switches().voluntary
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        return Idle(
            schedules,
            jobs,
            (_cpu(process) - cpu) / took,
            process.memory_info().rss,
            (process.num_ctx_switches().voluntary - woken) / took,
        )


def _daily(now: datetime, count: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of schedules that are due once a day, and not within the measurement."""
    for number in range(count):
        schedule = CrawlSchedule(
            id=new_id(),
            owner="local",
            name=f"schedule {number:06}",
            overrides={"urls": [f"https://{number}.example/"], "limits": {"pages": 100}},
            when=f"{number % 60} {number // 60 % 24} * * *",
            created_at=now,
            updated_at=now,
        )
        yield schedule_row(plan_next(schedule, now + timedelta(hours=2)))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
