"""An urgent job that has waited takes the slot of a low one, and no part of that is lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from crawlyard import LOCAL, Job, Priority, State, StateReason, Yard
from crawlyard.core.events.event import EventName
from crawlyard.services.jobs.lookup import find_job
from tests.engine.rig import a_spec, opened, outcome, published, until_state
from tests.engine.test_crawl import paths, tree
from tests.jobs import events_of, submit
from tests.site import GraphSite, Serve, refetched

LOW, URGENT, NORMAL = Priority.LOW, Priority.URGENT, Priority.NORMAL


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with opened(tmp_path, preempt_after_s=0.1, database_url="") as yard:
        yield yard


async def submitted(yard: Yard, url: str, priority: Priority, **fields: object) -> Job:
    """Return a job that was just submitted."""
    return await submit(yard, a_spec(url, priority=priority, **fields))


async def reasons_of(yard: Yard, job: Job) -> list[tuple[EventName, object]]:
    events = await events_of(yard, job.id)
    return [(event.name, event.data.get("reason")) for event in events]


async def test_a_low_crawl_makes_room_and_goes_on_without_asking_a_page_twice(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(6, 3))
    slow = await site_server(site, latency_s=0.03)
    other = await site_server(GraphSite(tree(2, 1)), host="127.0.0.2")
    low = await submitted(yard, f"{slow.url}/", LOW, concurrency=4)
    working = asyncio.create_task(yard.worker(slots=1).run(drain=True))
    await published(yard, low.id, done=20)

    urgent = await submitted(yard, f"{other.url}/", URGENT)
    await until_state(yard, urgent.id, State.COMPLETED)
    come = (await find_job(yard.store, LOCAL, low.id)).job
    await working

    assert come.queued_at == low.queued_at
    names = [name for name, _ in await reasons_of(yard, low)]
    assert [name for name in names if name is not EventName.PROGRESSED] == [
        EventName.CREATED,
        EventName.STARTED,
        EventName.REQUEUED,
        EventName.STARTED,
        EventName.COMPLETED,
    ]
    assert (EventName.REQUEUED, StateReason.PREEMPTED) in await reasons_of(yard, low)
    assert [name for name, _ in await reasons_of(yard, urgent)][1:] == [
        "job.started",
        "job.completed",
    ]
    assert paths(slow, (await outcome(yard, low.id)).ok) == site.reachable()
    assert not refetched(slow.hits)


async def test_of_two_low_crawls_the_one_that_began_last_makes_room(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(7, 3)), latency_s=0.05)
    older = await submitted(yard, f"{server.url}/", LOW, concurrency=1)
    worker = yard.worker(slots=2)
    working = asyncio.create_task(worker.run())
    await until_state(yard, older.id, State.RUNNING)
    younger = await submitted(yard, f"{server.url}/1", LOW, concurrency=1)
    await until_state(yard, younger.id, State.RUNNING)

    urgent = await submitted(yard, f"{server.url}/", URGENT, concurrency=1)
    await until_state(yard, urgent.id, State.RUNNING)
    states = [(await find_job(yard.store, LOCAL, job.id)).job.state for job in (older, younger)]
    worker.stop()
    await working

    assert states == [State.RUNNING, State.PENDING]


async def test_no_job_is_preempted_while_a_slot_is_free(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(7, 3)), latency_s=0.05)
    low = await submitted(yard, f"{server.url}/", LOW, concurrency=1)
    worker = yard.worker(slots=2)
    working = asyncio.create_task(worker.run())
    await until_state(yard, low.id, State.RUNNING)

    urgent = await submitted(yard, f"{server.url}/1", URGENT, concurrency=1)
    await until_state(yard, urgent.id, State.RUNNING)
    worker.stop()
    await working

    assert StateReason.PREEMPTED not in [reason for _, reason in await reasons_of(yard, low)]


async def test_a_reserved_slot_is_kept_for_what_is_urgent(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(7, 3)), latency_s=0.05)
    first = await submitted(yard, f"{server.url}/", NORMAL, concurrency=1)
    second = await submitted(yard, f"{server.url}/1", NORMAL, concurrency=1)
    worker = yard.worker(slots=2, reserved=1)
    working = asyncio.create_task(worker.run())
    await until_state(yard, first.id, State.RUNNING)

    urgent = await submitted(yard, f"{server.url}/2", URGENT, concurrency=1)
    await until_state(yard, urgent.id, State.RUNNING)
    states = [(await find_job(yard.store, LOCAL, job.id)).job.state for job in (first, second)]
    worker.stop()
    await working

    assert states == [State.RUNNING, State.PENDING]


async def test_a_job_that_needs_a_tag_is_left_to_a_worker_that_has_it(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/a": [], "/b": []}))
    tagged = await submitted(yard, f"{server.url}/a", URGENT, worker_tags=("eu",))
    plain = await submitted(yard, f"{server.url}/b", LOW)

    await yard.worker(slots=1).run(drain=True)
    state = (await find_job(yard.store, LOCAL, tagged.id)).job.state
    done = (await find_job(yard.store, LOCAL, plain.id)).job.state
    await yard.worker(slots=1, tags=["eu", "large"]).run(drain=True)

    assert (state, done) == (State.PENDING, State.COMPLETED)
    assert (await find_job(yard.store, LOCAL, tagged.id)).job.state is State.COMPLETED


async def test_a_low_crawl_that_waits_for_long_goes_before_a_normal_one(
    tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/low": [], "/normal": [], "/first": []}))
    async with opened(tmp_path, age_after_s=0.001) as yard:
        await submitted(yard, f"{server.url}/low", LOW)
        await yard.store.queue.age(yard.clock.now() + timedelta(seconds=1), timedelta(seconds=0.1))
        await submitted(yard, f"{server.url}/normal", NORMAL)
        await yard.worker(slots=1).run(drain=True)

    paths = [hit.path for hit in server.hits if hit.path != "/robots.txt"]
    assert paths == ["/low", "/normal"]
