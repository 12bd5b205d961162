# psutil is of the extra `bench` and without types: only numbers come from it.
# mypy: disable-error-code="import-not-found,import-untyped"
"""What a server takes that has nothing to do, with schedules that wait and jobs that have ended."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil

from bench.schedules import filled as schedules_filled
from bench.schedules import others
from bench.store_jobs import filled
from bench.store_serving import served
from crawlyard.config import Settings
from crawlyard.store.db.database import Database
from crawlyard.yard import Yard

_SETTLED_S = 10.0  # after its start: the first sweep of the janitor is over


@dataclass(frozen=True, slots=True)
class Idle:
    """What an idle server took."""

    schedules: int
    jobs: int
    share: float  # of a core
    bytes: int  # resident
    switches: float  # voluntary, of its main thread, a second: how often it woke

    def told(self) -> str:
        """Return it in a row of a table."""
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
        await filled(yard, database, jobs, ended=True)
        now = yard.clock.wall() + timedelta(hours=1)
        await schedules_filled(database, others(now, range(schedules)))
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


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
