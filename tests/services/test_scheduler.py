"""`Scheduler`: what it is told, what it fires, and what the ledger says of it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.event import Event, EventName
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State, StateReason
from crawlyard.core.schedule import CrawlSchedule, Misfire, Overlap, Tick
from crawlyard.core.template import Parameter, TemplateDraft
from crawlyard.core.user import LOCAL, Actor
from crawlyard.errors import Conflict, IllegalMove, Invalid, NotFound
from crawlyard.ids import new_id
from crawlyard.services.schedule_backfill import MOST_BACKFILLED
from crawlyard.store.base import (
    EventQuery,
    Firing,
    ScheduleQuery,
    ScheduleStore,
    Store,
    TickStore,
)
from tests.clock import FakeClock
from tests.services.schedule_rig import HOUR, MIDNIGHT, MINUTE, TO_ONE, Rig, a_rig

ADA = Actor(id="ada")


FAR = datetime(2400, 1, 1, tzinfo=UTC)

WRONG: list[dict[str, object]] = [
    {"name": None},
    {"description": None},
    {"description": "x" * 2001},
    {"when": 5},
    {"zone": None},
    {"template": 5},
    {"template_version": 0},
    {"params": None},
    {"params": {"x": {1, 2}}},
    {"params": {"x": float("nan")}},
    {"params": {"token": "***"}},
    {"params": {"x": [[[[[[[[[[[1]]]]]]]]]]]}},
    {"overrides": [1]},
    {"overrides": {5: 1}},
    {"overlap": "bogus"},
    {"misfire": None},
    {"grace": 5},
    {"jitter": None},
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
]


@pytest.fixture
def rig(store: Store) -> Rig:
    return a_rig(store)


@dataclass(slots=True)
class Late:
    """A `ScheduleStore` that is so slow once that time goes on before the answer."""

    inner: ScheduleStore
    clock: FakeClock
    looks: int  # before the one that takes so long
    takes: timedelta

    async def get(self, schedule_id: str) -> CrawlSchedule:
        if self.looks == 0:
            await self.clock.advance(self.takes)
        self.looks -= 1
        return await self.inner.get(schedule_id)

    async def add(self, schedule: CrawlSchedule, event: Event) -> None:
        await self.inner.add(schedule, event)

    async def save(self, schedule: CrawlSchedule, event: Event) -> None:
        await self.inner.save(schedule, event)

    async def find(self, query: ScheduleQuery, limit: int) -> list[CrawlSchedule]:
        return await self.inner.find(query, limit)

    async def runs(self, schedule_id: str) -> int:
        return await self.inner.runs(schedule_id)

    async def delete(self, schedule_id: str, version: int, event: Event) -> None:
        await self.inner.delete(schedule_id, version, event)


@dataclass(frozen=True, slots=True)
class Flawed:
    """A `TickStore` that could not read all of one row."""

    inner: TickStore
    schedule_id: str

    async def due(self, now: datetime, limit: int) -> list[CrawlSchedule]:
        due = await self.inner.due(now, limit)
        return [replace(s, flaw="it has a flaw") if s.id == self.schedule_id else s for s in due]

    async def waiting(self, limit: int) -> list[CrawlSchedule]:
        return await self.inner.waiting(limit)

    async def next_at(self) -> datetime | None:
        return await self.inner.next_at()

    async def active(self, schedule_ids: Collection[str]) -> Mapping[str, Sequence[Job]]:
        return await self.inner.active(schedule_ids)

    async def failures(self, schedule_ids: Collection[str], last: int) -> Mapping[str, int]:
        return await self.inner.failures(schedule_ids, last)

    async def fire(self, firings: Sequence[Firing]) -> list[bool]:
        return await self.inner.fire(firings)

    async def ticks(
        self, schedule_id: str, before: datetime | None = None, limit: int = 100
    ) -> list[Tick]:
        return await self.inner.ticks(schedule_id, before, limit)

    async def ticks_between(
        self, schedule_id: str, since: datetime, until: datetime
    ) -> Mapping[datetime, Tick]:
        return await self.inner.ticks_between(schedule_id, since, until)


class TestCreate:
    async def test_a_new_schedule_is_due_at_its_first_instant(self, rig: Rig) -> None:
        schedule_id = await rig.create("0 3 * * *", zone="Europe/Berlin", description="all")

        schedule = await rig.scheduler.get(LOCAL, schedule_id)

        assert (schedule.owner, schedule.name, schedule.description) == ("local", "nightly", "all")
        assert schedule.next_at == schedule.fire_at == MIDNIGHT + 2 * HOUR
        assert await rig.told(schedule_id) == ["created"]

    async def test_names_are_unique_for_each_owner(self, rig: Rig) -> None:
        await rig.create()
        await rig.create(actor=ADA)

        with pytest.raises(Conflict, match="nightly"):
            await rig.create()

    @pytest.mark.parametrize(
        ("field", "fields"),
        [
            ("when", {"when": "61 * * * *"}),
            ("when", {"when": "at 2020-01-01T00:00"}),
            ("zone", {"zone": "Europe/Berlim"}),
            ("name", {"name": "a/b"}),
            ("name", {"name": new_id()}),
            ("grace", {"grace": timedelta(seconds=-1)}),
            ("urls", {"overrides": {}}),
            ("urls", {"overrides": {"urls": ["ftp://example.com/"]}}),
            ("max_pages", {"overrides": {"urls": ["https://example.com/"], "max_pages": 1}}),
        ],
    )
    async def test_what_could_never_run_is_refused(
        self, rig: Rig, field: str, fields: dict[str, object]
    ) -> None:
        with pytest.raises(Invalid) as refused:
            await rig.create(**fields)  # type: ignore[arg-type]  # fields by name

        assert refused.value.field == field
        assert await rig.scheduler.list(LOCAL) == []

    async def test_a_template_is_named_by_its_name_and_must_be_there(self, rig: Rig) -> None:
        draft = TemplateDraft(name="news", spec={"urls": ["https://example.com/"]})
        template = await rig.templates.create(LOCAL, draft)

        schedule_id = await rig.create(template="news", overrides={})

        assert (await rig.schedule(schedule_id)).template_id == template.id
        with pytest.raises(NotFound):
            await rig.create(name="other", template="olds")


class TestFind:
    async def test_an_id_or_a_name_means_a_schedule(self, rig: Rig) -> None:
        schedule_id = await rig.create()
        theirs = await rig.create(actor=ADA)

        assert await rig.scheduler.resolve(LOCAL, schedule_id.upper()) == schedule_id
        assert await rig.scheduler.resolve(LOCAL, "nightly") == schedule_id
        assert await rig.scheduler.resolve(LOCAL, "ada/nightly") == theirs
        with pytest.raises(NotFound):
            await rig.scheduler.resolve(ADA, "local/nightly")

    async def test_an_admin_sees_those_of_all(self, rig: Rig) -> None:
        await rig.create()
        theirs = await rig.create(actor=ADA)

        assert len(await rig.scheduler.list(LOCAL)) == 2
        assert [s.id for s in await rig.scheduler.list(ADA)] == [theirs]
        assert await rig.scheduler.list(ADA, ScheduleQuery(owner="local")) == [
            await rig.schedule(theirs)
        ]


class TestFire:
    async def test_an_instant_that_has_come_submits_a_job(self, rig: Rig) -> None:
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

    async def test_the_template_is_filled_as_it_is_when_it_runs(self, rig: Rig) -> None:
        draft = TemplateDraft(name="news", spec={"urls": ["https://a.example/"], "max_depth": 3})
        template = await rig.templates.create(LOCAL, draft)
        latest = await rig.create(template="news", overrides={"limits": {"pages": 7}})
        fixed = await rig.create(name="b", template="news", template_version=1, overrides={})
        changed = replace(draft, spec={"urls": ["https://b.example/"]})
        await rig.templates.update(LOCAL, template.id, changed)

        await rig.after(HOUR)

        [job], [old] = await rig.submitted(latest), await rig.submitted(fixed)
        assert (job.spec.urls, job.spec.max_depth) == (("https://b.example/",), None)
        assert job.spec.limits.pages == 7
        assert (job.origin.template_version, job.origin.given) == (2, ("limits.pages",))
        assert (old.spec.urls, old.origin.template_version) == (("https://a.example/",), 1)

    async def test_a_scheduler_says_how_long_there_is_nothing(self, rig: Rig) -> None:
        assert await rig.scheduler.round() == timedelta(seconds=5)
        await rig.create()
        await rig.clock.advance(TO_ONE - timedelta(seconds=3))

        assert await rig.scheduler.round() == timedelta(seconds=3)

    async def test_many_that_are_due_at_once_are_all_fired(self, store: Store) -> None:
        rig = a_rig(store, batch=7)
        ids = [await rig.create(name=f"s{n}") for n in range(30)]

        await rig.after(HOUR)

        assert [await rig.ledger(i) for i in ids] == [["1 ran on_time"]] * 30

    async def test_after_the_last_run_a_schedule_has_ended(self, rig: Rig) -> None:
        schedule_id = await rig.create(runs_left=2, overlap=Overlap.ALLOW)

        for _ in range(4):
            await rig.after(HOUR)

        schedule = await rig.schedule(schedule_id)
        assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 ran on_time"]
        assert (schedule.next_at, schedule.fire_at, schedule.runs_left) == (None, None, 0)
        assert await rig.told(schedule_id) == ["created", "ended"]

    async def test_time_that_steps_back_fires_nothing_twice(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        await rig.after(2 * HOUR)

        rig.clock.step(-2 * HOUR)
        await rig.after(3 * HOUR)

        assert [r[0] for r in await rig.ledger(schedule_id)] == ["1", "2", "3"]

    async def test_a_schedule_that_cannot_be_planned_is_paused_beside_the_others(
        self, rig: Rig
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
        flawed = a_rig(replace(store, ticks=Flawed(store.ticks, schedule_id)), rig.clock)

        await flawed.after(HOUR)

        schedule = await rig.schedule(schedule_id)
        assert (schedule.paused_by, schedule.pause_reason) == ("scheduler", "it has a flaw")
        assert (schedule.next_at, schedule.fire_at, schedule.flaw) == (None, None, "")
        assert len(await rig.submitted(other)) == 1


class TestOverlap:
    async def test_skip_runs_none_while_one_is_active(self, rig: Rig) -> None:
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
        skipped = (await rig.scheduler.runs(LOCAL, schedule_id))[1]
        assert job.id in skipped.detail

    async def test_queue_runs_the_one_that_waits_when_the_job_has_ended(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.QUEUE)
        for _ in range(3):
            await rig.after(HOUR)
        assert await rig.ledger(schedule_id) == [
            "1 ran on_time",
            "2 waiting overlap",
            "3 skipped overlap",
        ]
        [job] = await rig.submitted(schedule_id)

        await rig.scheduler.after_run(await rig.ends(job))

        assert (await rig.ledger(schedule_id))[1] == "2 ran overlap"
        [_, second] = await rig.submitted(schedule_id)
        assert second.origin.tick_at == MIDNIGHT + 2 * HOUR
        assert (await rig.schedule(schedule_id)).waiting_at is None

    async def test_what_waits_is_found_without_any_word_of_the_end(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.QUEUE)
        await rig.after(HOUR)
        await rig.after(HOUR)
        [job] = await rig.submitted(schedule_id)
        await rig.jobs.cancel(LOCAL, job.id)

        await a_rig(rig.store, rig.clock).scheduler.round()

        assert (await rig.ledger(schedule_id))[1] == "2 ran overlap"

    async def test_cancel_previous_makes_room(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.CANCEL_PREVIOUS)

        await rig.after(HOUR)
        await rig.after(HOUR)

        [first, second] = await rig.submitted(schedule_id)
        assert (first.state, first.state_reason) == (State.CANCELLED, StateReason.BY_SCHEDULE)
        assert second.state is State.PENDING
        assert await rig.ledger(schedule_id) == ["1 replaced overlap", "2 ran on_time"]

    async def test_jobs_of_a_backfill_stand_in_no_ticks_way(self, rig: Rig) -> None:
        schedule_ids = [
            await rig.create(name=overlap, overlap=overlap, misfire=Misfire.SKIP)
            for overlap in (Overlap.SKIP, Overlap.QUEUE, Overlap.CANCEL_PREVIOUS)
        ]
        await rig.after(3.5 * HOUR)
        span = (MIDNIGHT + HOUR, MIDNIGHT + 3 * HOUR)
        for schedule_id in schedule_ids:
            await rig.scheduler.backfill(LOCAL, schedule_id, *span, dry_run=False)

        await rig.after(HOUR / 2)

        for schedule_id in schedule_ids:
            assert (await rig.ledger(schedule_id))[-1] == "4 ran on_time"
            assert [j.state for j in await rig.submitted(schedule_id)] == [State.PENDING] * 3

    async def test_a_retried_job_makes_room_and_leaves_the_row_of_the_first(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.CANCEL_PREVIOUS)
        await rig.after(HOUR)
        [first] = await rig.submitted(schedule_id)
        await rig.ends(first, State.FAILED)
        retried = await rig.jobs.retry(LOCAL, first.id)

        await rig.after(HOUR)

        assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 ran on_time"]
        assert (await rig.store.jobs.get(retried.id)).job.state is State.CANCELLED

    async def test_a_job_that_cannot_be_submitted_cancels_none(self, rig: Rig) -> None:
        draft = TemplateDraft(name="news", spec={"urls": ["https://a.example/"]})
        template = await rig.templates.create(ADA, draft)
        await rig.templates.publish(ADA, template.id)
        schedule_id = await rig.create(
            template=template.id, overrides={}, overlap=Overlap.CANCEL_PREVIOUS
        )
        await rig.after(HOUR)
        await rig.templates.unpublish(ADA, template.id)

        await rig.after(HOUR)

        [job] = await rig.submitted(schedule_id)
        assert job.state is State.PENDING
        assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 skipped refused"]

    async def test_allow_runs_beside(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)

        await rig.after(HOUR)
        await rig.after(HOUR)

        assert [j.state for j in await rig.submitted(schedule_id)] == [State.PENDING] * 2


class TestMisfire:
    @pytest.mark.parametrize(
        ("misfire", "expected"),
        [
            (Misfire.SKIP, ["missed", "missed", "missed", "missed", "missed"]),
            (Misfire.RUN_ONCE, ["missed", "missed", "missed", "missed", "caught_up"]),
            (Misfire.RUN_ALL, ["missed", "missed", "caught_up", "caught_up", "caught_up"]),
        ],
    )
    async def test_what_was_due_while_no_scheduler_ran(
        self, rig: Rig, misfire: Misfire, expected: list[str]
    ) -> None:
        schedule_id = await rig.create(misfire=misfire, catch_up=3, overlap=Overlap.ALLOW)

        await rig.after(5.5 * HOUR)

        ledger = await rig.ledger(schedule_id)
        assert [r.split()[1] for r in ledger] == expected
        assert len(await rig.submitted(schedule_id)) == expected.count("caught_up")

    async def test_a_tick_in_its_grace_is_on_time(self, rig: Rig) -> None:
        schedule_id = await rig.create(misfire=Misfire.SKIP, grace=10 * MINUTE)

        await rig.after(TO_ONE + 10 * MINUTE)

        assert await rig.ledger(schedule_id) == ["1 ran on_time"]

    async def test_weeks_of_downtime_are_written_in_portions(self, store: Store) -> None:
        rig = a_rig(store, instants=10)
        schedule_id = await rig.create(misfire=Misfire.RUN_ALL, catch_up=2, overlap=Overlap.ALLOW)

        await rig.after(timedelta(days=7))

        outcomes = [r.split()[1] for r in await rig.ledger(schedule_id)]
        assert outcomes == ["missed"] * 165 + ["caught_up"] * 2 + ["ran"]


class TestToggle:
    async def test_ticks_of_a_paused_schedule_are_skipped_with_the_reason(self, rig: Rig) -> None:
        schedule_id = await rig.create()

        paused = await rig.scheduler.toggle(LOCAL, schedule_id, enabled=False, reason="they move")
        await rig.after(HOUR)
        await rig.after(HOUR)

        assert (paused.paused_by, paused.pause_reason) == ("local", "they move")
        assert await rig.ledger(schedule_id) == ["1 skipped paused", "2 skipped paused"]
        [tick, _] = await rig.scheduler.runs(LOCAL, schedule_id)
        assert tick.detail == "they move"
        assert await rig.told(schedule_id) == ["created", "paused"]

    async def test_switched_on_it_does_not_fire_the_past(self, rig: Rig) -> None:
        schedule_id = await rig.create()
        await rig.scheduler.toggle(LOCAL, schedule_id, enabled=False)
        await rig.clock.advance(3 * HOUR)

        on = await rig.scheduler.toggle(LOCAL, schedule_id, enabled=True)

        assert (on.paused_at, on.paused_by, on.version) == (None, "", 3)
        assert on.next_at == MIDNIGHT + 4 * HOUR
        assert await rig.submitted(schedule_id) == []
        assert [r.split()[1] for r in await rig.ledger(schedule_id)] == ["skipped"] * 3
        assert await rig.told(schedule_id) == ["created", "paused", "resumed"]
        await rig.after(HOUR)
        assert len(await rig.submitted(schedule_id)) == 1

    async def test_with_run_all_it_makes_up_for_the_last_of_them(self, rig: Rig) -> None:
        schedule_id = await rig.create(misfire=Misfire.RUN_ALL, catch_up=2, overlap=Overlap.ALLOW)
        await rig.scheduler.toggle(LOCAL, schedule_id, enabled=False)
        await rig.after(3 * HOUR)

        await rig.scheduler.toggle(LOCAL, schedule_id, enabled=True)

        assert await rig.ledger(schedule_id) == [
            "1 skipped paused",
            "2 caught_up late",
            "3 caught_up late",
        ]
        assert len(await rig.submitted(schedule_id)) == 2

    async def test_what_is_so_already_stays(self, rig: Rig) -> None:
        schedule_id = await rig.create()

        on = await rig.scheduler.toggle(LOCAL, schedule_id, enabled=True)
        off = await rig.scheduler.toggle(LOCAL, schedule_id, enabled=False, reason="one")
        again = await rig.scheduler.toggle(LOCAL, schedule_id, enabled=False, reason="two")

        assert on.version == 1
        assert off == again
        assert await rig.told(schedule_id) == ["created", "paused"]


class TestUpdate:
    async def test_another_time_table_is_followed_at_once(self, rig: Rig) -> None:
        schedule_id = await rig.create("@daily")

        changed = await rig.scheduler.update(LOCAL, schedule_id, {"when": "every 10m"})

        assert changed.next_at == MIDNIGHT + 11 * MINUTE
        assert changed.version == 2
        assert await rig.told(schedule_id) == ["created", "updated"]

    async def test_what_else_changes_leaves_the_next_instant(self, rig: Rig) -> None:
        schedule_id = await rig.create()
        await rig.clock.advance(HOUR)

        changed = await rig.scheduler.update(LOCAL, schedule_id, {"description": "new"})
        await rig.scheduler.round()

        assert changed.next_at == MIDNIGHT + HOUR
        assert await rig.ledger(schedule_id) == ["1 ran on_time"]

    async def test_what_was_due_before_is_fired_by_the_old_time_table(self, rig: Rig) -> None:
        schedule_id = await rig.create(grace=HOUR)
        await rig.clock.advance(HOUR)

        await rig.scheduler.update(LOCAL, schedule_id, {"when": "@daily"})

        assert await rig.ledger(schedule_id) == ["1 ran on_time"]
        assert (await rig.schedule(schedule_id)).next_at == MIDNIGHT + 24 * HOUR

    async def test_what_jitter_delays_is_decided_before_another_time_table_holds(
        self, rig: Rig
    ) -> None:
        schedule_id = await rig.create(jitter=30 * MINUTE)
        await rig.clock.advance(TO_ONE)
        await rig.scheduler.round()
        assert await rig.ledger(schedule_id) == []

        await rig.scheduler.update(LOCAL, schedule_id, {"when": "30 * * * *"})

        assert await rig.ledger(schedule_id) == ["1 ran on_time"]
        assert (await rig.schedule(schedule_id)).next_at == MIDNIGHT + 1.5 * HOUR

    @pytest.mark.parametrize("looks", [0, 1, 2, 3])
    async def test_what_comes_while_it_is_edited_is_decided_before(
        self, store: Store, looks: int
    ) -> None:
        rig = a_rig(store)
        schedule_id = await rig.create()
        schedules = Late(store.schedules, rig.clock, looks, TO_ONE)
        slow = a_rig(replace(store, schedules=schedules), rig.clock)

        await slow.scheduler.update(LOCAL, schedule_id, {"when": "@daily"})

        assert await rig.ledger(schedule_id) == ["1 ran on_time"]

    async def test_a_clock_that_steps_back_lets_an_edit_run_nothing_again(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        for _ in range(3):
            await rig.after(HOUR)
        rig.clock.step(-2 * HOUR)

        edited = await rig.scheduler.update(LOCAL, schedule_id, {"when": "*/30 * * * *"})
        await rig.after(3 * HOUR)

        assert edited.next_at == MIDNIGHT + 3.5 * HOUR
        ledger = await rig.ledger(schedule_id)
        assert [r.split()[0] for r in ledger] == ["1", "2", "3", "3.5", "4"]
        assert len(await rig.submitted(schedule_id)) == len(
            {j.origin.tick_at for j in await rig.submitted(schedule_id)}
        )

    async def test_intervals_are_counted_from_the_clock_on_the_wall(self, rig: Rig) -> None:
        rig.clock.step(7 * MINUTE)

        schedule_id = await rig.create("every 1h")

        assert (await rig.schedule(schedule_id)).next_at == MIDNIGHT + HOUR + 8 * MINUTE

    async def test_what_is_set_can_be_taken_away(self, rig: Rig) -> None:
        spec = {"urls": ["{{site}}"], "headers": {"X-A": "{{token}}"}}
        parameters = (Parameter(name="site"), Parameter(name="token"))
        draft = TemplateDraft(name="news", spec=spec, parameters=parameters)
        await rig.templates.create(LOCAL, draft)
        params = {"site": "https://a.example/", "token": "x"}
        overrides = {"limits": {"pages": 7, "errors": 3}, "delay_s": 2, "tags": ["a"]}
        schedule_id = await rig.create(
            template="news", params=params, overrides=overrides, ends_at=MIDNIGHT + 90 * HOUR
        )

        unset = ("params.token", "limits.pages", "delay", "tags")
        after = await rig.scheduler.update(LOCAL, schedule_id, {"ends_at": None}, unset=unset)

        assert after.ends_at is None
        assert after.params == {"site": "https://a.example/"}
        assert after.overrides == {"limits": {"errors": 3}}
        for path in ("params.token", "limits.pages", "max_depth"):
            with pytest.raises(Invalid) as refused:
                await rig.scheduler.update(LOCAL, schedule_id, {}, unset=[path])
            assert refused.value.field == path

    @pytest.mark.parametrize(
        ("fields", "changes", "field"),
        [
            ({}, {"runs_left": 0}, "runs_left"),
            ({}, {"ends_at": MIDNIGHT}, "ends_at"),
            ({}, {"when": "at 2027-01-01T08:00", "starts_at": FAR}, "starts_at"),
            ({"runs_left": 1}, {"when": "@daily"}, "runs_left"),
            ({}, {"when": "at 2020-01-01T08:00", "ends_at": FAR}, "when"),
        ],
    )
    async def test_where_no_instant_is_to_come_the_refusal_names_the_cause(
        self, rig: Rig, fields: dict[str, Any], changes: dict[str, object], field: str
    ) -> None:
        schedule_id = await rig.create(**fields)
        await rig.after(HOUR)

        with pytest.raises(Invalid) as refused:
            await rig.scheduler.update(LOCAL, schedule_id, changes)

        assert refused.value.field == field

    @pytest.mark.parametrize("change", WRONG, ids=str)
    async def test_a_value_that_cannot_be_kept_is_refused_by_its_name(
        self, rig: Rig, change: dict[str, object]
    ) -> None:
        schedule_id = await rig.create()
        [field] = change

        for call in (
            rig.scheduler.update(LOCAL, schedule_id, change),
            rig.create(**({"name": "another"} | change)),  # type: ignore[arg-type]  # what comes from outside
        ):
            with pytest.raises(Invalid) as refused:
                await call
            assert refused.value.field.partition(".")[0] == field

        assert (await rig.schedule(schedule_id)).version == 1
        assert len(await rig.scheduler.list(LOCAL)) == 1

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"owner": "eve"}, "owner"),
            ({"next_at": MIDNIGHT}, "next_at"),
            ({"template_id": new_id()}, "template_id"),
            ({"when": "* * * *"}, "when"),
            ({"overrides": {"urls": []}}, "urls"),
            ({"ends_at": MIDNIGHT}, "ends_at"),
            ({"name": "x/y"}, "name"),
        ],
    )
    async def test_what_cannot_be_is_refused(
        self, rig: Rig, changes: dict[str, object], field: str
    ) -> None:
        schedule_id = await rig.create()

        with pytest.raises(Invalid) as refused:
            await rig.scheduler.update(LOCAL, schedule_id, changes)

        assert refused.value.field == field
        assert (await rig.schedule(schedule_id)).version == 1

    async def test_a_name_that_is_taken_is_refused(self, rig: Rig) -> None:
        await rig.create()
        other = await rig.create(name="other")

        with pytest.raises(Conflict, match="nightly"):
            await rig.scheduler.update(LOCAL, other, {"name": "nightly"})


class TestRunNow:
    async def test_it_submits_a_job_and_leaves_the_time_table(self, rig: Rig) -> None:
        schedule_id = await rig.create(runs_left=5)
        await rig.scheduler.toggle(LOCAL, schedule_id, enabled=False)
        before = await rig.schedule(schedule_id)

        job = await rig.scheduler.run_now(LOCAL, schedule_id)

        assert await rig.submitted(schedule_id) == [job]
        [tick] = await rig.scheduler.runs(LOCAL, schedule_id)
        assert (tick.outcome, tick.reason, tick.job_id) == ("ran", "by_user", job.id)
        assert await rig.schedule(schedule_id) == replace(before, beat=before.beat + 1)

    async def test_twice_at_one_instant_leaves_two_rows(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)

        jobs = [await rig.scheduler.run_now(LOCAL, schedule_id) for _ in range(2)]

        ticks = await rig.scheduler.runs(LOCAL, schedule_id)
        assert {t.job_id for t in ticks} == {j.id for j in jobs}
        assert len({t.due_at for t in ticks}) == 2

    async def test_it_does_not_take_the_place_of_a_tick_that_is_due(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        await rig.clock.advance(TO_ONE)

        job = await rig.scheduler.run_now(LOCAL, schedule_id)
        await rig.scheduler.round()

        ticks = await rig.scheduler.runs(LOCAL, schedule_id)
        assert {t.reason for t in ticks} == {"by_user", "on_time"}
        assert {t.job_id for t in ticks} == {j.id for j in await rig.submitted(schedule_id)}
        assert job.id in {t.job_id for t in ticks}

    @pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE])
    async def test_one_at_a_time_is_kept(self, rig: Rig, overlap: Overlap) -> None:
        schedule_id = await rig.create(overlap=overlap)
        job = await rig.scheduler.run_now(LOCAL, schedule_id)

        with pytest.raises(IllegalMove, match=job.id):
            await rig.scheduler.run_now(LOCAL, schedule_id)

        assert await rig.submitted(schedule_id) == [job]

    async def test_cancel_previous_cancels(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.CANCEL_PREVIOUS)
        first = await rig.scheduler.run_now(LOCAL, schedule_id)

        second = await rig.scheduler.run_now(LOCAL, schedule_id)

        states = {j.id: j.state for j in await rig.submitted(schedule_id)}
        assert states == {first.id: State.CANCELLED, second.id: State.PENDING}

    async def test_cancel_previous_replaces_as_a_tick_does(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.QUEUE)
        await rig.after(HOUR)
        await rig.after(HOUR)
        await rig.scheduler.update(LOCAL, schedule_id, {"overlap": Overlap.CANCEL_PREVIOUS})

        job = await rig.scheduler.run_now(LOCAL, schedule_id)
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


class TestBackfill:
    async def test_what_is_due_is_fired_before_and_runs_once(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.ALLOW)
        await rig.clock.advance(3.5 * HOUR)

        dry = await rig.scheduler.backfill(LOCAL, schedule_id, MIDNIGHT + HOUR)
        done = await rig.scheduler.backfill(LOCAL, schedule_id, MIDNIGHT + HOUR, dry_run=False)
        await rig.scheduler.round()

        assert await rig.ledger(schedule_id) == [
            "1 caught_up backfill",
            "2 caught_up backfill",
            "3 caught_up late",
        ]
        assert len(await rig.submitted(schedule_id)) == 3
        for told in (dry, done):
            assert [t.due_at for t in told.runs] == [MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR]
            assert (told.kept, told.until) == (1, rig.clock.wall())

    async def test_what_its_jitter_delays_is_left_to_its_time(self, rig: Rig) -> None:
        schedule_id = await rig.create(jitter=30 * MINUTE, grace=HOUR)
        await rig.clock.advance(TO_ONE + timedelta(microseconds=1))

        dry = await rig.scheduler.backfill(LOCAL, schedule_id, MIDNIGHT + 0.5 * HOUR)
        done = await rig.scheduler.backfill(
            LOCAL, schedule_id, MIDNIGHT + 0.5 * HOUR, dry_run=False
        )
        await rig.after(HOUR / 2)

        assert (dry.runs, done.runs) == ((), ())
        assert await rig.ledger(schedule_id) == ["1 ran on_time"]

    async def test_what_was_made_up_for_after_the_end_is_not_run_again(self, rig: Rig) -> None:
        schedule_id = await rig.create(runs_left=1, overlap=Overlap.ALLOW)
        for _ in range(4):
            await rig.after(HOUR)
        await rig.scheduler.backfill(LOCAL, schedule_id, MIDNIGHT, dry_run=False)
        rig.clock.step(-3 * HOUR)

        await rig.scheduler.update(LOCAL, schedule_id, {"runs_left": 9})
        await rig.after(4 * HOUR)

        jobs = await rig.submitted(schedule_id)
        assert len(jobs) == len({j.origin.tick_at for j in jobs}) == 6

    async def test_a_dry_run_says_what_would_run_and_writes_nothing(self, rig: Rig) -> None:
        schedule_id = await rig.create(misfire=Misfire.SKIP)
        await rig.after(5 * HOUR)
        events = await rig.store.events.last()

        found = await rig.scheduler.backfill(
            LOCAL, schedule_id, MIDNIGHT + 2 * HOUR, MIDNIGHT + 4 * HOUR
        )

        assert found.dry_run
        assert [t.due_at for t in found.runs] == [MIDNIGHT + 2 * HOUR, MIDNIGHT + 3 * HOUR]
        assert [t.job_id for t in found.runs] == [None, None]
        assert await rig.store.events.last() == events

    async def test_what_did_not_run_is_made_up_for_once(self, rig: Rig) -> None:
        schedule_id = await rig.create(misfire=Misfire.RUN_ONCE)
        await rig.after(5 * HOUR)
        span = (MIDNIGHT - 2 * HOUR, MIDNIGHT + 5 * HOUR + MINUTE)

        done = await rig.scheduler.backfill(LOCAL, schedule_id, *span, dry_run=False)
        again = await rig.scheduler.backfill(LOCAL, schedule_id, *span, dry_run=False)
        dry = await rig.scheduler.backfill(LOCAL, schedule_id, *span)

        assert [r.split(" ", 1)[1] for r in await rig.ledger(schedule_id)] == [
            *["caught_up backfill"] * 7,
            "ran on_time",
        ]
        jobs = await rig.submitted(schedule_id)
        assert {t.job_id for t in done.runs} == {j.id for j in jobs[1:]}
        assert (len(done.runs), done.kept) == (7, 1)
        assert (again.runs, again.kept) == (dry.runs, dry.kept) == ((), 8)

    async def test_two_at_once_make_up_for_each_instant_once(self, rig: Rig) -> None:
        schedule_id = await rig.create(misfire=Misfire.SKIP)
        await rig.after(5.5 * HOUR)
        span = (MIDNIGHT + HOUR, MIDNIGHT + 5 * HOUR)
        others = [a_rig(rig.store, rig.clock) for _ in range(3)]

        done = await asyncio.gather(
            *(r.scheduler.backfill(LOCAL, schedule_id, *span, dry_run=False) for r in others)
        )

        assert sum(len(d.runs) for d in done) == len(await rig.submitted(schedule_id)) == 4

    async def test_a_range_that_is_none_or_too_long_is_refused(self, rig: Rig) -> None:
        schedule_id = await rig.create("every 10s")
        long = timedelta(seconds=10 * MOST_BACKFILLED + 10)
        await rig.clock.advance(long + MINUTE)
        now = rig.clock.wall()

        for since, until in ((now, now), (now - HOUR, now + MINUTE), (now - long, now)):
            with pytest.raises(Invalid):
                await rig.scheduler.backfill(LOCAL, schedule_id, since, until, dry_run=False)

        assert await rig.submitted(schedule_id) == []


class TestRefusals:
    async def test_above_the_backlog_ticks_are_skipped_for_the_quota(self, store: Store) -> None:
        rig = a_rig(store, backlog=2)
        mine = [await rig.create(name=f"s{n}") for n in range(3)]
        theirs = await rig.create(actor=ADA)

        await rig.after(HOUR)

        rows = sorted([(await rig.ledger(i))[0] for i in mine])
        assert rows == ["1 ran on_time", "1 ran on_time", "1 skipped quota"]
        assert await rig.ledger(theirs) == ["1 ran on_time"]

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

    async def test_a_job_that_cannot_be_submitted_leaves_the_sentence(self, rig: Rig) -> None:
        schedule_id = await shared(rig, pause_after=2)

        await rig.after(HOUR)

        assert await rig.ledger(schedule_id) == ["1 skipped refused"]
        [tick] = await rig.scheduler.runs(LOCAL, schedule_id)
        assert "template" in tick.detail
        assert (await rig.schedule(schedule_id)).paused_at is None

    async def test_refused_often_enough_it_is_paused(self, rig: Rig) -> None:
        schedule_id = await shared(rig, pause_after=2)

        await rig.after(HOUR)
        await rig.after(HOUR)

        schedule = await rig.schedule(schedule_id)
        assert (schedule.paused_by, schedule.pause_reason) == (
            "scheduler",
            "2 runs in a row have failed",
        )
        assert await rig.told(schedule_id) == ["created", "paused"]


async def broken(rig: Rig, schedule_id: str) -> None:
    """Let the zone of a schedule be no more."""
    schedule = await rig.schedule(schedule_id)
    gone = replace(schedule, zone="Mars/Olympus", version=2, beat=schedule.beat + 1)
    await rig.store.schedules.save(gone, (await rig.store.events.events())[0])


async def shared(rig: Rig, **fields: Any) -> str:
    """Return the id of a schedule whose template is not shared any more."""
    draft = TemplateDraft(name="news", spec={"urls": ["https://a.example/"]})
    template = await rig.templates.create(ADA, draft)
    await rig.templates.publish(ADA, template.id)
    schedule_id = await rig.create(template=template.id, overrides={}, **fields)
    await rig.templates.unpublish(ADA, template.id)
    return schedule_id


class TestFailures:
    async def test_failed_often_enough_in_a_row_it_is_paused(self, rig: Rig) -> None:
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

    async def test_switched_on_again_it_may_fail_as_often_as_before(self, rig: Rig) -> None:
        schedule_id = await rig.create(pause_after=2)
        for _ in range(2):
            await rig.after(HOUR)
            await rig.scheduler.after_run(
                await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)
            )
        await rig.clock.advance(MINUTE)
        await rig.scheduler.toggle(LOCAL, schedule_id, enabled=True)
        await rig.after(HOUR)

        job = await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)
        await rig.scheduler.after_run(job)

        assert (await rig.schedule(schedule_id)).paused_at is None

    async def test_a_scheduler_that_saw_no_end_runs_no_further_job(self, rig: Rig) -> None:
        schedule_id = await rig.create(pause_after=1)
        await rig.after(HOUR)
        await rig.ends((await rig.submitted(schedule_id))[0], State.FAILED)

        await a_rig(rig.store, rig.clock).after(HOUR)

        assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 skipped paused"]

    async def test_an_edit_does_not_forgive_failures(self, rig: Rig) -> None:
        schedule_id = await rig.create(pause_after=2)
        for n in range(2):
            await rig.after(HOUR)
            await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)
            await rig.clock.advance(MINUTE)
            if not n:
                await rig.scheduler.update(LOCAL, schedule_id, {"description": "why?"})

        await rig.scheduler.round()

        assert (await rig.schedule(schedule_id)).paused_by == "scheduler"

    async def test_another_number_of_failures_is_counted_anew(self, rig: Rig) -> None:
        schedule_id = await rig.create()
        for _ in range(2):
            await rig.after(HOUR)
            await rig.ends((await rig.submitted(schedule_id))[-1], State.FAILED)

        await rig.scheduler.update(LOCAL, schedule_id, {"pause_after": 1})
        await rig.after(HOUR)

        assert (await rig.schedule(schedule_id)).paused_at is None
        assert len(await rig.submitted(schedule_id)) == 3

    @pytest.mark.parametrize("by", [-5 * HOUR, 5 * HOUR])
    async def test_failures_are_counted_whatever_clocks_do(self, rig: Rig, by: timedelta) -> None:
        schedule_id = await rig.create(pause_after=2, overlap=Overlap.ALLOW)
        await rig.scheduler.toggle(LOCAL, schedule_id, enabled=False)
        rig.clock.step(by)
        await rig.scheduler.toggle(LOCAL, schedule_id, enabled=True)

        for _ in range(2):
            job = await rig.scheduler.run_now(LOCAL, schedule_id)
            await rig.scheduler.after_run(await rig.ends(job, State.FAILED))

        assert (await rig.schedule(schedule_id)).paused_by == "scheduler"

    async def test_what_fails_of_a_backfill_pauses_nothing(self, rig: Rig) -> None:
        schedule_id = await rig.create(pause_after=2, misfire=Misfire.SKIP)
        since = rig.clock.wall()
        await rig.after(4 * HOUR)
        made_up = await rig.scheduler.backfill(LOCAL, schedule_id, since, dry_run=False)
        for tick in made_up.runs:
            job = (await rig.store.jobs.get(tick.job_id or "")).job
            await rig.scheduler.after_run(await rig.ends(job, State.FAILED))

        await rig.after(HOUR)

        assert len(made_up.runs) == 3
        assert (await rig.schedule(schedule_id)).paused_at is None

    async def test_a_cancelled_job_neither_counts_nor_ends_the_row(self, rig: Rig) -> None:
        schedule_id = await rig.create(pause_after=2)
        for state in (State.FAILED, State.CANCELLED, State.FAILED):
            await rig.after(HOUR)
            await rig.ends((await rig.submitted(schedule_id))[-1], state)

        await rig.scheduler.round()

        assert (await rig.schedule(schedule_id)).paused_by == "scheduler"

    async def test_the_end_of_a_job_may_be_told_of_again_and_again(self, rig: Rig) -> None:
        schedule_id = await rig.create(pause_after=1)
        await rig.after(HOUR)
        job = await rig.ends((await rig.submitted(schedule_id))[0], State.FAILED)

        for _ in range(3):
            await rig.scheduler.after_run(job)

        assert await rig.told(schedule_id) == ["created", "paused"]

    async def test_it_releases_no_tick_while_another_job_is_active(self, rig: Rig) -> None:
        schedule_id = await rig.create(overlap=Overlap.QUEUE)
        await rig.after(HOUR)
        await rig.after(HOUR)
        job = await rig.ends((await rig.submitted(schedule_id))[0])
        await rig.scheduler.after_run(job)
        await rig.after(HOUR)

        await rig.scheduler.after_run(job)

        assert await rig.ledger(schedule_id) == [
            "1 ran on_time",
            "2 ran overlap",
            "3 waiting overlap",
        ]

    async def test_the_end_of_a_job_of_a_deleted_schedule_is_nothing(self, rig: Rig) -> None:
        schedule_id = await rig.create()
        await rig.after(HOUR)
        [job] = await rig.submitted(schedule_id)
        await rig.scheduler.delete(LOCAL, schedule_id)

        await rig.scheduler.after_run(await rig.ends(job))

        assert [j.id for j in await rig.submitted(schedule_id)] == [job.id]
        assert await rig.told(schedule_id) == ["created", "deleted"]


class TestLooking:
    async def test_a_schedule_is_due_when_its_time_has_come_and_it_is_on(self, rig: Rig) -> None:
        schedule_id = await rig.create()
        schedule = await rig.schedule(schedule_id)

        assert not rig.scheduler.is_due(schedule)
        assert rig.scheduler.is_due(schedule, MIDNIGHT + HOUR)
        await rig.clock.advance(TO_ONE)
        assert rig.scheduler.is_due(schedule)
        assert not rig.scheduler.is_due(replace(schedule, paused_at=MIDNIGHT))
        assert not rig.scheduler.is_due(replace(schedule, fire_at=None))

    async def test_the_next_runs_end_with_the_schedule(self, rig: Rig) -> None:
        until = await rig.create(ends_at=MIDNIGHT + 3 * HOUR)
        counted = await rig.create(name="counted", runs_left=2)

        assert await rig.scheduler.next_runs(LOCAL, until, 9) == tuple(
            MIDNIGHT + n * HOUR for n in (1, 2, 3)
        )
        assert await rig.scheduler.next_runs(LOCAL, until, 1) == (MIDNIGHT + HOUR,)
        assert len(await rig.scheduler.next_runs(LOCAL, counted, 9)) == 2

    async def test_the_next_runs_begin_now_and_what_is_overdue_is_told_apart(
        self, rig: Rig
    ) -> None:
        schedule_id = await rig.create()
        await rig.clock.advance(2.5 * HOUR)
        schedule = await rig.schedule(schedule_id)

        assert await rig.scheduler.next_runs(LOCAL, schedule_id, 2) == (
            MIDNIGHT + 3 * HOUR,
            MIDNIGHT + 4 * HOUR,
        )
        assert rig.scheduler.overdue(schedule) == MIDNIGHT + HOUR
        await rig.scheduler.round()
        assert rig.scheduler.overdue(await rig.schedule(schedule_id)) is None

    @pytest.mark.parametrize("count", [-1, 1001])
    async def test_no_more_than_a_thousand_are_told(self, rig: Rig, count: int) -> None:
        schedule_id = await rig.create()

        with pytest.raises(Invalid, match="1,000"):
            await rig.scheduler.next_runs(LOCAL, schedule_id, count)

        assert len(await rig.scheduler.next_runs(LOCAL, schedule_id, 1000)) == 1000
        assert await rig.scheduler.next_runs(LOCAL, schedule_id, 0) == ()

    async def test_one_whose_zone_is_gone_is_left_out_of_the_calendar(self, rig: Rig) -> None:
        gone, other = await rig.create(), await rig.create(name="other")
        await broken(rig, gone)

        calendar = await rig.scheduler.calendar(LOCAL)

        assert {o.schedule.id for o in calendar.occurrences} == {other}
        assert not calendar.whole
        assert [s.id for s in calendar.unreadable] == [gone]
        with pytest.raises(Invalid, match="Mars/Olympus"):
            await rig.scheduler.next_runs(LOCAL, gone)

    async def test_no_instant_is_out_of_the_years_that_zones_can_say(self, rig: Rig) -> None:
        schedule_id = await rig.create()
        first = datetime(1, 1, 1, tzinfo=UTC)

        with pytest.raises(Invalid, match="1970"):
            await rig.scheduler.calendar(LOCAL, first, MIDNIGHT)
        with pytest.raises(Invalid, match="1970"):
            await rig.scheduler.calendar(LOCAL, MIDNIGHT, datetime(9999, 1, 1, tzinfo=UTC))
        with pytest.raises(Invalid, match="1970"):
            await rig.scheduler.backfill(LOCAL, schedule_id, first)
        with pytest.raises(Invalid, match="1970"):
            await rig.scheduler.runs(LOCAL, schedule_id, first)

    async def test_a_calendar_has_the_instants_of_all(self, rig: Rig) -> None:
        one, two = await rig.create(), await rig.create("30 * * * *", name="half", runs_left=1)

        calendar = await rig.scheduler.calendar(LOCAL, MIDNIGHT, MIDNIGHT + 3 * HOUR)

        told = [((o.due_at - MIDNIGHT) / HOUR, o.schedule.id) for o in calendar.occurrences]
        assert told == [(0, one), (0.5, two), (1, one), (2, one)]
        assert calendar.whole

    async def test_a_calendar_that_is_too_full_says_so(self, rig: Rig) -> None:
        await rig.create("every 10s")

        calendar = await rig.scheduler.calendar(LOCAL, MIDNIGHT, MIDNIGHT + 24 * HOUR)

        assert len(calendar.occurrences) == 2000
        assert not calendar.whole

    async def test_a_deleted_schedule_is_gone_and_its_jobs_stay(self, rig: Rig) -> None:
        schedule_id = await rig.create()
        await rig.after(HOUR)

        await rig.scheduler.delete(LOCAL, schedule_id)
        await rig.after(HOUR)

        with pytest.raises(NotFound):
            await rig.scheduler.get(LOCAL, schedule_id)
        assert len(await rig.submitted(schedule_id)) == 1
