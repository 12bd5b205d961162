"""A schedule that is switched off and on, changed, or run by hand."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap
from crawlyard.errors import IllegalMove, Invalid
from crawlyard.ids import new_id
from crawlyard.services.schedules.terms import ScheduleChanges
from crawlyard.store.schedules.schedules import ScheduleStore
from crawlyard.store.store import Store
from tests.clock import FakeClock
from tests.services.schedule_rig import HOUR, MIDNIGHT, MINUTE, TO_ONE, ScheduleRig, a_rig

FAR = datetime(2400, 1, 1, tzinfo=UTC)

WRONG: list[dict[str, object]] = [
    {"name": None},
    {"description": "x" * 2001},
    {"when": 5},
    {"template": 5},
    {"template_version": 0},
    {"params": {"x": {b"b", b"c"}}},
    {"params": {"x": float("nan")}},
    {"params": {"token": "***"}},
    {"params": {"x": [[[[[[[[[[[1]]]]]]]]]]]}},
    {"overrides": [1]},
    {"overrides": {5: 1}},
    {"overlap": "bogus"},
    {"grace_s": "5s"},
    {"catch_up": True},
    {"catch_up": 1.5},
    {"starts_at": "2027-01-01"},
    {"starts_at": datetime(2027, 1, 1)},  # noqa: DTZ001 - what is refused
    {"starts_at": datetime(1, 1, 1, tzinfo=UTC)},
    {"ends_at": datetime(9999, 1, 1, tzinfo=UTC)},
    {"runs_left": 1.5},
    {"runs_left": 2**70},
    {"pause_after": 2**70},
    {"pause_after": 0},
    {"pause_after": 1001},
    {"name": " "},
    {"grace_s": -1},
    {"grace_s": 32 * 86_400},
    {"jitter_s": 2 * 86_400},
    {"catch_up": 0},
    {"catch_up": 1001},
    {"runs_left": -1},
    {"runs_left": True},
    {"starts_at": datetime(1969, 12, 31, tzinfo=UTC)},
]
NO_NULL = ("description", "zone", "params", "misfire", "jitter_s")
"""Null sets their default in an edit; a new schedule has a value."""


@pytest.fixture
def rig(store: Store) -> ScheduleRig:
    return a_rig(store)


@dataclass(slots=True)
class Late:
    """A `ScheduleStore` with one read so slow that the clock moves on."""

    inner: ScheduleStore
    clock: FakeClock
    looks: int  # before the one that takes so long
    takes: timedelta

    async def get(self, schedule_id: str) -> CrawlSchedule:
        if self.looks == 0:
            await self.clock.advance(self.takes)
        self.looks -= 1
        return await self.inner.get(schedule_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class TestParams:
    async def test_there_are_none_without_a_template(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create()

        with pytest.raises(Invalid, match="params: expected a template that has them"):
            await rig.create(name="other", params={"x": 1})
        with pytest.raises(Invalid, match="params: expected a template that has them"):
            await rig.schedules().edit(schedule_id, params={"x": 1})
        assert (await rig.schedule(schedule_id)).params == {}


class TestToggle:
    async def test_ticks_of_a_paused_schedule_are_skipped_with_the_reason(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create()

        paused = await rig.schedules().pause(schedule_id, "they move")
        await rig.after(HOUR)
        await rig.after(HOUR)

        assert (paused.paused_by, paused.pause_reason) == ("local", "they move")
        assert await rig.ledger(schedule_id) == ["1 skipped paused", "2 skipped paused"]
        [tick, _] = (await rig.schedules().runs(schedule_id)).items
        assert tick.detail == "they move"
        assert await rig.event_names(schedule_id) == ["created", "paused"]

    async def test_switched_on_it_does_not_fire_the_past(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create()
        await rig.schedules().pause(schedule_id)
        await rig.clock.advance(3 * HOUR)

        on = await rig.schedules().resume(schedule_id)

        assert (on.paused_at, on.paused_by, on.version) == (None, "", 3)
        assert on.next_at == MIDNIGHT + 4 * HOUR
        assert await rig.submitted(schedule_id) == []
        assert [r.split()[1] for r in await rig.ledger(schedule_id)] == ["skipped"] * 3
        assert await rig.event_names(schedule_id) == ["created", "paused", "resumed"]
        await rig.after(HOUR)
        assert len(await rig.submitted(schedule_id)) == 1

    async def test_with_run_all_it_makes_up_for_the_last_of_them(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(misfire=Misfire.RUN_ALL, catch_up=2, overlap=Overlap.ALLOW)
        await rig.schedules().pause(schedule_id)
        await rig.after(3 * HOUR)
        await rig.schedules().resume(schedule_id)
        assert await rig.ledger(schedule_id) == [
            "1 skipped paused",
            "2 caught_up late",
            "3 caught_up late",
        ]
        assert len(await rig.submitted(schedule_id)) == 2

    async def test_what_is_so_already_stays(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create()

        on = await rig.schedules().resume(schedule_id)
        off = await rig.schedules().pause(schedule_id, "one")
        again = await rig.schedules().pause(schedule_id, "two")

        assert on.version == 1
        assert off == again
        assert await rig.event_names(schedule_id) == ["created", "paused"]


class TestUpdate:
    async def test_another_time_table_is_followed_at_once(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create("@daily")
        changed = await rig.schedules().edit(schedule_id, when="every 10m")
        assert changed.next_at == MIDNIGHT + 11 * MINUTE
        assert changed.version == 2
        assert await rig.event_names(schedule_id) == ["created", "updated"]

    async def test_what_else_changes_leaves_the_next_instant(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create()
        await rig.clock.advance(HOUR)
        changed = await rig.schedules().edit(schedule_id, description="new")
        await rig.scheduler.round()
        assert changed.next_at == MIDNIGHT + HOUR
        assert await rig.ledger(schedule_id) == ["1 ran on_time"]

    async def test_what_was_due_before_is_fired_by_the_old_time_table(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create(grace_s=HOUR.total_seconds())
        await rig.clock.advance(HOUR)
        await rig.schedules().edit(schedule_id, when="@daily")
        assert await rig.ledger(schedule_id) == ["1 ran on_time"]
        assert (await rig.schedule(schedule_id)).next_at == MIDNIGHT + 24 * HOUR

    async def test_what_jitter_delays_is_decided_before_another_time_table_holds(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create(jitter_s=1800)
        await rig.clock.advance(TO_ONE)
        await rig.scheduler.round()
        assert await rig.ledger(schedule_id) == []

        await rig.schedules().edit(schedule_id, when="30 * * * *")

        assert await rig.ledger(schedule_id) == ["1 ran on_time"]
        assert (await rig.schedule(schedule_id)).next_at == MIDNIGHT + 1.5 * HOUR

    @pytest.mark.parametrize("looks", [0, 1, 2])
    async def test_what_comes_while_it_is_edited_is_decided_before(
        self, store: Store, looks: int
    ) -> None:
        rig = a_rig(store)
        schedule_id = await rig.create()
        schedules = Late(store.schedules, rig.clock, looks, TO_ONE)
        slow = a_rig(store.with_parts(schedules=schedules), rig.clock)
        await slow.schedules().edit(schedule_id, when="@daily")
        assert await rig.ledger(schedule_id) == ["1 ran on_time"]

    async def test_a_clock_that_steps_back_lets_an_edit_run_nothing_again(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        for _ in range(3):
            await rig.after(HOUR)
        rig.clock.step(-2 * HOUR)

        edited = await rig.schedules().edit(schedule_id, when="*/30 * * * *")
        await rig.after(3 * HOUR)

        assert edited.next_at == MIDNIGHT + 3.5 * HOUR
        ledger = await rig.ledger(schedule_id)
        assert [r.split()[0] for r in ledger] == ["1", "2", "3", "3.5", "4"]
        assert len(await rig.submitted(schedule_id)) == len(
            {j.origin.tick_at for j in await rig.submitted(schedule_id)}
        )

    async def test_intervals_are_counted_from_the_clock_on_the_wall(self, rig: ScheduleRig) -> None:
        rig.clock.step(7 * MINUTE)
        schedule_id = await rig.create("every 1h")
        assert (await rig.schedule(schedule_id)).next_at == MIDNIGHT + HOUR + 8 * MINUTE

    @pytest.mark.parametrize(
        ("fields", "changes", "field"),
        [
            ({}, {"runs_left": 0}, "runs_left"),
            ({}, {"ends_at": MIDNIGHT}, "ends_at"),
            ({}, {"starts_at": FAR + MINUTE, "ends_at": FAR + 2 * MINUTE}, "ends_at"),
            ({}, {"when": "at 2027-01-01T08:00", "starts_at": FAR}, "starts_at"),
            ({"runs_left": 1}, {"when": "@daily"}, "runs_left"),
            ({}, {"when": "at 2020-01-01T08:00", "ends_at": FAR}, "when"),
        ],
    )
    async def test_where_no_instant_is_to_come_the_refusal_names_the_cause(
        self, rig: ScheduleRig, fields: dict[str, Any], changes: ScheduleChanges, field: str
    ) -> None:
        schedule_id = await rig.create(**fields)
        await rig.after(HOUR)
        with pytest.raises(Invalid) as refused:
            await rig.schedules().edit(schedule_id, **changes)
        assert refused.value.field == field

    async def test_a_value_that_cannot_be_kept_is_refused_by_its_name(
        self, rig: ScheduleRig, subtests: pytest.Subtests
    ) -> None:
        schedule_id = await rig.create()
        changes: list[dict[str, Any]] = [*WRONG, *({name: None} for name in NO_NULL)]
        for change in changes:
            [field] = change

            with subtests.test(change=change), pytest.raises(Invalid) as refused:
                await rig.create(**({"name": "another"} | change))
            assert refused.value.field.partition(".")[0] == field, change

            if change[field] is not None or field not in NO_NULL:
                with subtests.test(change=change), pytest.raises(Invalid) as refused:
                    await rig.schedules().edit(schedule_id, **change)
                assert refused.value.field.partition(".")[0] == field, change

            assert (await rig.schedule(schedule_id)).version == 1, change
            assert len((await rig.schedules().list()).items) == 1, change

    async def test_what_cannot_be_is_refused(
        self, rig: ScheduleRig, subtests: pytest.Subtests
    ) -> None:
        schedule_id = await rig.create()
        cases: list[tuple[dict[str, Any], str]] = [
            ({"owner": "eve"}, "owner"),
            ({"next_at": MIDNIGHT}, "next_at"),
            ({"template_id": new_id()}, "template_id"),
            ({"when": "* * * *"}, "when"),
            ({"overrides": {"urls": []}}, "overrides.urls"),
            ({"ends_at": MIDNIGHT}, "ends_at"),
            ({"starts_at": FAR, "ends_at": FAR - HOUR}, "ends_at"),
            ({"name": "x/y"}, "name"),
        ]
        for changes, field in cases:
            with subtests.test(changes=changes), pytest.raises(Invalid) as refused:
                await rig.schedules().edit(schedule_id, **changes)

            assert refused.value.field == field, changes
            assert (await rig.schedule(schedule_id)).version == 1, changes


class TestRunNow:
    async def test_it_submits_a_job_and_leaves_the_time_table(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(runs_left=5)
        await rig.schedules().pause(schedule_id)
        before = await rig.schedule(schedule_id)

        job = await rig.run(schedule_id)

        assert await rig.submitted(schedule_id) == [job]
        [tick] = (await rig.schedules().runs(schedule_id)).items
        assert (tick.outcome, tick.reason, tick.job_id) == ("ran", "by_user", job.id)
        assert await rig.schedule(schedule_id) == replace(before, beat=before.beat + 1)

    async def test_twice_at_one_instant_leaves_two_rows(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        jobs = [await rig.run(schedule_id) for _ in range(2)]
        ticks = (await rig.schedules().runs(schedule_id)).items
        assert {t.job_id for t in ticks} == {j.id for j in jobs}
        assert len({t.due_at for t in ticks}) == 2

    async def test_it_does_not_take_the_place_of_a_tick_that_is_due(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        await rig.clock.advance(TO_ONE)

        job = await rig.run(schedule_id)
        await rig.scheduler.round()

        ticks = (await rig.schedules().runs(schedule_id)).items
        assert {t.reason for t in ticks} == {"by_user", "on_time"}
        assert {t.job_id for t in ticks} == {j.id for j in await rig.submitted(schedule_id)}
        assert job.id in {t.job_id for t in ticks}

    @pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE])
    async def test_one_at_a_time_is_kept(self, rig: ScheduleRig, overlap: Overlap) -> None:
        schedule_id = await rig.create(overlap=overlap)
        job = await rig.run(schedule_id)
        with pytest.raises(IllegalMove, match=job.id):
            await rig.run(schedule_id)
        assert await rig.submitted(schedule_id) == [job]

    async def test_cancel_previous_cancels(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.CANCEL_PREVIOUS)
        first = await rig.run(schedule_id)
        second = await rig.run(schedule_id)
        states = {j.id: j.state for j in await rig.submitted(schedule_id)}
        assert states == {first.id: State.CANCELLED, second.id: State.PENDING}

    async def test_cancel_previous_replaces_as_a_tick_does(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(overlap=Overlap.QUEUE)
        await rig.after(HOUR)
        await rig.after(HOUR)
        await rig.schedules().edit(schedule_id, overlap=Overlap.CANCEL_PREVIOUS)

        job = await rig.run(schedule_id)
        await rig.ends(job)
        await rig.scheduler.round()

        assert (await rig.schedule(schedule_id)).waiting_at is None
        ledger = await rig.ledger(schedule_id)
        assert [r.split(" ", 1)[1] for r in ledger] == [
            "replaced overlap",
            "replaced overlap",
            "ran by_user",
        ]
        assert len(await rig.submitted(schedule_id)) == 2
