"""Requests of operators to workers, beside the reports of workers."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.workers.status import WorkerWish
from crawlyard.errors import Conflict
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.builders_serve import a_report

ID = "host:1:x"
SECOND = timedelta(seconds=1)


def _event(worker_id: str = ID) -> Event:
    return Event(name=EventName.WORKER_QUIETED, subject=worker_id, owner="a", at=NOW, actor="a")


async def test_a_worker_of_which_nothing_was_said_shall_work(store: Store) -> None:
    assert await store.workers.wish(ID) is WorkerWish.NONE
    assert await store.workers.save_heartbeat(a_report()) is WorkerWish.NONE
    assert await store.workers.wish(ID) is WorkerWish.NONE


async def test_a_command_is_returned_at_each_heartbeat_until_another_replaces_it(
    store: Store,
) -> None:
    await store.workers.save_heartbeat(a_report())

    await store.workers.ask(ID, WorkerWish.QUIET, WorkerWish.NONE, _event())
    beats = [await store.workers.save_heartbeat(a_report(beat_at=NOW + n * SECOND)) for n in (1, 2)]
    await store.workers.ask(ID, WorkerWish.STOP, WorkerWish.QUIET, _event())

    assert beats == [WorkerWish.QUIET, WorkerWish.QUIET]
    assert await store.workers.wish(ID) is WorkerWish.STOP
    assert await store.workers.save_heartbeat(a_report()) is WorkerWish.STOP


async def test_a_report_shows_the_wish_of_the_store_and_not_its_own(store: Store) -> None:
    await store.workers.save_heartbeat(a_report(wish=WorkerWish.STOP))
    [before] = await store.workers.find()

    await store.workers.ask(ID, WorkerWish.QUIET, WorkerWish.NONE, _event())
    await store.workers.save_heartbeat(a_report(quiet=True, tags=("browser", "eu"), cpu=0.25))

    [after] = await store.workers.find()
    expected = a_report(quiet=True, tags=("browser", "eu"), cpu=0.25)
    assert before == a_report()
    assert after == replace(expected, wish=WorkerWish.QUIET)


async def test_a_wish_and_its_event_are_one_thing(store: Store) -> None:
    await store.workers.save_heartbeat(a_report())

    await store.workers.ask(ID, WorkerWish.QUIET, WorkerWish.NONE, _event())

    assert [e.name for e in await store.events.events()] == [EventName.WORKER_QUIETED]


@pytest.mark.parametrize("worker_id", [ID, "nobody"])
async def test_a_wish_meant_for_what_has_changed_is_refused_whole(
    store: Store, worker_id: str
) -> None:
    await store.workers.save_heartbeat(a_report())

    with pytest.raises(Conflict):
        await store.workers.ask(worker_id, WorkerWish.NONE, WorkerWish.QUIET, _event(worker_id))

    assert await store.workers.wish(worker_id) is WorkerWish.NONE
    assert await store.events.events() == []


async def test_wishes_are_each_workers_own_and_go_with_it(store: Store) -> None:
    for worker_id in (ID, "other"):
        await store.workers.save_heartbeat(a_report(id=worker_id))
    await store.workers.ask(ID, WorkerWish.QUIET, WorkerWish.NONE, _event())

    assert await store.workers.wish("other") is WorkerWish.NONE
    await store.workers.forget(ID)
    assert await store.workers.wish(ID) is WorkerWish.NONE
    assert await store.workers.save_heartbeat(a_report()) is WorkerWish.NONE
