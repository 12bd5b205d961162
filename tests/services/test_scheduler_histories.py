"""Any history of schedules and clocks: no instant has two jobs, and each has its row."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap, Tick, TickReason
from crawlyard.core.schedules.timetable import timetable
from crawlyard.errors import Conflict, IllegalMove
from crawlyard.services.schedules.terms import ScheduleChanges
from tests.clock import FakeClock
from tests.conformance.conftest import Backend
from tests.services.schedule_rig import HOUR, MIDNIGHT, MINUTE, ScheduleRig, a_rig

TIMES = ("@hourly", "*/20 * * * *", "every 45m", "30 2 * * *", "10,40 * * * *")
EDITS: tuple[ScheduleChanges, ...] = (
    *(ScheduleChanges(when=when) for when in TIMES),
    *(ScheduleChanges(zone=zone) for zone in ("UTC", "Europe/Berlin", "Asia/Kathmandu")),
    *(ScheduleChanges(jitter_s=jitter_s) for jitter_s in (0, 600)),
    {"description": "changed"},
)
JUMPS = (MINUTE, 5 * MINUTE, 20 * MINUTE, HOUR, 5 * HOUR, 30 * HOUR, -HOUR, -4 * HOUR)
ON_REQUEST = {TickReason.BY_USER, TickReason.BACKFILL}


@dataclass(slots=True)
class ExpectedLedger:
    """A schedule, and the expected rows of its ledger."""

    id: str
    chance: random.Random
    late: int  # rows of one moment that may be made up for
    table: CrawlSchedule
    since: datetime  # where its time table begins
    expected: set[datetime] = field(default_factory=set)
    rows: dict[datetime, Tick] = field(default_factory=dict)

    def passes(self, to: datetime) -> None:
        """Expect a row of each instant up to *to*, by the time table as it is."""
        table = timetable(self.table.when, self.table.zone, self.table.anchor)
        at = table.after(self.since)
        while at is not None and at <= to:
            self.expected.add(at)
            at = table.after(at)
        self.since = to

    async def edit(self, rig: ScheduleRig) -> None:
        await rig.schedules().edit(self.id, **self.chance.choice(EDITS))
        new = await rig.schedule(self.id)
        if (new.when, new.zone, new.jitter) != (
            self.table.when,
            self.table.zone,
            self.table.jitter,
        ):
            wall = rig.clock.wall()
            self.passes(max(wall, new.decided_to or wall))
        self.table = new

    async def toggle(self, rig: ScheduleRig) -> None:
        schedules = rig.schedules()
        on = self.chance.random() < 0.6
        await (schedules.resume if on else schedules.pause)(self.id)

    async def run_now(self, rig: ScheduleRig) -> None:
        with suppress(IllegalMove):
            await rig.run(self.id)

    async def backfill(self, rig: ScheduleRig) -> None:
        until = rig.clock.wall() - self.chance.choice((timedelta(0), HOUR))
        since = until - self.chance.choice((HOUR, 9 * HOUR))
        await rig.schedules().backfill(self.id, since, until, dry_run=False)

    async def look_before(self, rig: ScheduleRig) -> None:
        since = rig.clock.wall() - self.chance.choice((HOUR, 9 * HOUR))
        would = await rig.schedules().backfill(self.id, since)
        done = await rig.schedules().backfill(self.id, since, dry_run=False)
        assert [t.due_at for t in would.runs] == [t.due_at for t in done.runs]
        assert would.kept == done.kept

    async def judge(self, rig: ScheduleRig) -> None:
        """Check the ledger after one step."""
        ticks = await rig.store.ticks.ticks(self.id, limit=100_000)
        rows = {tick.due_at: tick for tick in ticks}
        made_up = [
            at
            for at, tick in rows.items()
            if tick.reason is TickReason.LATE and self.rows.get(at) != tick
        ]
        assert len(made_up) <= self.late
        assert rows.keys() >= self.rows.keys()
        for at, tick in self.rows.items():
            assert tick.job_id in {None, rows[at].job_id}
        self.rows = rows

    async def end(self, rig: ScheduleRig) -> None:
        """Check the whole ledger."""
        schedule = await rig.schedule(self.id)
        assert schedule.next_at is not None
        self.passes(schedule.next_at - timedelta(microseconds=1))
        jobs = await rig.submitted(self.id)
        by_policy = {
            at for at, t in self.rows.items() if t.reason not in ON_REQUEST and not at.microsecond
        }

        assert self.expected <= self.rows.keys()
        assert by_policy <= self.expected
        assert max(Counter(job.origin.tick_at for job in jobs).values(), default=0) <= 1
        assert {t.job_id: at for at, t in self.rows.items() if t.job_id is not None} == {
            job.id: job.origin.tick_at for job in jobs
        }


async def unless_too_late(happening: Awaitable[None]) -> None:
    with suppress(Conflict):  # another process was faster, again and again
        await happening


async def quiet(rig: ScheduleRig) -> None:
    await rig.scheduler.round()


async def watched(rig: ScheduleRig, chance: random.Random, n: int) -> ExpectedLedger:
    misfire, catch_up = chance.choice(list(Misfire)), 3
    schedule_id = await rig.create(
        chance.choice(TIMES),
        name=f"s{n}",
        overlap=list(Overlap)[n % 4],
        misfire=misfire,
        catch_up=catch_up,
        jitter_s=chance.choice((0, 600)),
    )
    late = {Misfire.SKIP: 0, Misfire.RUN_ONCE: 1, Misfire.RUN_ALL: catch_up}[misfire]
    schedule = await rig.schedule(schedule_id)
    return ExpectedLedger(schedule_id, chance, late, schedule, rig.clock.wall())


@pytest.mark.parametrize("seed", range(4))
async def test_no_instant_has_two_jobs_and_each_has_its_row(backend: Backend, seed: int) -> None:
    chance = random.Random(seed)
    clock = FakeClock(MIDNIGHT + MINUTE)
    stores = [await backend.open() for _ in range(2)]
    here, there = (a_rig(store, clock, batch=3, instants=60) for store in stores)
    every = [await watched(here, chance, n) for n in range(4)]

    for _ in range(25):
        jump = chance.choice(JUMPS)
        await clock.advance(max(jump, timedelta(0)))
        clock.step(min(jump, timedelta(0)))
        chosen = chance.choice(every)
        happenings: tuple[Callable[[ScheduleRig], Coroutine[None, None, None]], ...] = (
            *(chosen.edit, chosen.edit, chosen.toggle, chosen.toggle),
            *(chosen.run_now, chosen.backfill, chosen.look_before),
        )
        happening = chance.choice(happenings)
        if happening == chosen.look_before:  # the forecast must still hold after the run
            await happening(here)
        else:
            rigs = (there, here)[: chance.randint(0, 2)]
            async with asyncio.TaskGroup() as group:
                group.create_task(unless_too_late(happening(here)))
                for rig in rigs:
                    group.create_task(quiet(rig))
        for each in every:
            await each.judge(here)
        for job in await here.submitted(chosen.id):
            if not job.state.ended and chance.random() < 0.8:
                await here.ends(job, chance.choice((State.COMPLETED, State.FAILED)))
    await here.scheduler.round()
    for each in every:
        await each.judge(here)
        await each.end(here)
    for store in stores:
        await store.close()
