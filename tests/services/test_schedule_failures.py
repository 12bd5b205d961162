"""Refused ticks, failed runs, and the calendar of a schedule."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.calendar import CalendarHours
from crawlyard.core.schedules.schedule import Misfire, Overlap
from crawlyard.errors import Invalid
from crawlyard.services.schedules.backfill import MAX_INSTANTS_PER_CALL
from crawlyard.services.schedules.lookup import is_due
from crawlyard.store.store import Store
from tests.services.schedule_rig import (
    ADA,
    HOUR,
    MIDNIGHT,
    MINUTE,
    TO_ONE,
    ScheduleRig,
    a_rig,
    broken,
)


@pytest.fixture
def rig(store: Store) -> ScheduleRig:
    return a_rig(store)


class TestBackfill:
    async def test_what_is_due_is_fired_before_and_runs_once(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        await rig.clock.advance(3.5 * HOUR)

        dry = await rig.schedules().backfill(schedule_id, MIDNIGHT + HOUR)
        done = await rig.schedules().backfill(schedule_id, MIDNIGHT + HOUR, dry_run=False)
        await rig.scheduler.round()

        assert await rig.ledger(schedule_id) == [
            "1 caught_up backfill",
            "2 caught_up backfill",
            "3 caught_up late",
        ]
        assert len(await rig.submitted(schedule_id)) == 3
        for backfill in (dry, done):
            assert [t.due_at for t in backfill.runs] == [MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR]
            assert (backfill.kept, backfill.until) == (1, rig.clock.wall())

    async def test_what_its_jitter_delays_is_left_to_its_time(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(jitter_s=1800, grace_s=HOUR.total_seconds())
        await rig.clock.advance(TO_ONE + timedelta(microseconds=1))

        dry = await rig.schedules().backfill(schedule_id, MIDNIGHT + 0.5 * HOUR)
        done = await rig.schedules().backfill(schedule_id, MIDNIGHT + 0.5 * HOUR, dry_run=False)
        await rig.after(HOUR / 2)

        assert (dry.runs, done.runs) == ((), ())
        assert await rig.ledger(schedule_id) == ["1 ran on_time"]

    async def test_what_was_made_up_for_after_the_end_is_not_run_again(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create(runs_left=1, overlap=Overlap.ALLOW)
        for _ in range(4):
            await rig.after(HOUR)
        await rig.schedules().backfill(schedule_id, MIDNIGHT, dry_run=False)
        rig.clock.step(-3 * HOUR)

        await rig.schedules().edit(schedule_id, runs_left=9)
        await rig.after(4 * HOUR)

        jobs = await rig.submitted(schedule_id)
        assert len(jobs) == len({j.origin.tick_at for j in jobs}) == 6

    async def test_a_dry_run_says_what_would_run_and_writes_nothing(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(misfire=Misfire.SKIP)
        await rig.after(5 * HOUR)
        events = await rig.store.events.last()

        dry_run = await rig.schedules().backfill(
            schedule_id, MIDNIGHT + 2 * HOUR, MIDNIGHT + 4 * HOUR
        )

        assert dry_run.dry_run
        assert [t.due_at for t in dry_run.runs] == [MIDNIGHT + 2 * HOUR, MIDNIGHT + 3 * HOUR]
        assert [t.job_id for t in dry_run.runs] == [None, None]
        assert await rig.store.events.last() == events

    async def test_what_did_not_run_is_made_up_for_once(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(misfire=Misfire.RUN_ONCE)
        await rig.after(5 * HOUR)
        span = (MIDNIGHT - 2 * HOUR, MIDNIGHT + 5 * HOUR + MINUTE)

        done = await rig.schedules().backfill(schedule_id, *span, dry_run=False)
        again = await rig.schedules().backfill(schedule_id, *span, dry_run=False)
        dry = await rig.schedules().backfill(schedule_id, *span)

        assert [r.split(" ", 1)[1] for r in await rig.ledger(schedule_id)] == [
            *["caught_up backfill"] * 7,
            "ran on_time",
        ]
        jobs = await rig.submitted(schedule_id)
        assert {t.job_id for t in done.runs} == {j.id for j in jobs[1:]}
        assert (len(done.runs), done.kept) == (7, 1)
        assert (again.runs, again.kept) == (dry.runs, dry.kept) == ((), 8)

    async def test_two_at_once_make_up_for_each_instant_once(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(misfire=Misfire.SKIP)
        await rig.after(5.5 * HOUR)
        span = (MIDNIGHT + HOUR, MIDNIGHT + 5 * HOUR)
        rivals = [a_rig(rig.store, rig.clock) for _ in range(3)]

        done = await asyncio.gather(
            *(r.schedules().backfill(schedule_id, *span, dry_run=False) for r in rivals)
        )

        assert sum(len(d.runs) for d in done) == len(await rig.submitted(schedule_id)) == 4

    async def test_a_range_that_is_none_or_too_long_is_refused(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create("every 10s")
        long = timedelta(seconds=10 * MAX_INSTANTS_PER_CALL + 10)
        await rig.clock.advance(long + MINUTE)
        now = rig.clock.wall()

        for since, until in ((now, now), (now - HOUR, now + MINUTE)):
            for dry_run in (True, False):
                with pytest.raises(Invalid, match="expected a range"):
                    await rig.schedules().backfill(schedule_id, since, until, dry_run=dry_run)
        with pytest.raises(Invalid, match="1,000 instants"):
            await rig.schedules().backfill(schedule_id, now - long, now)

        assert await rig.submitted(schedule_id) == []


class TestRefusals:
    async def test_above_the_backlog_ticks_are_skipped_for_the_quota(self, store: Store) -> None:
        rig = a_rig(store, backlog=2)
        mine = [await rig.create(name=f"s{n}") for n in range(3)]
        of_ada = await rig.create(actor=ADA)

        await rig.after(HOUR)

        rows = sorted([(await rig.ledger(i))[0] for i in mine])
        assert rows == ["1 ran on_time", "1 ran on_time", "1 skipped quota"]
        assert await rig.ledger(of_ada) == ["1 ran on_time"]

    async def test_there_is_room_again_when_jobs_have_ended(self, store: Store) -> None:
        rig = a_rig(store, backlog=1)
        schedule_id = await rig.create(overlap=Overlap.ALLOW, runs_left=2)
        await rig.after(HOUR)
        await rig.after(HOUR)
        [job] = await rig.submitted(schedule_id)
        await rig.ends(job)

        await rig.after(HOUR)

        assert await rig.ledger(schedule_id) == [
            "1 ran on_time",
            "2 skipped quota",
            "3 ran on_time",
        ]

    async def test_a_job_that_cannot_be_submitted_leaves_the_sentence(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await shared(rig, pause_after=2)

        await rig.after(HOUR)

        assert await rig.ledger(schedule_id) == ["1 skipped refused"]
        [tick] = (await rig.schedules().runs(schedule_id)).items
        assert "template" in tick.detail
        assert (await rig.schedule(schedule_id)).paused_at is None

    async def test_refused_often_enough_it_is_paused(self, rig: ScheduleRig) -> None:
        schedule_id = await shared(rig, pause_after=2)

        await rig.after(HOUR)
        await rig.after(HOUR)

        schedule = await rig.schedule(schedule_id)
        assert (schedule.paused_by, schedule.pause_reason) == (
            "scheduler",
            "2 runs in a row have failed",
        )
        assert await rig.event_names(schedule_id) == ["created", "paused"]


async def shared(rig: ScheduleRig, **fields: Any) -> str:
    """Return the id of a schedule whose template is not shared any more."""
    form = {"name": "news", "spec": {"urls": ["https://a.example/"]}}
    template = await rig.templates(ADA).create(form)
    await rig.templates(ADA).publish(template.id)
    schedule_id = await rig.create(template=template.id, overrides={}, **fields)
    await rig.templates(ADA).unpublish(template.id)
    return schedule_id


class TestFailures:
    async def test_failed_often_enough_in_a_row_it_is_paused(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(pause_after=2)
        for state in (State.FAILED, State.COMPLETED, State.FAILED):
            await rig.after(HOUR)
            await rig.ends((await rig.submitted(schedule_id))[-1], state)
        await rig.after(HOUR)
        assert (await rig.schedule(schedule_id)).paused_at is None

        await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)
        await rig.scheduler.round()

        schedule = await rig.schedule(schedule_id)
        assert schedule.pause_reason == "2 runs in a row have failed"
        await rig.after(HOUR)
        assert (await rig.ledger(schedule_id))[-1] == "5 skipped paused"

    async def test_switched_on_again_it_may_fail_as_often_as_before(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(pause_after=2)
        for _ in range(2):
            await rig.after(HOUR)
            await rig.after_run(
                await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)
            )
        await rig.clock.advance(MINUTE)
        await rig.schedules().resume(schedule_id)
        await rig.after(HOUR)

        job = await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)
        await rig.after_run(job)

        assert (await rig.schedule(schedule_id)).paused_at is None

    async def test_a_scheduler_that_saw_no_end_runs_no_further_job(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(pause_after=1)
        await rig.after(HOUR)
        await rig.ends((await rig.submitted(schedule_id))[0], State.FAILED)

        await a_rig(rig.store, rig.clock).after(HOUR)

        assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 skipped paused"]

    async def test_an_edit_does_not_forgive_failures(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(pause_after=2)
        for n in range(2):
            await rig.after(HOUR)
            await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)
            await rig.clock.advance(MINUTE)
            if not n:
                await rig.schedules().edit(schedule_id, description="why?")

        await rig.scheduler.round()

        assert (await rig.schedule(schedule_id)).paused_by == "scheduler"

    async def test_a_new_failure_limit_restarts_the_count(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create()
        for _ in range(2):
            await rig.after(HOUR)
            await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)

        await rig.schedules().edit(schedule_id, pause_after=1)
        await rig.after(HOUR)

        assert (await rig.schedule(schedule_id)).paused_at is None
        assert len(await rig.submitted(schedule_id)) == 3

    @pytest.mark.parametrize("by", [-5 * HOUR, 5 * HOUR])
    async def test_failures_are_counted_across_clock_steps(
        self, rig: ScheduleRig, by: timedelta
    ) -> None:
        schedule_id = await rig.create(pause_after=2, overlap=Overlap.ALLOW)
        await rig.schedules().pause(schedule_id)
        rig.clock.step(by)
        await rig.schedules().resume(schedule_id)

        for _ in range(2):
            job = await rig.run(schedule_id)
            await rig.after_run(await rig.ends(job, State.FAILED))

        assert (await rig.schedule(schedule_id)).paused_by == "scheduler"

    async def test_what_fails_of_a_backfill_pauses_nothing(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(pause_after=2, misfire=Misfire.SKIP)
        since = rig.clock.wall()
        await rig.after(4 * HOUR)
        made_up = await rig.schedules().backfill(schedule_id, since, dry_run=False)
        for tick in made_up.runs:
            job = (await rig.store.jobs.get(tick.job_id or "")).job
            await rig.after_run(await rig.ends(job, State.FAILED))

        await rig.after(HOUR)

        assert len(made_up.runs) == 3
        assert (await rig.schedule(schedule_id)).paused_at is None

    async def test_a_cancelled_job_neither_counts_nor_ends_the_row(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(pause_after=2)
        for state in (State.FAILED, State.CANCELLED, State.FAILED):
            await rig.after(HOUR)
            await rig.ends((await rig.submitted(schedule_id))[-1], state)

        await rig.scheduler.round()

        assert (await rig.schedule(schedule_id)).paused_by == "scheduler"

    async def test_a_repeated_end_of_a_job_counts_once(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(pause_after=1)
        await rig.after(HOUR)
        job = await rig.ends((await rig.submitted(schedule_id))[0], State.FAILED)

        for _ in range(3):
            await rig.after_run(job)

        assert await rig.event_names(schedule_id) == ["created", "paused"]

    async def test_it_releases_no_tick_while_another_job_is_active(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.QUEUE)
        await rig.after(HOUR)
        await rig.after(HOUR)
        job = await rig.ends((await rig.submitted(schedule_id))[0])
        await rig.after_run(job)
        await rig.after(HOUR)

        await rig.after_run(job)

        assert await rig.ledger(schedule_id) == [
            "1 ran on_time",
            "2 ran overlap",
            "3 waiting overlap",
        ]

    async def test_the_end_of_a_job_of_a_deleted_schedule_is_nothing(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create()
        await rig.after(HOUR)
        [job] = await rig.submitted(schedule_id)
        await rig.schedules().delete(schedule_id)

        await rig.after_run(await rig.ends(job))

        assert [j.id for j in await rig.submitted(schedule_id)] == [job.id]
        assert await rig.event_names(schedule_id) == ["created", "deleted"]


class TestLooking:
    async def test_a_schedule_is_due_when_its_time_has_come_and_it_is_on(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create()
        schedule = await rig.schedule(schedule_id)

        assert not is_due(schedule, rig.clock.wall())
        assert is_due(schedule, MIDNIGHT + HOUR)
        await rig.clock.advance(TO_ONE)
        assert is_due(schedule, rig.clock.wall())
        assert not is_due(replace(schedule, paused_at=MIDNIGHT), rig.clock.wall())
        assert not is_due(replace(schedule, fire_at=None), rig.clock.wall())

    async def test_the_next_runs_end_with_the_schedule(self, rig: ScheduleRig) -> None:
        until = await rig.create(ends_at=MIDNIGHT + 3 * HOUR)
        counted = await rig.create(name="counted", runs_left=2)

        assert await rig.next_runs(until, 9) == tuple(MIDNIGHT + n * HOUR for n in (1, 2, 3))
        assert await rig.next_runs(until, 1) == (MIDNIGHT + HOUR,)
        assert len(await rig.next_runs(counted, 9)) == 2

    async def test_next_runs_start_now_and_an_overdue_run_is_shown_apart(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create()
        await rig.clock.advance(2.5 * HOUR)

        assert await rig.next_runs(schedule_id, 2) == (
            MIDNIGHT + 3 * HOUR,
            MIDNIGHT + 4 * HOUR,
        )
        assert (await rig.schedules().next(schedule_id)).overdue_at == MIDNIGHT + HOUR
        await rig.scheduler.round()
        assert (await rig.schedules().next(schedule_id)).overdue_at is None

    @pytest.mark.parametrize("count", [-1, 0, 101])
    async def test_at_most_a_hundred_next_runs_are_listed(
        self, rig: ScheduleRig, count: int
    ) -> None:
        schedule_id = await rig.create()

        with pytest.raises(Invalid, match="count"):
            await rig.next_runs(schedule_id, count)

        assert len(await rig.next_runs(schedule_id, 100)) == 100

    async def test_one_whose_zone_is_gone_is_left_out_of_the_calendar(
        self, rig: ScheduleRig
    ) -> None:
        zoneless, other = await rig.create(), await rig.create(name="other")
        await broken(rig, zoneless)

        calendar = await rig.schedules().calendar()

        assert {o.schedule_id for o in calendar.occurrences} == {other}
        assert not calendar.whole
        assert calendar.unreadable == (zoneless,)
        with pytest.raises(Invalid, match="Mars/Olympus"):
            await rig.next_runs(zoneless)

    async def test_no_instant_is_out_of_the_years_that_zones_can_say(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create()
        first = datetime(1, 1, 1, tzinfo=UTC)

        with pytest.raises(Invalid, match="1970"):
            await rig.schedules().calendar(first, MIDNIGHT)
        with pytest.raises(Invalid, match="1970"):
            await rig.schedules().calendar(MIDNIGHT, datetime(9999, 1, 1, tzinfo=UTC))
        with pytest.raises(Invalid, match="1970"):
            await rig.schedules().backfill(schedule_id, first)
        with pytest.raises(Invalid, match="1970"):
            await rig.schedules().runs(schedule_id, before=first)

    async def test_a_calendar_has_what_became_of_the_past_and_what_is_to_come_of_all(
        self, rig: ScheduleRig
    ) -> None:
        hourly, two = await rig.create(), await rig.create("30 * * * *", name="half", runs_left=2)
        await rig.after(HOUR)
        [job] = await rig.submitted(hourly)

        calendar = await rig.schedules().calendar(MIDNIGHT - 9 * HOUR, MIDNIGHT + 3 * HOUR)

        fates = [
            ((o.due_at - MIDNIGHT) / HOUR, o.schedule_id, o.fate) for o in calendar.occurrences
        ]
        assert fates == [  # nothing before they began; the other one has a run left
            (0.5, two, "pending"),
            (1, hourly, "pending"),
            (1.5, two, ""),
            (2, hourly, ""),
        ]
        assert calendar.occurrences[1].job_id == job.id
        assert (calendar.whole, calendar.until) == (True, MIDNIGHT + 3 * HOUR)

    async def test_hours_count_outcomes_and_runs_and_say_until_when_they_are_computed(
        self, rig: ScheduleRig
    ) -> None:
        hourly, two = await rig.create(), await rig.create("0,30 * * * *", name="half")
        paused = await rig.create(name="held")
        await rig.schedules().pause(paused)
        await rig.after(HOUR)
        first, half_past, other = [await rig.schedule(key) for key in (hourly, two, paused)]

        hours = await rig.schedules().hours(MIDNIGHT, MIDNIGHT + 3 * HOUR)
        india = await rig.schedules().hours(
            MIDNIGHT, MIDNIGHT + 2 * HOUR, zone="Asia/Kolkata", schedule=first.id
        )

        assert [half_past.next_at, other.next_at] == [MIDNIGHT + 1.5 * HOUR, MIDNIGHT + 2 * HOUR]
        assert [((h.at - MIDNIGHT) / HOUR, h.runs, h.together, h.held) for h in hours.hours] == [
            (0, 0, 0, 0),
            (1, 1, 1, 0),
            (2, 3, 2, 1),
        ]
        assert [dict(h.fates) for h in hours.hours] == [
            {"missed": 1},  # half past: no scheduler ran
            {"pending": 2, "skipped": 1},
            {},
        ]
        assert (hours.since, hours.until, hours.whole) == (MIDNIGHT, MIDNIGHT + 3 * HOUR, True)
        assert [(h.at - MIDNIGHT) / HOUR for h in india.hours] == [0.5]  # its hours begin there

    async def test_the_end_of_a_job_changes_the_past_of_a_calendar_and_computes_no_run_again(
        self, rig: ScheduleRig
    ) -> None:
        often = await rig.create("* * * * *")
        await rig.create("* * * * *", name="as often")
        await rig.after(MINUTE)
        [job] = await rig.submitted(often)

        async def hours() -> tuple[CalendarHours, float]:
            begun = process_time()
            answer = await rig.schedules().hours(MIDNIGHT - HOUR, MIDNIGHT + 7 * 24 * HOUR)
            return answer, process_time() - begun

        before, computing_s = await hours()
        await rig.ends(job, State.FAILED)
        after, cached_s = await hours()
        await rig.schedules().pause(often)
        paused, _ = await hours()

        fates = [
            Counter(fate for hour in answer.hours for fate in hour.fates)
            for answer in (before, after)
        ]
        assert [fate["failed"] for fate in fates] == [0, 1]
        assert [hour.runs for hour in before.hours] == [hour.runs for hour in after.hours]
        assert cached_s < computing_s / 4  # 20,000 runs or none
        assert {(hour.runs, hour.held) for hour in paused.hours[2:-1]} == {(60, 60)}

    async def test_more_runs_than_can_be_computed_end_at_a_horizon(self, rig: ScheduleRig) -> None:
        for n in range(3):
            await rig.create("* * * * *", name=f"often{n}")
        week = MIDNIGHT + timedelta(days=7)

        hours = await rig.schedules().hours(MIDNIGHT, week)
        listed = await rig.schedules().calendar(MIDNIGHT, week)

        assert not hours.whole
        assert MIDNIGHT + timedelta(days=4) < hours.until < MIDNIGHT + timedelta(days=5)
        assert {hour.runs for hour in hours.hours[1:-1]} == {180}
        assert sum(hour.runs for hour in hours.hours) % 3 == 0  # all that are before it
        assert (len(listed.occurrences), listed.whole) == (2_000, False)
        assert listed.until == listed.occurrences[-1].due_at
        with pytest.raises(Invalid, match="31 days"):
            await rig.schedules().hours(MIDNIGHT, MIDNIGHT + timedelta(days=32))
