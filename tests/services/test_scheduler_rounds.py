"""Running schedulers: one, three at once, and with the store unavailable for a time."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap, TickOutcome
from crawlyard.core.schedules.timetable import timetable
from crawlyard.errors import StoreUnavailable
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.store import Store
from tests.clock import FakeClock
from tests.conformance.conftest import Backend
from tests.services.schedule_rig import HOUR, MIDNIGHT, MINUTE, ScheduleRig, a_rig

SECOND = timedelta(seconds=1)
MINUTELY = "* * * * *"


@asynccontextmanager
async def running(rig: ScheduleRig) -> AsyncIterator["asyncio.Task[None]"]:
    """Run a scheduler during the block."""
    task = asyncio.create_task(rig.scheduler.run())
    await rig.clock.advance(timedelta(0))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


class TestSchedulerLoop:
    async def test_it_wakes_when_something_is_due(self) -> None:
        rig = a_rig(open_in_memory())
        schedule_id = await rig.create(MINUTELY)

        async with running(rig):
            await rig.clock.advance(MINUTE - timedelta(microseconds=1))
            assert await rig.submitted(schedule_id) == []
            await rig.clock.advance(timedelta(microseconds=1))

            assert await rig.ledger(schedule_id) == [f"{2 / 60:g} ran on_time"]

    async def test_a_change_in_this_process_wakes_it_at_once(self) -> None:
        rig = a_rig(open_in_memory())
        async with running(rig):
            schedule_id = await rig.create("at 2026-03-01T00:01:02")
            await rig.clock.advance(2 * SECOND)
            assert len(await rig.submitted(schedule_id)) == 1

    async def test_a_change_in_another_is_seen_in_a_second(self) -> None:
        rig = a_rig(open_in_memory())
        other = a_rig(rig.store, rig.clock)
        await rig.clock.advance(0.3 * SECOND)

        async with running(rig):
            schedule_id = await other.create("at 2026-03-01T00:01:01")
            await rig.clock.advance(0.9 * SECOND)
            assert await rig.submitted(schedule_id) == []
            await rig.clock.advance(0.1 * SECOND)

            assert len(await rig.submitted(schedule_id)) == 1

    async def test_a_clock_that_is_set_forward_is_followed_in_five_seconds(self) -> None:
        rig = a_rig(open_in_memory())
        schedule_id = await rig.create()
        async with running(rig):
            rig.clock.step(HOUR)
            await rig.clock.advance(5 * SECOND)
            assert await rig.ledger(schedule_id) == ["1 ran on_time"]

    async def test_it_follows_jobs_that_end_elsewhere(self) -> None:
        rig = a_rig(open_in_memory())
        queued = await rig.create(MINUTELY, overlap=Overlap.QUEUE)
        failing = await rig.create(MINUTELY, name="failing", pause_after=1)

        async with running(rig):
            await rig.clock.advance(2 * MINUTE)
            await rig.ends((await rig.submitted(queued))[0])
            await rig.ends((await rig.submitted(failing))[0], State.FAILED)
            await rig.clock.advance(SECOND)

            assert (await rig.ledger(queued))[1].endswith(" ran overlap")
            assert (await rig.schedule(failing)).paused_by == "scheduler"

    async def test_a_nudge_after_a_run_lets_what_waits_begin_at_once(self) -> None:
        rig = a_rig(open_in_memory())
        queued = await rig.create(MINUTELY, overlap=Overlap.QUEUE)

        async with running(rig):
            await rig.clock.advance(2 * MINUTE)
            await rig.ends((await rig.submitted(queued))[0])
            rig.scheduler.wake()
            await rig.clock.advance(timedelta(0))

            assert (await rig.ledger(queued))[1].endswith(" ran overlap")

    async def test_it_ends_when_it_is_cancelled(self) -> None:
        rig = a_rig(open_in_memory())
        async with running(rig) as task:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    async def test_it_goes_on_by_itself_when_the_store_is_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = open_in_memory()
        absence = Absence()
        rig = a_rig(store.with_parts(ticks=Flaky(store, absence)))
        schedule_id = await rig.create(MINUTELY)

        async with running(rig):
            absence.away = True
            await rig.clock.advance(1.5 * MINUTE)
            assert await rig.submitted(schedule_id) == []
            absence.away = False
            await rig.clock.advance(SECOND)

            assert await rig.ledger(schedule_id) == [f"{2 / 60:g} ran on_time"]
        assert [r.levelname for r in caplog.records] == ["WARNING"]


@dataclass(slots=True)
class Absence:
    """Switch that makes a store unavailable."""

    away: bool = False


@dataclass(frozen=True, slots=True)
class Flaky:
    """A `TickStore` that can be away."""

    store: Store
    absence: Absence

    def _there(self) -> None:
        if self.absence.away:
            raise StoreUnavailable("the database does not answer")

    async def find_due(self, now: datetime, limit: int) -> list[CrawlSchedule]:
        self._there()
        return await self.store.ticks.find_due(now, limit)

    async def waiting(self, limit: int) -> list[CrawlSchedule]:
        self._there()
        return await self.store.ticks.waiting(limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store.ticks, name)


JUMPS = (
    *(timedelta(seconds=7), MINUTE, 20 * MINUTE, HOUR, timedelta(hours=7)),
    *(timedelta(days=2), -HOUR, -20 * MINUTE),
)
"""What time does between two rounds: goes on, is set forward or back, passes unseen."""

KINDS = (
    ("*/20 * * * *", Overlap.ALLOW, Misfire.RUN_ALL),
    ("@hourly", Overlap.SKIP, Misfire.RUN_ONCE),
    ("every 45m", Overlap.QUEUE, Misfire.RUN_ONCE),
    ("30 2 * * *", Overlap.CANCEL_PREVIOUS, Misfire.SKIP),
)


@pytest.mark.parametrize("seed", range(3))
async def test_three_at_once_fire_each_instant_of_any_history_once(
    backend: Backend, seed: int
) -> None:
    chance = random.Random(seed)
    clock = FakeClock(MIDNIGHT + timedelta(days=27, minutes=1))  # Berlin's clocks change soon
    stores = [await backend.open() for _ in range(3)]
    rigs = [a_rig(store, clock, batch=3, instants=40) for store in stores]
    created_at = clock.wall()
    ids = [
        await rigs[0].create(
            when,
            name=f"s{n}",
            zone="Europe/Berlin",
            overlap=overlap,
            misfire=misfire,
            jitter_s=chance.choice((0, 300)),
            catch_up=3,
        )
        for n, (when, overlap, misfire) in enumerate(2 * KINDS)
    ]
    latest = created_at

    for _ in range(12):
        jump = chance.choice(JUMPS)
        if jump > timedelta(0) and chance.random() < 0.7:
            await clock.advance(jump)
        else:
            clock.step(jump)
        latest = max(latest, clock.wall())
        await asyncio.gather(*(rig.scheduler.round() for rig in rigs))
        for job in await rigs[0].submitted(chance.choice(ids)):
            if not job.state.ended:
                await rigs[0].ends(job, chance.choice((State.COMPLETED, State.FAILED)))
    outcomes = [await outcomes_of(rigs[1], schedule_id, created_at, latest) for schedule_id in ids]
    for store in stores:
        await store.close()

    assert sum(counts[TickOutcome.RAN] for counts in outcomes) > 0
    assert sum(counts[TickOutcome.MISSED] for counts in outcomes) > 0


async def outcomes_of(
    rig: ScheduleRig, schedule_id: str, created_at: datetime, latest: datetime
) -> Counter[TickOutcome]:
    """Return the outcomes of a schedule, after checking that each instant has one row."""
    schedule = await rig.schedule(schedule_id)
    table = timetable(schedule.when, schedule.zone, schedule.anchor)
    expected, at = [], table.after(created_at)
    while at is not None and (schedule.next_at is None or at < schedule.next_at):
        expected.append(at)
        at = table.after(at)
    ticks = list(reversed(await rig.store.ticks.ticks(schedule_id, limit=100_000)))
    jobs = await rig.submitted(schedule_id)

    assert schedule.fire_at is not None
    assert schedule.fire_at > latest - 2 * HOUR  # the clock may have been set back since
    assert [tick.due_at for tick in ticks] == expected
    with_job = {tick.job_id: tick.due_at for tick in ticks if tick.job_id is not None}
    assert with_job == {job.id: job.origin.tick_at for job in jobs}
    if schedule.overlap in {Overlap.SKIP, Overlap.QUEUE}:
        assert sum(not job.state.ended for job in jobs) <= 1
    return Counter(tick.outcome for tick in ticks)
