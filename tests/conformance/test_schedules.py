"""`ScheduleStore`: schedules are added, changed by one caller at a time, found and deleted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from crawlyard.core.events.event import EventName
from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap
from crawlyard.core.templates.template import CrawlTemplate
from crawlyard.errors import Conflict, NotFound
from crawlyard.ids import new_id
from crawlyard.store.db.database import Database
from crawlyard.store.queries import EventQuery, ScheduleQuery
from crawlyard.store.schedules.schedules import ScheduleStore
from crawlyard.store.store import Store
from crawlyard.store.tables.schedules import schedules as table
from tests.builders import NOW
from tests.builders_schedules import a_firing, a_schedule, a_tick, edited, schedule_event
from tests.conformance.conftest import Backend


async def added(store: Store, **fields: Any) -> CrawlSchedule:
    schedule = a_schedule(**fields)
    await store.schedules.add(schedule, schedule_event(schedule))
    return schedule


async def find_names(store: Store, limit: int = 100, **filters: Any) -> list[str]:
    return [s.name for s in await store.schedules.find(ScheduleQuery(**filters), limit)]


async def names(store: Store, schedule: CrawlSchedule) -> list[str]:
    return [e.name for e in await store.events.events(EventQuery(subject=schedule.id))]


def database_of(store: Store) -> Database:
    assert isinstance(store.schedules, ScheduleStore)
    return store.schedules._database


async def a_template(store: Store) -> str:
    template = CrawlTemplate(
        id=new_id(), owner="local", name="news", spec={}, created_at=NOW, updated_at=NOW
    )
    event = replace(schedule_event(a_schedule(), EventName.TEMPLATE_CREATED), subject=template.id)
    await store.templates.add(template, event)
    return template.id


class TestAdd:
    async def test_a_schedule_comes_back_as_it_was_added(self, store: Store) -> None:
        schedule = a_schedule(
            name="Nächtlich »50%«",
            description="all of it",
            template_id=await a_template(store),
            template_version=3,
            params={"site": "https://a.example/", "n": [1, 2.5, None, True]},
            overrides={"limits": {"pages": 7}, "tags": ["ü"]},
            when="0 3 * * mon-fri",
            zone="Europe/Berlin",
            overlap=Overlap.CANCEL_PREVIOUS,
            misfire=Misfire.RUN_ALL,
            grace=timedelta(minutes=3, microseconds=1),
            catch_up=4,
            jitter=timedelta(seconds=90),
            starts_at=NOW - timedelta(days=1, microseconds=1),
            ends_at=datetime(2030, 1, 1, tzinfo=UTC),
            runs_left=12,
            pause_after=3,
            paused_at=NOW,
            paused_by="ada",
            pause_reason="the site moves",
            next_at=NOW + timedelta(hours=1),
            fire_at=NOW + timedelta(hours=1, seconds=30),
            waiting_at=NOW - timedelta(hours=1),
            decided_to=NOW + timedelta(hours=2),
            anchored_at=NOW - timedelta(minutes=1),
            fresh_beat=2**39,
            beat=2**40,
            version=9,
        )

        await store.schedules.add(schedule, schedule_event(schedule))

        assert await store.schedules.get(schedule.id) == schedule
        assert await names(store, schedule) == ["schedule.created"]

    async def test_text_that_a_database_refuses_is_made_fit(self, store: Store) -> None:
        schedule = await added(store, name="a\x00b", params={"x": "\ud800"})

        stored = await store.schedules.get(schedule.id)

        assert (stored.name, stored.params) == ("a\ufffdb", {"x": "\ufffd"})

    async def test_names_are_unique_for_each_owner(self, store: Store) -> None:
        await added(store, name="nightly", owner="ada")
        await added(store, name="nightly", owner="bob")

        with pytest.raises(Conflict, match="nightly"):
            await added(store, name="nightly", owner="ada")

        assert await find_names(store) == ["nightly", "nightly"]

    async def test_its_template_must_be_there(self, store: Store) -> None:
        schedule = a_schedule(template_id=new_id())

        with pytest.raises(NotFound):
            await store.schedules.add(schedule, schedule_event(schedule))

        assert await find_names(store) == await names(store, schedule) == []


class TestSaveSchedule:
    async def test_the_next_version_replaces_a_schedule(self, store: Store) -> None:
        schedule = await added(store, description="before")
        changed = edited(schedule, name="new", description="after", when="@daily", next_at=None)

        await store.schedules.save(changed, schedule_event(changed, EventName.SCHEDULE_UPDATED))

        assert await store.schedules.get(schedule.id) == changed
        assert await find_names(store, text="AFTER") == ["new"]
        assert await find_names(store, text="before") == []
        assert await names(store, schedule) == ["schedule.created", "schedule.updated"]

    async def test_an_edit_is_refused_after_the_schedule_has_fired(self, store: Store) -> None:
        schedule = await added(store)
        assert await store.ticks.fire([a_firing(schedule)]) == [True]

        with pytest.raises(Conflict):
            await store.schedules.save(edited(schedule), schedule_event(schedule))

    async def test_a_name_that_is_taken_is_refused(self, store: Store) -> None:
        await added(store, name="one")
        two = await added(store, name="two")

        with pytest.raises(Conflict, match="one"):
            await store.schedules.save(edited(two, name="one"), schedule_event(two))

        assert await find_names(store) == ["one", "two"]
        assert await names(store, two) == ["schedule.created"]

    async def test_a_template_that_is_gone_is_refused(self, store: Store) -> None:
        schedule = await added(store)

        with pytest.raises(NotFound):
            await store.schedules.save(
                edited(schedule, template_id=new_id()), schedule_event(schedule)
            )

        assert await store.schedules.get(schedule.id) == schedule


class TestFindSchedules:
    async def test_schedules_are_sorted_by_name_and_id_in_any_locale(self, store: Store) -> None:
        for name in ("b", "B", "a", "Z", "ä"):
            await added(store, name=name)
        twins = sorted([(await added(store, name="b", owner=o)).id for o in ("ada", "bob")])

        schedules = await store.schedules.find(ScheduleQuery(), 100)

        assert [s.name for s in schedules] == ["B", "Z", "a", "b", "b", "b", "ä"]
        assert [s.id for s in schedules if s.name == "b" and s.owner != "local"] == twins

    async def test_at_most_limit_come_and_the_rest_after_the_last_of_them(
        self, store: Store
    ) -> None:
        for owner in ("ada", "bob", "eve"):
            for name in ("a", "b"):
                await added(store, name=name, owner=owner)

        names_read: list[CrawlSchedule] = []
        after = None
        while page := await store.schedules.find(ScheduleQuery(after=after), 2):
            assert len(page) <= 2
            names_read += page
            after = (page[-1].name, page[-1].id)

        assert names_read == await store.schedules.find(ScheduleQuery(), 100)
        assert len({s.id for s in names_read}) == 6

    async def test_each_field_narrows(self, store: Store) -> None:
        template = await a_template(store)
        await added(store, name="one", owner="ada", template_id=template)
        await added(store, name="two", owner="bob", paused_at=NOW, description="50% of ÜBER")

        assert await find_names(store, owner="ada") == ["one"]
        assert await find_names(store, template_id=template) == ["one"]
        assert await find_names(store, paused=True) == ["two"]
        assert await find_names(store, paused=False) == ["one"]
        assert await find_names(store, name="two") == ["two"]
        assert await find_names(store, name="tw") == []
        assert await find_names(store, text="50% of über") == ["two"]
        assert await find_names(store, text="50_") == []
        assert await find_names(store, owner="ada", paused=True) == []


class TestDeleteSchedule:
    async def test_a_deleted_schedule_is_gone_with_its_ledger(self, store: Store) -> None:
        deleted, remaining = await added(store), await added(store)
        for schedule in (deleted, remaining):
            await store.ticks.fire([a_firing(schedule, [a_tick(schedule)])])

        await store.schedules.delete(
            deleted.id, 1, schedule_event(deleted, EventName.SCHEDULE_DELETED)
        )

        with pytest.raises(NotFound):
            await store.schedules.get(deleted.id)
        assert await store.ticks.ticks(deleted.id) == []
        assert len(await store.ticks.ticks(remaining.id)) == 1
        assert (await names(store, deleted))[-1] == "schedule.deleted"

    async def test_the_rows_of_its_ledger_are_counted(self, store: Store) -> None:
        schedule, other = await added(store), await added(store)
        ticks = [a_tick(schedule, NOW + timedelta(hours=n)) for n in range(3)]
        await store.ticks.fire([a_firing(schedule, ticks)])

        assert await store.schedules.runs(schedule.id) == 3
        assert await store.schedules.runs(other.id) == 0


BROKEN: list[tuple[str, str]] = [
    ('{"jitter": null, "when": "@hourly"}', "jitter"),
    ("{}", "when"),
    ('{"overlap": "bogus", "when": "@hourly"}', "overlap"),
    ('{"catch_up": 0, "when": "@hourly"}', "catch_up"),
    ('{"starts_at": "0001-01-01T00:00:00Z", "when": "@hourly"}', "starts_at"),
    ("[]", ""),
    ("no json", ""),
]


@pytest.mark.parametrize(("plan", "field"), BROKEN)
async def test_what_cannot_be_read_is_left_out_and_keeps_nothing_else_from_being_read(
    backend: Backend, plan: str, field: str
) -> None:
    if not backend.sql:
        return  # an in-memory store exists once created, and was checked then
    store = await backend.open()
    broken, other = await added(store, name="broken"), await added(store, name="other")
    database = database_of(store)
    values = {"plan": plan}
    same = table.c.id == broken.id

    await database.write(lambda conn: conn.execute(update(table).where(same).values(values)))
    read = await store.schedules.get(broken.id)
    due = await store.ticks.find_due(NOW, 10)
    listed = await find_names(store)
    await store.close()

    assert (read.id, read.name, read.next_at) == (broken.id, "broken", NOW)
    assert read.paused_at is not None
    assert read.flaw == read.pause_reason
    assert field in read.flaw
    assert {s.id for s in due} == {broken.id, other.id}
    assert listed == ["broken", "other"]
