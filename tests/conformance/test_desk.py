"""`ViewStore`, `OperationStore` and `SettingStore`: what the server keeps beside the crawls."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.access.policy import Section
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.operations.operation import Failure, Operation, OperationKind, OperationState
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.builders_serve import a_section, a_view, an_operation
from tests.conformance.conftest import Backend

DAY = timedelta(days=1)
LATER = NOW + timedelta(seconds=30)
MOMENT = timedelta(microseconds=1)


class TestDismissals:
    async def test_each_user_has_their_own(self, store: Store) -> None:
        dismissals = store.dismissals
        await dismissals.add("ada", "disk_full", NOW, NOW - DAY)
        await dismissals.add("ada", "job_failed job Ü", NOW, NOW - DAY)
        await dismissals.add("ada", "disk_full", LATER, NOW - DAY)
        await dismissals.add("bob", "disk_full", NOW, NOW - DAY)

        assert await dismissals.find("ada") == {"disk_full": LATER, "job_failed job Ü": NOW}
        await dismissals.drop("ada", "disk_full")
        assert await dismissals.find("ada") == {"job_failed job Ü": NOW}
        await dismissals.drop("ada", None)
        assert await dismissals.find("ada") == {}
        assert await dismissals.find("bob") == {"disk_full": NOW}

    async def test_old_ones_are_forgotten_and_no_user_has_more_than_some(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.store.attention.dismissals.MOST_DISMISSED", 2)
        for n in range(3):
            await store.dismissals.add("ada", f"n{n}", NOW + n * MOMENT, NOW - DAY)
        await store.dismissals.add("bob", "n0", NOW - DAY, NOW - DAY)
        assert sorted(await store.dismissals.find("ada")) == ["n1", "n2"]

        await store.dismissals.add("bob", "n1", NOW, NOW - DAY + MOMENT)
        assert sorted(await store.dismissals.find("bob")) == ["n1"]
        assert sorted(await store.dismissals.find("ada")) == ["n1", "n2"]


class TestViews:
    async def test_a_view_comes_back_as_it_was_added(self, store: Store) -> None:
        view = a_view(name="Ünter 50%", page="pages", query="state=failed&q=%00", version=4)

        await store.views.add(view)

        assert await store.views.get(view.id) == view

    async def test_an_id_is_taken_once_and_a_name_on_each_page(self, store: Store) -> None:
        view = a_view()
        await store.views.add(view)

        with pytest.raises(Conflict, match=view.id):
            await store.views.add(a_view(id=view.id, name="other"))
        with pytest.raises(Conflict, match="a view named mine already exists"):
            await store.views.add(a_view())
        await store.views.add(a_view(page="schedules"))
        await store.views.add(a_view(owner="ada"))

        assert len(await store.views.find("local")) == 2

    async def test_they_are_found_by_page_and_name(self, store: Store) -> None:
        for page, name in [("jobs", "b"), ("jobs", "B"), ("events", "z"), ("jobs", "a-b")]:
            await store.views.add(a_view(page=page, name=name))
        await store.views.add(a_view(owner="ada"))

        every = [(v.page, v.name) for v in await store.views.find("local")]
        events = [v.name for v in await store.views.find("local", "events")]

        assert every == [("events", "z"), ("jobs", "B"), ("jobs", "a-b"), ("jobs", "b")]
        assert events == ["z"]
        assert await store.views.find("bob") == []

    async def test_a_view_is_replaced_by_its_next_version(self, store: Store) -> None:
        before = a_view()
        await store.views.add(before)
        after = replace(before, name="other", query="q=1", version=2, updated_at=LATER)

        await store.views.save(after)

        assert await store.views.get(before.id) == after

    async def test_a_name_that_is_taken_is_refused(self, store: Store) -> None:
        view = a_view(name="second")
        await store.views.add(a_view(name="first"))
        await store.views.add(view)

        with pytest.raises(Conflict, match="a view named first already exists"):
            await store.views.save(replace(view, name="first", version=2))

        assert await store.views.get(view.id) == view

    async def test_of_twenty_that_save_the_same_version_one_succeeds(self, store: Store) -> None:
        view = a_view()
        await store.views.add(view)

        results = await asyncio.gather(
            *(store.views.save(replace(view, query=str(n), version=2)) for n in range(20)),
            return_exceptions=True,
        )

        assert [type(r) for r in results if r is not None] == [Conflict] * 19

    async def test_one_that_has_changed_meanwhile_is_not_deleted(self, store: Store) -> None:
        view = a_view()
        await store.views.add(view)

        with pytest.raises(Conflict):
            await store.views.delete(view.id, 2)
        await store.views.delete(view.id, 1)

        with pytest.raises(NotFound, match=f"no view {view.id}"):
            await store.views.get(view.id)
        with pytest.raises(Conflict):
            await store.views.delete(view.id, 1)
        with pytest.raises(Conflict):
            await store.views.save(replace(view, version=2))


async def begun(store: Store, **fields: object) -> Operation:
    """Return an operation that the store has."""
    operation = an_operation(**fields)
    await store.operations.add(operation)
    return operation


class TestStoredOperations:
    async def test_an_operation_comes_back_as_it_was_added(self, store: Store) -> None:
        operation = an_operation(
            owner="ada",
            kind=OperationKind.BACKFILL,
            request={"filter": {"tags": ["ü", 1, None, 2.5]}, "deep": [True]},
            state=OperationState.FAILED,
            total=10,
            done=7,
            failed=2,
            failures=(Failure(id="1", code="conflict", detail="»why«"),) * 2,
            cursor="0192",
            detail="it could not go on",
            leased_until=LATER,
            version=9,
            ended_at=NOW,
        )

        await store.operations.add(operation)

        assert await store.operations.get(operation.id) == operation
        with pytest.raises(Conflict, match=operation.id):
            await store.operations.add(operation)

    async def test_what_databases_refuse_in_text_is_replaced(self, store: Store) -> None:
        failures = (Failure(id="1", code="x", detail="\ud800"),)
        operation = await begun(store, request={"a\x00": ("\udfff",)}, failures=failures)

        stored = await store.operations.get(operation.id)

        assert stored.request == {"a\ufffd": ["\ufffd"]}
        assert stored.failures[0].detail == "\ufffd"

    async def test_one_that_is_not_there_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="no operation 0192"):
            await store.operations.get("0192")
        with pytest.raises(Conflict):
            await store.operations.save(an_operation(version=2))

    async def test_of_twenty_that_save_the_same_version_one_succeeds(self, store: Store) -> None:
        operation = await begun(store)

        results = await asyncio.gather(
            *(store.operations.save(replace(operation, done=n, version=2)) for n in range(20)),
            return_exceptions=True,
        )

        assert [type(r) for r in results if r is not None] == [Conflict] * 19
        winner = results.index(None)
        assert (await store.operations.get(operation.id)).done == winner

    async def test_the_newest_come_first(self, store: Store) -> None:
        first, two = await begun(store), await begun(store, owner="ada")
        three = await begun(store)

        find = store.operations.find

        assert await find(None, None, 10) == [three, two, first]
        assert await find(None, None, 1) == [three]
        assert await find("local", three.id, 10) == [first]

    async def test_those_that_have_not_ended_are_under_way(self, store: Store) -> None:
        for state in set(OperationState) - {OperationState.RUNNING}:
            await begun(store, state=state, ended_at=NOW)
        first, two = await begun(store), await begun(store, version=7, leased_until=LATER)

        assert await store.operations.under_way() == {first.id: 1, two.id: 7}


class TestSweepOfOperations:
    async def test_those_that_ended_long_ago_are_swept_and_those_that_run_are_not(
        self, store: Store
    ) -> None:
        done = OperationState.COMPLETED
        for _ in range(3):
            await begun(store, state=done, ended_at=LATER - MOMENT)
        remaining = [
            await begun(store, state=done, ended_at=LATER),
            await begun(store, state=OperationState.RUNNING),
        ]

        few = await store.operations.sweep(LATER, 2)
        rest = await store.operations.sweep(LATER)

        assert (few, rest, await store.operations.sweep(LATER)) == (2, 1, 0)
        assert await store.operations.find(None, None, 10) == remaining[::-1]


class TestClaimOfAnOperation:
    async def test_the_oldest_unleased_operation_is_claimed(self, store: Store) -> None:
        await begun(store, state=OperationState.COMPLETED)
        await begun(store, leased_until=NOW + MOMENT)
        first, second = await begun(store), await begun(store, leased_until=NOW)

        claims = [await store.operations.claim(NOW, LATER) for _ in range(3)]

        leased = [replace(o, leased_until=LATER, version=2) for o in (first, second)]
        assert claims == [*leased, None]
        assert await store.operations.get(first.id) == leased[0]

    async def test_ten_at_once_never_get_the_same_one(self, store: Store, backend: Backend) -> None:
        for _ in range(3):
            await begun(store)
        other = await backend.open()

        claims = await asyncio.gather(
            *((store, other)[n % 2].operations.claim(NOW, LATER) for n in range(10))
        )
        if backend.sql:
            await other.close()

        won = [operation.id for operation in claims if operation]
        assert len(won) == len(set(won)) == 3

    async def test_a_former_owner_cannot_save_an_operation(self, store: Store) -> None:
        await begun(store)
        old = await store.operations.claim(NOW, LATER)
        new = await store.operations.claim(LATER, LATER + timedelta(seconds=30))
        assert old is not None
        assert new is not None

        with pytest.raises(Conflict):
            await store.operations.save(replace(old, done=1, version=old.version + 1))
        await store.operations.save(replace(new, done=2, version=new.version + 1))

        assert (await store.operations.get(old.id)).done == 2


def changed(section: Section) -> Event:
    return Event(
        name=EventName.SETTINGS_UPDATED,
        subject=section.name,
        owner="local",
        at=NOW,
        actor="local",
    )


class TestStoredSettings:
    async def test_a_section_that_was_never_written_is_empty(self, store: Store) -> None:
        assert await store.settings.get("crawling") == Section(name="crawling")

    async def test_a_section_is_written_together_with_its_event(self, store: Store) -> None:
        first = a_section(value={"a": {"ü": [1, None, "x\n"]}}, actor="ada")
        second = a_section(value={}, version=2, updated_at=LATER)

        await store.settings.save(first, changed(first))
        written = await store.settings.get("crawling")
        await store.settings.save(second)

        assert written == first
        assert await store.settings.get("crawling") == second
        events = await store.events.events(EventQuery(subject="crawling"))
        assert [e.name for e in events] == ["settings.updated"]

    @pytest.mark.parametrize("version", [1, 3])
    async def test_only_the_next_version_is_taken(self, store: Store, version: int) -> None:
        first = a_section()
        await store.settings.save(first)
        other = a_section(value={}, version=version)

        with pytest.raises(Conflict, match="settings crawling"):
            await store.settings.save(other, changed(other))

        assert await store.settings.get("crawling") == first
        assert await store.events.events() == []

    @pytest.mark.parametrize("before", [0, 1])
    async def test_of_twenty_that_save_at_once_one_succeeds(
        self, store: Store, before: int
    ) -> None:
        if before:
            await store.settings.save(a_section())
        sections = [a_section(value={"n": n}, version=before + 1) for n in range(20)]

        results = await asyncio.gather(
            *(store.settings.save(s, changed(s)) for s in sections), return_exceptions=True
        )

        assert [type(r) for r in results if r is not None] == [Conflict] * 19
        assert await store.settings.get("crawling") == sections[results.index(None)]
        assert len(await store.events.events()) == 1
