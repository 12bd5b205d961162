"""Three scheduler processes on one store, one killed while it fires: each instant runs once."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from crawlyard import CrawlSchedule, EventName, JobQuery, Misfire, Overlap, Settings, Yard
from crawlyard.core.schedules.planning import plan_next
from crawlyard.core.schedules.schedule import TickOutcome
from crawlyard.core.schedules.timetable import timetable
from tests.builders_schedules import a_schedule, schedule_event

SCHEDULES = 30
INSTANTS = 80
"""Instants of each schedule; all are due before the first process starts."""

KILL_AFTER = 300
"""Jobs after which one process is killed, of 2,400."""

SCHEDULER = """
import asyncio, sys
from pathlib import Path
from crawlyard import Settings, Yard

async def main(data_dir, database_url):
    settings = Settings(data_dir=Path(data_dir), database_url=database_url)
    async with Yard.open(settings) as yard:
        print("up", flush=True)
        sys.stdin.readline()
        await yard.scheduler.run()

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def a_scheduler(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a scheduler as a process of its own beside the block; it waits for `start`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCHEDULER, str(settings.data_dir), settings.database_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def start(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")


async def add_overdue(yard: Yard) -> list[CrawlSchedule]:
    """Add schedules that were due `INSTANTS` times since their creation."""
    made_at = yard.clock.wall() - timedelta(minutes=INSTANTS)
    schedules = []
    for number in range(SCHEDULES):
        schedule = plan_next(
            a_schedule(
                name=f"s{number}",
                when="every 1m",
                overlap=Overlap.ALLOW,
                misfire=Misfire.RUN_ALL,
                catch_up=2 * INSTANTS,
                created_at=made_at,
            ),
            made_at,
        )
        await yard.store.schedules.add(
            schedule, schedule_event(schedule, EventName.SCHEDULE_CREATED)
        )
        schedules.append(schedule)
    return schedules


async def rows(yard: Yard) -> int:
    active = await yard.store.jobs.counts()
    return sum(active.values())


async def until_fired(yard: Yard, begun: datetime) -> None:
    """Return once every instant up to *begun* has fired."""
    async with asyncio.timeout(120):
        while await yard.store.ticks.find_due(begun, 1):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.05)


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.postgres])]
)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    postgres = request.param == "postgres"
    url: str = request.getfixturevalue("postgres_url") if postgres else ""
    return Settings(data_dir=tmp_path, database_url=url)


async def test_each_instant_runs_once_though_one_of_three_is_killed(settings: Settings) -> None:
    async with Yard.open(settings) as yard:
        schedules = await add_overdue(yard)
        begun = yard.clock.wall()

        async with (
            a_scheduler(settings) as killed,
            a_scheduler(settings) as second,
            a_scheduler(settings) as third,
        ):
            for process in (killed, second, third):
                start(process)
            async with asyncio.timeout(120):
                while await rows(yard) < KILL_AFTER:  # noqa: ASYNC110 - another process's doing
                    await asyncio.sleep(0.01)
            killed.send_signal(signal.SIGKILL)
            await killed.wait()
            due = await yard.store.ticks.find_due(begun, 1)
            await until_fired(yard, begun)
        ledgers = [await checked_outcomes(yard, schedule, begun) for schedule in schedules]

    assert due  # it was killed in the middle
    assert ledgers == [{TickOutcome.RAN, TickOutcome.CAUGHT_UP}] * SCHEDULES


async def checked_outcomes(
    yard: Yard, schedule: CrawlSchedule, begun: datetime
) -> set[TickOutcome]:
    """Check that each instant has one tick and one job; return the outcomes."""
    table = timetable(schedule.when, schedule.zone, schedule.anchor)
    expected, at = [], table.after(schedule.created_at)
    while at is not None and at <= begun:
        expected.append(at)
        at = table.after(at)
    ticks = await yard.store.ticks.ticks(schedule.id, limit=10_000)
    jobs = await yard.store.jobs.find(JobQuery(schedule_id=schedule.id), 10_000)
    ran = {t.due_at: t.job_id for t in ticks}
    by_instant = {s.job.origin.tick_at: s.job.id for s in jobs}

    assert len(expected) >= INSTANTS
    assert [t.due_at for t in reversed(ticks)][: len(expected)] == expected
    assert len(jobs) == len(ticks)
    assert ran == by_instant
    return {t.outcome for t in ticks}
