"""`TemplateStore`: versions that never change, found by who may see them, and never lost."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard.core.events.event import EventName
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.templates.template import CrawlTemplate, ParameterType, TemplateParameter
from crawlyard.errors import Conflict, NotFound
from crawlyard.ids import new_id
from crawlyard.store.queries import EventQuery, TemplateQuery
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.builders_templates import a_template, template_event

UPDATED, DELETED = EventName.TEMPLATE_UPDATED, EventName.TEMPLATE_DELETED


async def added(
    store: Store, template: CrawlTemplate | None = None, **fields: Any
) -> CrawlTemplate:
    """Return a template that the store has."""
    template = template or a_template(**fields)
    await store.templates.add(template, template_event(template))
    return template


async def saved(store: Store, template: CrawlTemplate, **changes: Any) -> CrawlTemplate:
    """Return the next version of a template, which the store has."""
    after = replace(template, version=template.version + 1, **changes)
    await store.templates.save(after, template_event(after, UPDATED))
    return after


async def test_a_version_beyond_any_number_of_a_database_is_not_there(store: Store) -> None:
    template = await added(store)

    for version in (0, -1, 2**31, 2**63, 10**30):
        with pytest.raises(NotFound, match=f"no version {version} of template"):
            await store.templates.get(template.id, version)


async def test_what_is_handed_out_is_not_what_is_kept(store: Store) -> None:
    template = await added(store)

    for out in (
        await store.templates.get(template.id),
        await store.templates.get(template.id, 1),
        (await store.templates.find(TemplateQuery(), 1))[0],
        (await store.templates.versions(template.id))[0],
    ):
        urls = out.spec["urls"]
        assert isinstance(urls, list)
        urls.append("https://evil.example/")

    assert await store.templates.get(template.id) == template


async def find_names(store: Store, limit: int = 100, **filters: Any) -> list[str]:
    """Return the names of the templates that match *filters*."""
    return [t.name for t in await store.templates.find(TemplateQuery(**filters), limit)]


async def event_names(store: Store, template: CrawlTemplate) -> list[str]:
    """Return the names of its events, without their common prefix."""
    events = await store.events.events(EventQuery(subject=template.id))
    return [event.name.removeprefix("template.") for event in events]


async def scheduled(store: Store, template: CrawlTemplate, name: str) -> CrawlSchedule:
    """Return a schedule of the template, which the store has."""
    schedule = CrawlSchedule(
        id=new_id(),
        owner="bob",
        name=name,
        template_id=template.id,
        when="@daily",
        created_at=NOW,
        updated_at=NOW,
    )
    event = replace(template_event(template, EventName.SCHEDULE_CREATED), subject=schedule.id)
    await store.schedules.add(schedule, event)
    return schedule


async def test_a_template_comes_back_as_it_was_added(store: Store) -> None:
    template = a_template(
        name="Ünter 50%",
        description="»why«\nand more",
        public=True,
        spec={"urls": ["{{a}}"], "max_depth": None, "headers": {"X-A": "ü"}, "delay_s": 0.25},
        parameters=(
            TemplateParameter(
                name="a",
                type=ParameterType.LIST,
                description="Ü",
                default=["x"],
                allowed=("x", "y"),
            ),
            TemplateParameter(name="b", type=ParameterType.BOOLEAN, required=True),
        ),
        created_at=NOW - timedelta(days=400, microseconds=1),
    )

    await store.templates.add(template, template_event(template))

    assert await store.templates.get(template.id) == template
    assert await store.templates.get(template.id, 1) == template


async def test_what_no_database_takes_is_replaced(store: Store) -> None:
    template = await added(store, description="a\x00b", spec={"name": "\ud800"})

    stored = await store.templates.get(template.id)

    assert (stored.description, stored.spec) == ("a\ufffdb", {"name": "\ufffd"})


async def test_a_name_is_taken_once_by_each_owner(store: Store) -> None:
    await added(store, owner="ada", name="news")
    await added(store, owner="bob", name="news")

    with pytest.raises(Conflict, match="a template named news already exists"):
        await added(store, owner="ada", name="news")

    assert await find_names(store) == ["news", "news"]


class TestSaveTemplate:
    async def test_every_version_stays_as_it_was(self, store: Store) -> None:
        first = await added(store)
        later = NOW + timedelta(hours=1)

        second = await saved(store, first, description="2", updated_at=later, actor="root")
        third = await saved(store, second, name="other", public=True, spec={}, parameters=())

        assert await store.templates.get(first.id) == third
        assert await store.templates.versions(first.id) == [third, second, first]
        assert await store.templates.get(first.id, 2) == second
        assert await event_names(store, first) == ["created", "updated", "updated"]

    async def test_a_name_of_another_is_not_taken(self, store: Store) -> None:
        await added(store, name="one")
        two = await added(store, name="two")

        with pytest.raises(Conflict, match="a template named one already exists"):
            await saved(store, two, name="one")

        assert await store.templates.versions(two.id) == [two]
        assert await event_names(store, two) == ["created"]

    async def test_a_name_that_was_given_up_is_free(self, store: Store) -> None:
        await saved(store, await added(store, name="one"), name="two")

        await added(store, name="one")

        assert await find_names(store) == ["one", "two"]


class TestFindTemplates:
    async def test_names_come_in_the_order_of_their_code_points(self, store: Store) -> None:
        for name in ("b", "a", "Z", "é", "_", "a b", "aa"):
            await added(store, name=name)

        assert await find_names(store) == ["Z", "_", "a", "a b", "aa", "b", "é"]

    async def test_at_most_limit_come_and_the_rest_behind_the_last_of_them(
        self, store: Store
    ) -> None:
        names = ["a", "a", "B", "c", "c", "c", "ä"]
        for number, name in enumerate(names):
            await added(store, name=name, owner=f"u{number}")

        pages, after = [], None
        while page := await store.templates.find(TemplateQuery(after=after), 2):
            pages.append([t.name for t in page])
            after = (page[-1].name, page[-1].id)

        assert pages == [["B", "a"], ["a", "c"], ["c", "c"], ["ä"]]

    async def test_each_field_narrows(self, store: Store) -> None:
        await added(store, name="mine", owner="ada")
        await added(store, name="shared", owner="bob", public=True)
        await added(store, name="theirs", owner="bob")

        assert await find_names(store, owner="bob") == ["shared", "theirs"]
        assert await find_names(store, seen_by="ada") == ["mine", "shared"]
        assert await find_names(store, seen_by="bob") == ["shared", "theirs"]
        assert await find_names(store, seen_by="eve") == ["shared"]
        assert await find_names(store, public=True) == ["shared"]
        assert await find_names(store, public=False) == ["mine", "theirs"]
        assert await find_names(store, name="mine") == ["mine"]
        assert await find_names(store, name="min") == []
        assert await find_names(store, seen_by="ada", owner="bob", name="theirs") == []

    @pytest.mark.parametrize("text", ["50%", "ünTER", "a_b", "WHY", "path\\x"])
    async def test_text_is_a_part_of_the_name_or_description(self, store: Store, text: str) -> None:
        await added(store, name="50% ÜNTER a_b", description="Why path\\x")
        await added(store, name="500 unter aXb")

        assert await find_names(store, text=text) == ["50% ÜNTER a_b"]

    async def test_the_latest_version_decides(self, store: Store) -> None:
        first = await added(store, name="old", public=True, description="old words")
        second = await saved(store, first, name="new", public=False, description="new words")

        assert await store.templates.find(TemplateQuery(), 10) == [second]
        assert await find_names(store, text="old") == await find_names(store, public=True) == []
        assert await find_names(store, text="new words") == ["new"]

    @given(names=st.lists(st.text(min_size=1, max_size=5), max_size=6, unique=True))
    @settings(
        max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
    )
    async def test_every_name_is_ordered_alike(self, store: Store, names: list[str]) -> None:
        owner = new_id()
        ours = {name.encode("utf-8", "replace").decode().replace("\x00", "x") for name in names}
        for name in ours:
            await added(store, name=name, owner=owner)

        assert await find_names(store, owner=owner) == sorted(ours)


class TestDeleteTemplate:
    async def test_a_deleted_template_is_gone_with_all_versions(self, store: Store) -> None:
        template = await saved(store, await added(store))

        await store.templates.delete(template.id, 2, template_event(template, DELETED))

        for version in (None, 1, 2):
            with pytest.raises(NotFound):
                await store.templates.get(template.id, version)
        assert await store.templates.versions(template.id) == []
        assert await find_names(store) == []
        assert await event_names(store, template) == ["created", "updated", "deleted"]

    async def test_its_name_is_free_again(self, store: Store) -> None:
        template = await added(store)
        await store.templates.delete(template.id, 1, template_event(template, DELETED))

        await added(store, name=template.name)

        assert await find_names(store) == [template.name]

    async def test_a_template_that_schedules_use_stays_and_they_are_named(
        self, store: Store
    ) -> None:
        template, other = await added(store), await added(store, name="other")
        for name in ("weekly", "nightly"):
            await scheduled(store, template, name)
        await scheduled(store, other, "hourly")

        with pytest.raises(Conflict, match="used by schedules nightly, weekly; delete those first"):
            await store.templates.delete(template.id, 1, template_event(template, DELETED))
        with pytest.raises(Conflict, match="used by schedules nightly, weekly; delete those first"):
            await store.templates.check_unused(template.id)
        with pytest.raises(Conflict, match="used by 2 schedules of other users; delete"):
            await store.templates.check_unused(template.id, "somebody")

        assert await store.templates.get(template.id) == template
        assert await event_names(store, template) == ["created"]

    async def test_a_template_that_no_schedule_uses_any_more_can_go(self, store: Store) -> None:
        template = await added(store)
        schedule = await scheduled(store, template, "nightly")
        event = replace(template_event(template, EventName.SCHEDULE_DELETED), subject=schedule.id)
        await store.schedules.delete(schedule.id, schedule.version, event)

        await store.templates.check_unused(template.id)
        await store.templates.delete(template.id, 1, template_event(template, DELETED))

        assert await find_names(store) == []

    async def test_a_schedule_and_a_delete_at_once_leave_both_or_neither(
        self, store: Store
    ) -> None:
        for turn in range(10):
            template = await added(store, name=f"t{turn}")
            delete = store.templates.delete(template.id, 1, template_event(template, DELETED))
            use = scheduled(store, template, f"s{turn}")

            lost, refused = await asyncio.gather(delete, use, return_exceptions=True)

            assert (lost is None) == isinstance(refused, NotFound)
            assert (lost is None) != (not isinstance(refused, Exception))
            assert lost is None or isinstance(lost, Conflict)

    async def test_many_schedules_are_named_in_part(self, store: Store) -> None:
        template = await added(store)
        for number in range(22):
            await scheduled(store, template, f"s{number:02}")

        with pytest.raises(Conflict, match="s18, s19 and 2 more; delete those first"):
            await store.templates.delete(template.id, 1, template_event(template, DELETED))
