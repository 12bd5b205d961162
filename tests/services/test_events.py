"""`Events`: visibility by owner, and followers that miss nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.access.sharing import Sharing
from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.errors import Invalid, StoreUnavailable
from crawlyard.services.events.events import LOOK_EVERY, Events, match_names
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.events.events import EventLog
from crawlyard.store.queries import EVERY_EVENT, EventQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_job, its_event
from tests.clock import FakeClock, settle
from tests.conformance.conftest import Backend
from tests.conformance.steps import added, moved

ADA, BOB = Actor(id="ada"), Actor(id="bob")


@pytest.fixture
def events(store: Store, clock: FakeClock) -> Events:
    return Events(store.events, clock)


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


class Follower:
    """Collects what a follow yields, as a task of its own."""

    def __init__(self, following: AsyncIterator[Event], clock: FakeClock) -> None:
        self.received: list[Event] = []
        self._clock = clock
        self.task = asyncio.create_task(self._collect(following))

    async def _collect(self, following: AsyncIterator[Event]) -> None:
        async for event in following:
            self.received.append(event)

    async def until(self, count: int) -> list[int]:
        """Advance the clock until *count* events were received, and one poll more."""
        async with asyncio.timeout(120):
            while len(self.received) < count:
                await self._clock.advance(LOOK_EVERY)
        await self._clock.advance(LOOK_EVERY)
        return seqs(self.received)

    async def end(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


class TestReading:
    async def test_a_user_sees_own_events_and_an_admin_sees_all(
        self, store: Store, events: Events
    ) -> None:
        for owner in ("ada", "bob", "ada"):
            await added(store, owner=owner)

        assert seqs(await events.list(ADA)) == [1, 3]
        assert seqs(await events.list(BOB)) == [2]
        assert seqs(await events.list(LOCAL)) == [1, 2, 3]
        assert seqs(await events.list(LOCAL, EventQuery(owner="bob"))) == [2]
        assert seqs(await events.list(ADA, EventQuery(owner="bob"))) == [1, 3]

    async def test_where_everyone_sees_jobs_events_of_those_that_others_show_are_seen(
        self, store: Store, events: Events
    ) -> None:
        ada = replace(ADA, sees_shared=True)
        await added(store, owner="ada")
        await added(store, owner="bob")
        await added(
            store, owner="bob", spec=JobSpec(urls=("https://example.com/",), shared=Sharing.PRIVATE)
        )

        assert seqs(await events.list(ada)) == [1, 2]
        assert seqs(await events.list(ada, EventQuery(owner="bob"))) == [2]

    @pytest.mark.parametrize("limit", [1, 3, 7, 50])
    async def test_the_newest_are_found_however_far_back_they_are(
        self, store: Store, events: Events, limit: int
    ) -> None:
        for owner in "abaabbbbbbba":
            await added(store, owner=owner)

        newest = await events.list(Actor(id="a"), EventQuery(newest_first=True), limit=limit)

        assert seqs(newest) == [12, 4, 3, 1][:limit]

    async def test_nothing_has_happened_yet(self, events: Events) -> None:
        assert await events.list(LOCAL) == []


class TestFollowing:
    async def test_what_was_there_comes_first_and_then_what_happens(
        self, store: Store, events: Events, clock: FakeClock
    ) -> None:
        job = await added(store)
        follower = Follower(events.follow(LOCAL), clock)
        await follower.until(1)

        await moved(store, job.id, Move.PAUSE)
        await added(store)

        assert await follower.until(3) == [1, 2, 3]
        assert [e.name for e in follower.received] == ["job.created", "job.paused", "job.created"]
        await follower.end()

    async def test_a_follower_from_now_on_gets_no_past_events(self, clock: FakeClock) -> None:
        memory = open_in_memory()
        await added(memory)
        follower = Follower(Events(memory.events, clock).follow(LOCAL, after=None), clock)
        await settle()

        await added(memory)

        assert await follower.until(1) == [2]
        await follower.end()

    async def test_nothing_is_lost_or_doubled_while_many_write(
        self, store: Store, backend: Backend, events: Events, clock: FakeClock
    ) -> None:
        writers = [await backend.open() for _ in range(4)]
        follower = Follower(events.follow(LOCAL), clock)

        async def write(other: Store) -> None:
            for _ in range(25):
                await added(other)
                await asyncio.sleep(0)  # a store in memory never waits, and others want a turn

        await asyncio.gather(*(write(other) for other in writers))
        followed = await follower.until(100)
        await follower.end()
        if backend.sql:
            for other in writers:
                await other.close()

        assert followed == list(range(1, 101))

    async def test_it_keeps_up_with_more_than_it_reads_at_once(
        self, store: Store, events: Events, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.services.events.events._CHUNK", 3)
        for _ in range(9):
            await added(store)
        follower = Follower(events.follow(LOCAL, after=1), clock)

        followed = await follower.until(8)

        assert followed == [2, 3, 4, 5, 6, 7, 8, 9]
        await follower.end()

    async def test_a_follower_gets_only_requested_events_that_it_may_see(
        self, store: Store, events: Events, clock: FakeClock
    ) -> None:
        paused = EventQuery(names=frozenset({EventName.PAUSED}))
        follower = Follower(events.follow(ADA, paused), clock)
        for owner in ("ada", "bob", "ada"):
            job = await added(store, owner=owner)
            await moved(store, job.id, Move.PAUSE)

        followed = await follower.until(2)

        assert followed == [2, 6]
        await follower.end()

    async def test_it_goes_on_after_what_was_forgotten(
        self, store: Store, events: Events, clock: FakeClock
    ) -> None:
        for _ in range(3):
            await added(store)
        follower = Follower(events.follow(LOCAL), clock)
        await follower.until(3)

        await store.upkeep.forget(NOW + timedelta(days=1))
        await added(store)

        assert await follower.until(4) == [1, 2, 3, 4]
        await follower.end()


class FlakyEventLog(EventLog):
    """An event log that is unavailable at every other read."""

    polls = 0

    async def events(
        self, query: EventQuery = EVERY_EVENT, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        self._fail()
        return await super().events(query, after, limit)

    async def last(self) -> int:
        self._fail()
        return await super().last()

    def _fail(self) -> None:
        self.polls += 1
        if self.polls % 3 == 2:
            raise StoreUnavailable("the database is away")


async def test_a_store_that_is_away_delays_a_follower_and_loses_nothing(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    follower = Follower(Events(FlakyEventLog(store.events._database), clock).follow(LOCAL), clock)

    for n in range(6):
        await added(store)
        await follower.until(n)

    assert await follower.until(6) == [1, 2, 3, 4, 5, 6]
    assert "the store is unavailable" in caplog.text
    await follower.end()


class GrowingEventLog(EventLog):
    """An event log that grows between any two reads."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.events._database)
        self.store = store

    async def events(
        self, query: EventQuery = EVERY_EVENT, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        await added(self.store)
        return await super().events(query, after, limit)

    async def last(self) -> int:
        await added(self.store)
        return await super().last()


async def test_events_between_two_polls_are_sent_once(store: Store, clock: FakeClock) -> None:
    follower = Follower(Events(GrowingEventLog(store), clock).follow(LOCAL), clock)

    followed = await follower.until(20)

    assert followed == list(range(1, len(followed) + 1))
    await follower.end()


class TestEventNames:
    def test_a_pattern_means_all_that_fit_it_and_is_refused_where_none_do(self) -> None:
        schedules = {name for name in EventName if name.kind == "schedule"}

        assert match_names(["schedule.*"]) == schedules
        assert match_names(["job.paused", "schedule.*"]) == {EventName.PAUSED, *schedules}
        assert match_names(["*"]) == set(EventName)
        with pytest.raises(Invalid, match=r"'job\.finished'.*job\.completed"):
            match_names(["job.*", "job.finished"])


async def test_the_instant_from_which_on_counts(store: Store, events: Events) -> None:
    for minutes in (2, 1, 0):
        job = a_job()
        at = NOW - timedelta(minutes=minutes)
        await store.jobs.add(job, replace(its_event(job), at=at))

    recent = await events.list(LOCAL, EventQuery(since=NOW - timedelta(minutes=1)))

    assert seqs(recent) == [2, 3]
