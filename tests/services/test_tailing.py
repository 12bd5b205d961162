"""Following a log to its last line, without losses or duplicates."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.jobs.job_log import MOST_LINES, Level, LogEnd, LogLine
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.errors import StoreUnavailable
from crawlyard.services.jobs.follow import LOOK_EVERY, PORTION, follow_log, read_log_lines
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW
from tests.clock import FakeClock
from tests.conformance.purging import deleted
from tests.conformance.steps import added, moved
from tests.scribe import Scribe, scribe_of

ADA = Actor(id="ada")
SECOND = timedelta(seconds=1)


async def a_scribe(store: Store, clock: FakeClock) -> Scribe:
    return await scribe_of(store, clock, (await added(store)).id)


class Reader:
    """Collects the numbers of the lines that a follow yields, as a task of its own."""

    def __init__(self, lines: AsyncIterator[LogLine], clock: FakeClock) -> None:
        self.numbers: list[int] = []
        self.task = asyncio.create_task(self._collect(lines))
        self._clock = clock

    async def _collect(self, lines: AsyncIterator[LogLine]) -> None:
        async for line in lines:
            self.numbers.append(line.n)

    async def until(self, count: int) -> None:
        """Advance the clock until *count* lines were read."""
        async with asyncio.timeout(120):
            while len(self.numbers) < count:
                await self._clock.advance(LOOK_EVERY)

    async def through(self) -> list[int]:
        """Advance the clock until the end; return all numbers."""
        async with asyncio.timeout(120):
            while not self.task.done():
                await self._clock.advance(LOOK_EVERY)
        await self.task
        return self.numbers


async def test_stored_lines_come_first_then_new_ones_up_to_the_end(
    store: Store, clock: FakeClock
) -> None:
    scribe = await a_scribe(store, clock)
    await scribe.say(2 * PORTION + 1)
    reader = Reader(follow_log(store, clock, LOCAL, scribe.lease.job_id), clock)
    await reader.until(2 * PORTION + 1)

    for count in (1, 7, PORTION):
        await scribe.say(count)
        await reader.until(scribe.lines)
    await scribe.say(3)
    await scribe.end()

    assert await reader.through() == list(range(1, scribe.lines + 1))


async def test_level_and_place_are_kept_to(clock: FakeClock) -> None:
    store = open_in_memory()
    scribe = await a_scribe(store, clock)
    for level in (Level.ERROR, Level.INFO, Level.WARNING, Level.DEBUG, Level.ERROR):
        await scribe.say(1, level)
    await scribe.end()

    follow = partial(follow_log, store, clock)
    numbers = [line.n async for line in follow(LOCAL, scribe.lease.job_id, least=Level.WARNING)]
    behind = [line.n async for line in follow(LOCAL, scribe.lease.job_id, after=1)]

    assert (numbers, behind) == ([1, 3, 5], [2, 3, 5])


async def test_a_cancelled_job_is_followed_to_its_last_batch(clock: FakeClock) -> None:
    store = open_in_memory()
    scribe = await a_scribe(store, clock)
    reader = Reader(follow_log(store, clock, LOCAL, scribe.lease.job_id), clock)
    await moved(store, scribe.lease.job_id, Move.CANCEL)
    await clock.advance(5 * LOOK_EVERY)
    waits = not reader.task.done()
    await scribe.say(2, last=True)

    assert waits
    assert await reader.through() == [1, 2]


async def test_an_id_in_capitals_is_the_same_job(clock: FakeClock) -> None:
    store = open_in_memory()
    scribe = await a_scribe(store, clock)
    await scribe.say(2)
    await scribe.end()
    follow = follow_log(store, clock, LOCAL, scribe.lease.job_id.upper())
    assert [line.n async for line in follow] == [1, 2]


async def test_a_job_that_is_deleted_is_followed_no_more(clock: FakeClock) -> None:
    store = open_in_memory()
    scribe = await a_scribe(store, clock)
    reader = Reader(follow_log(store, clock, LOCAL, scribe.lease.job_id), clock)
    await scribe.say()
    await reader.until(1)
    await scribe.end(Move.PAUSE)

    await deleted(store, (await store.jobs.get(scribe.lease.job_id)).job)

    assert await reader.through() == [1]


async def test_a_store_that_is_away_is_waited_for(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_in_memory()
    scribe = await a_scribe(store, clock)
    journal = UnreachableJournal(store)
    faulty = store.with_parts(journal=journal)
    reader = Reader(follow_log(faulty, clock, LOCAL, scribe.lease.job_id), clock)
    await scribe.say(2)
    await reader.until(2)
    journal.away = True
    await scribe.say(2)
    await clock.advance(10 * SECOND)
    meanwhile = list(reader.numbers)
    journal.away = False
    await scribe.end()

    assert meanwhile == [1, 2]
    assert await reader.through() == [1, 2, 3, 4]
    assert "the store is unavailable" in caplog.text


class UnreachableJournal:
    """A journal that can be unavailable."""

    def __init__(self, store: Store) -> None:
        self.inner = store.journal
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise StoreUnavailable("the database is away")
        return getattr(self.inner, name)


class TestTheEnd:
    """The end of a followed log."""

    def test_it_ends_with_a_job_that_has_ended_and_the_lease_of_its_writer(self) -> None:
        for state in State:
            assert LogEnd(n=1, state=state, held_until=None).over(NOW) is state.ended, state
        end = LogEnd(n=1, state=State.CANCELLED, held_until=NOW + LEASE)
        assert not end.over(NOW)
        assert end.over(NOW + LEASE)


class TestAStretch:
    """Chunks of log lines after a cursor."""

    @pytest.fixture
    async def scribe(self, store: Store, clock: FakeClock) -> Scribe:
        return await a_scribe(store, clock)

    async def test_lines_below_the_level_are_not_looked_at_twice(
        self, store: Store, scribe: Scribe
    ) -> None:
        job_id = scribe.lease.job_id
        await scribe.say(1, Level.ERROR)
        await scribe.say(50, Level.DEBUG)
        end = (await store.journal.ends([job_id]))[job_id]
        chunk = await read_log_lines(store.journal, job_id, Level.WARNING, 0, end)
        assert ([line.n for line in chunk.lines], chunk.next_cursor, chunk.lost) == ([1], 51, False)

    async def test_a_full_one_leads_to_its_last_line(self, store: Store, scribe: Scribe) -> None:
        job_id = scribe.lease.job_id
        await scribe.say(PORTION + 5)
        end = (await store.journal.ends([job_id]))[job_id]

        first = await read_log_lines(store.journal, job_id, Level.INFO, 0, end)
        second = await read_log_lines(store.journal, job_id, Level.INFO, first.next_cursor, end)

        assert (len(first.lines), first.next_cursor) == (PORTION, PORTION)
        assert (len(second.lines), second.next_cursor) == (5, PORTION + 5)

    @pytest.mark.parametrize(("place", "lost"), [(0, False), (9, True), (10, False), (11, False)])
    async def test_a_reader_loses_only_deleted_lines_that_it_has_not_read(
        self, store: Store, scribe: Scribe, place: int, lost: bool
    ) -> None:
        job_id = scribe.lease.job_id
        await scribe.say(MOST_LINES + 10)
        end = (await store.journal.ends([job_id]))[job_id]
        chunk = await read_log_lines(store.journal, job_id, Level.INFO, place, end)
        assert (chunk.lost, chunk.lines[0].n) == (lost, max(11, place + 1))
