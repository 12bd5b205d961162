"""`Scheduler`: wake-ups, fired ticks, and their rows in the ledger."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap
from crawlyard.store.queries import EventQuery
from crawlyard.store.schedules.ticks import TickStore
from crawlyard.store.store import Store
from tests.services.schedule_rig import ADA, HOUR, MIDNIGHT, TO_ONE, ScheduleRig, a_rig, broken


@pytest.fixture
def rig(store: Store) -> ScheduleRig:
    return a_rig(store)


@dataclass(frozen=True, slots=True)
class Flawed:
    """A `TickStore` that could not read all of one row."""

    inner: TickStore
    schedule_id: str

    async def find_due(self, now: datetime, limit: int) -> list[CrawlSchedule]:
        due = await self.inner.find_due(now, limit)
        return [replace(s, flaw="it has a flaw") if s.id == self.schedule_id else s for s in due]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class TestCreateSchedule:
    async def test_a_new_schedule_is_due_at_its_first_instant(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create("0 3 * * *", zone="Europe/Berlin", description="all")
        schedule = await rig.schedules().get(schedule_id)
        assert (schedule.owner, schedule.name, schedule.description) == ("local", "nightly", "all")
        assert schedule.next_at == schedule.fire_at == MIDNIGHT + 2 * HOUR
        assert await rig.event_names(schedule_id) == ["created"]


class TestFire:
    async def test_an_instant_that_has_come_submits_a_job(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create()
        await rig.after(TO_ONE - timedelta(microseconds=1))
        assert await rig.submitted(schedule_id) == []

        await rig.after(timedelta(microseconds=1))

        [job] = await rig.submitted(schedule_id)
        assert (job.owner, job.spec.name, job.state) == ("local", "nightly", State.PENDING)
        assert (job.origin.schedule_id, job.origin.tick_at) == (schedule_id, MIDNIGHT + HOUR)
        assert await rig.ledger(schedule_id) == ["1 ran on_time"]
        assert (await rig.schedule(schedule_id)).next_at == MIDNIGHT + 2 * HOUR
        [created] = await rig.store.events.events(EventQuery(subject=job.id))
        assert created.actor == "scheduler"
        ticked = (await rig.store.events.events(EventQuery(subject=schedule_id)))[-1]
        assert ticked.name is EventName.SCHEDULE_TICKED
        assert ticked.data["job_id"] == job.id
        assert ticked.data["outcome"] == "ran"

    async def test_the_template_is_filled_as_it_is_when_it_runs(self, rig: ScheduleRig) -> None:
        form = {"name": "news", "spec": {"urls": ["https://a.example/"], "max_depth": 3}}
        template = await rig.templates().create(form)
        latest = await rig.create(template="news", overrides={"limits": {"pages": 7}})
        fixed = await rig.create(name="b", template="news", template_version=1, overrides={})
        spec = {"urls": ["https://b.example/"], "max_depth": None}
        await rig.templates().edit(template.id, {"spec": spec}, version=None)

        await rig.after(HOUR)

        [job], [old] = await rig.submitted(latest), await rig.submitted(fixed)
        assert (job.spec.urls, job.spec.max_depth) == (("https://b.example/",), None)
        assert job.spec.limits.pages == 7
        assert (job.origin.template_version, job.origin.given) == (2, ("limits.pages",))
        assert (old.spec.urls, old.origin.template_version) == (("https://a.example/",), 1)

    async def test_a_scheduler_says_how_long_there_is_nothing(self, rig: ScheduleRig) -> None:
        assert await rig.scheduler.round() == timedelta(seconds=5)
        await rig.create()
        await rig.clock.advance(TO_ONE - timedelta(seconds=3))
        assert await rig.scheduler.round() == timedelta(seconds=3)

    async def test_many_that_are_due_at_once_are_all_fired(self, store: Store) -> None:
        rig = a_rig(store, batch=7)
        ids = [await rig.create(name=f"s{n}") for n in range(30)]
        await rig.after(HOUR)
        assert [await rig.ledger(i) for i in ids] == [["1 ran on_time"]] * 30

    async def test_after_the_last_run_a_schedule_has_ended(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(runs_left=2, overlap=Overlap.ALLOW)

        for _ in range(4):
            await rig.after(HOUR)

        schedule = await rig.schedule(schedule_id)
        assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 ran on_time"]
        assert (schedule.next_at, schedule.fire_at, schedule.runs_left) == (None, None, 0)
        assert await rig.event_names(schedule_id) == ["created", "ended"]

    async def test_time_that_steps_back_fires_nothing_twice(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        await rig.after(2 * HOUR)
        rig.clock.step(-2 * HOUR)
        await rig.after(3 * HOUR)
        assert [r[0] for r in await rig.ledger(schedule_id)] == ["1", "2", "3"]

    async def test_a_schedule_that_cannot_be_planned_is_paused_beside_the_others(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id, other = await rig.create(), await rig.create(name="other")
        await broken(rig, schedule_id)

        await rig.after(HOUR)

        schedule = await rig.schedule(schedule_id)
        assert "Mars/Olympus" in schedule.pause_reason
        assert schedule.paused_at is not None
        assert len(await rig.submitted(other)) == 1

    async def test_one_that_could_not_be_read_is_paused_with_the_reason_beside_the_others(
        self, store: Store
    ) -> None:
        rig = a_rig(store)
        schedule_id, other = await rig.create(), await rig.create(name="other")
        flawed = a_rig(store.with_parts(ticks=Flawed(store.ticks, schedule_id)), rig.clock)

        await flawed.after(HOUR)

        schedule = await rig.schedule(schedule_id)
        assert (schedule.paused_by, schedule.pause_reason) == ("scheduler", "it has a flaw")
        assert (schedule.next_at, schedule.fire_at, schedule.flaw) == (None, None, "")
        assert len(await rig.submitted(other)) == 1


class TestOverlap:
    async def test_skip_runs_none_while_one_is_active(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create()
        await rig.after(HOUR)
        [job] = await rig.submitted(schedule_id)

        await rig.after(HOUR)
        await rig.ends(job)
        await rig.after(HOUR)

        assert await rig.ledger(schedule_id) == [
            "1 ran on_time",
            "2 skipped overlap",
            "3 ran on_time",
        ]
        skipped = ((await rig.schedules().runs(schedule_id)).items)[1]
        assert job.id in skipped.detail

    async def test_queue_runs_the_one_that_waits_when_the_job_has_ended(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create(overlap=Overlap.QUEUE)
        for _ in range(3):
            await rig.after(HOUR)
        assert await rig.ledger(schedule_id) == [
            "1 ran on_time",
            "2 waiting overlap",
            "3 skipped overlap",
        ]
        skipped = ((await rig.schedules().runs(schedule_id)).items)[0]
        assert "T02:00:00Z waits" in skipped.detail
        [job] = await rig.submitted(schedule_id)

        await rig.after_run(await rig.ends(job))

        assert (await rig.ledger(schedule_id))[1] == "2 ran overlap"
        [_, second] = await rig.submitted(schedule_id)
        assert second.origin.tick_at == MIDNIGHT + 2 * HOUR
        assert (await rig.schedule(schedule_id)).waiting_at is None

    async def test_what_waits_is_found_without_any_word_of_the_end(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.QUEUE)
        await rig.after(HOUR)
        await rig.after(HOUR)
        [job] = await rig.submitted(schedule_id)
        await rig.writer.move(LOCAL, job.id, Move.CANCEL)

        await a_rig(rig.store, rig.clock).scheduler.round()

        assert (await rig.ledger(schedule_id))[1] == "2 ran overlap"

    async def test_cancel_previous_makes_room(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.CANCEL_PREVIOUS)

        await rig.after(HOUR)
        await rig.after(HOUR)

        [first, second] = await rig.submitted(schedule_id)
        assert (first.state, first.state_reason) == (State.CANCELLED, StateReason.BY_SCHEDULE)
        assert second.state is State.PENDING
        assert await rig.ledger(schedule_id) == ["1 replaced overlap", "2 ran on_time"]

    async def test_jobs_of_a_backfill_stand_in_no_ticks_way(self, rig: ScheduleRig) -> None:
        schedule_ids = [
            await rig.create(name=overlap, overlap=overlap, misfire=Misfire.SKIP)
            for overlap in (Overlap.SKIP, Overlap.QUEUE, Overlap.CANCEL_PREVIOUS)
        ]
        await rig.after(3.5 * HOUR)
        span = (MIDNIGHT + HOUR, MIDNIGHT + 3 * HOUR)
        for schedule_id in schedule_ids:
            await rig.schedules().backfill(schedule_id, *span, dry_run=False)

        await rig.after(HOUR / 2)

        for schedule_id in schedule_ids:
            assert (await rig.ledger(schedule_id))[-1] == "4 ran on_time"
            assert [j.state for j in await rig.submitted(schedule_id)] == [State.PENDING] * 3

    async def test_a_retried_job_makes_room_and_leaves_the_row_of_the_first(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create(overlap=Overlap.CANCEL_PREVIOUS)
        await rig.after(HOUR)
        [first] = await rig.submitted(schedule_id)
        await rig.ends(first, State.FAILED)
        retried = await rig.writer.retry(LOCAL, first.id)

        await rig.after(HOUR)

        assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 ran on_time"]
        assert (await rig.store.jobs.get(retried.id)).job.state is State.CANCELLED

    async def test_a_job_that_cannot_be_submitted_cancels_none(self, rig: ScheduleRig) -> None:
        form = {"name": "news", "spec": {"urls": ["https://a.example/"]}}
        template = await rig.templates(ADA).create(form)
        await rig.templates(ADA).publish(template.id)
        schedule_id = await rig.create(
            template=template.id, overrides={}, overlap=Overlap.CANCEL_PREVIOUS
        )
        await rig.after(HOUR)
        await rig.templates(ADA).unpublish(template.id)

        await rig.after(HOUR)

        [job] = await rig.submitted(schedule_id)
        assert job.state is State.PENDING
        assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 skipped refused"]


class TestMisfire:
    async def test_weeks_of_downtime_are_written_in_portions(self, store: Store) -> None:
        rig = a_rig(store, instants=10)
        schedule_id = await rig.create(misfire=Misfire.RUN_ALL, catch_up=2, overlap=Overlap.ALLOW)
        await rig.after(timedelta(days=7))
        outcomes = [r.split()[1] for r in await rig.ledger(schedule_id)]
        assert outcomes == ["missed"] * 165 + ["caught_up"] * 2 + ["ran"]
