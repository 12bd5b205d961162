"""`EventLog`: what has happened, in the order in which it became true."""

import asyncio

import pytest
from msgspec.structs import replace

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, noted
from tests.conformance.conftest import Backend
from tests.conformance.steps import added, moved


async def test_events_come_oldest_first_of_one_job_or_of_all(store: Store) -> None:
    first, two = await added(store), await added(store)
    await moved(store, first.id, Move.PAUSE)

    every = await store.events.events()

    assert [(e.subject, e.name) for e in every] == [
        (first.id, "job.created"),
        (two.id, "job.created"),
        (first.id, "job.paused"),
    ]
    assert [e.seq for e in every] == sorted({e.seq for e in every})
    assert await store.events.events(EventQuery(subject=first.id)) == [every[0], every[2]]
    assert await store.events.events(EventQuery(subject="0192")) == []


async def test_they_are_found_by_owner_name_and_time(store: Store) -> None:
    mine, hers = await added(store), await added(store, a_job(owner="ada"))
    paused, event = hers.apply_move(Move.PAUSE, NOW + LEASE, actor="ada")
    await store.jobs.save(paused, event)

    by_owner = await store.events.events(EventQuery(owner="ada"))
    by_name = await store.events.events(EventQuery(names=frozenset({EventName.CREATED})))
    by_time = await store.events.events(EventQuery(since=NOW + LEASE))

    assert [e.name for e in by_owner] == [EventName.CREATED, EventName.PAUSED]
    assert [e.subject for e in by_name] == [mine.id, hers.id]
    assert [e.name for e in by_time] == [EventName.PAUSED]


async def test_they_are_found_by_who_did_it(store: Store) -> None:
    job = await added(store)
    paused, event = job.apply_move(Move.PAUSE, NOW, actor="ada")
    await store.jobs.save(paused, event)

    events = await store.events.events(EventQuery(actor="ada"))

    assert [e.name for e in events] == [EventName.PAUSED]


async def test_a_walk_back_from_the_newest_meets_each_once(store: Store) -> None:
    for owner in "abaab":
        await added(store, a_job(owner=owner))
    back = EventQuery(owner="a", newest_first=True)

    first = await store.events.events(back, limit=2)
    rest = await store.events.events(replace(back, before=first[-1].seq))

    assert [e.seq for e in first + rest] == [4, 3, 1]
    assert [e.seq for e in await store.events.events(back, after=1)] == [4, 3]


async def test_the_last_one_is_known(store: Store) -> None:
    before = await store.events.last()
    await added(store)

    [event] = await store.events.events()

    assert (before, await store.events.last()) == (0, event.seq)


async def test_a_change_may_have_several_events(store: Store) -> None:
    job = await added(store)
    paused, event = job.apply_move(Move.PAUSE, NOW, actor="ada")

    await store.jobs.save(paused, noted(job), event)

    events = await store.events.events(EventQuery(subject=job.id))
    assert [e.name for e in events] == [EventName.CREATED, EventName.NOTED, EventName.PAUSED]


async def test_they_are_read_on_from_the_last_that_was_seen(store: Store) -> None:
    for _ in range(7):
        await added(store)

    parts, after = [], 0
    while part := await store.events.events(after=after, limit=3):
        parts.append(len(part))
        after = part[-1].seq

    assert parts == [3, 3, 1]
    assert await store.events.events(after=after) == []


async def test_event_data_survives_a_round_trip_through_json(store: Store) -> None:
    job = await added(store)
    data = {"tuple": (1, 2), "deep": {"ü": [None, True, 1.5, 2**60]}, "nul": "\x00"}
    paused, event = job.apply_move(Move.PAUSE, NOW, actor="ada\x00")

    await store.jobs.save(paused, replace(event, data=data))

    stored_event = (await store.events.events(EventQuery(subject=job.id)))[1]
    assert stored_event.data == {
        "tuple": [1, 2],
        "deep": {"ü": [None, True, 1.5, 2**60]},
        "nul": "\ufffd",
    }
    assert (stored_event.actor, stored_event.at) == ("ada\ufffd", NOW)


@pytest.mark.parametrize("writers", [8])
async def test_a_reader_that_reads_on_misses_nothing_while_many_write(
    store: Store, backend: Backend, writers: int
) -> None:
    other_stores = [await backend.open() for _ in range(writers)]
    for _ in range(5 * writers):
        await added(store)
    events_read: list[Event] = await store.events.events()
    writing = asyncio.gather(
        *(
            other.leases.claim(Asker(f"w{n}"), NOW, LEASE)
            for n, other in enumerate(other_stores)
            for _ in range(5)
        )
    )

    while not writing.done():
        events_read += await store.events.events(after=events_read[-1].seq)
        await asyncio.sleep(0)  # a store in memory never waits, and others want their turn
    claims = await writing
    events_read += await store.events.events(after=events_read[-1].seq)
    for other in other_stores:
        await other.close()

    assert all(claims)
    assert events_read == await store.events.events()
    assert len(events_read) == 10 * writers
