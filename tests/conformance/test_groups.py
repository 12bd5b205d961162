"""Groups in every store: exactly one event once the last of their jobs has ended."""

import asyncio
from typing import Any

import pytest

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.checkpoint import Lease
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.ids import new_id
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_job, a_spec, a_target, done, its_event
from tests.builders_webhooks import SECRET
from tests.conformance.conftest import Backend
from tests.conformance.steps import added, claimed, ended, moved, recorded

ENDS = EventQuery(names=frozenset({EventName.GROUP_COMPLETED}))


async def group_of(store: Store, count: int, **fields: Any) -> tuple[str, list[Job]]:
    group_id = new_id()
    jobs = [a_job(origin=Origin(group_id=group_id), **fields) for _ in range(count)]
    return group_id, [await added(store, job) for job in jobs]


async def ends(store: Store) -> list[Event]:
    return await store.events.events(ENDS)


async def test_the_last_job_that_ends_ends_its_group_once(store: Store) -> None:
    group_id, (first, second, third) = await group_of(store, 3)
    await added(store)  # of no group
    claim = await claimed(store, first)
    await recorded(store, claim.lease, a_batch(outcomes=(done(a_target()),)))

    await ended(store, claim.lease)
    await moved(store, second.id, Move.CANCEL)
    assert await ends(store) == []
    await moved(store, third.id, Move.CANCEL)

    [end] = await ends(store)
    assert (end.subject, end.owner, end.actor) == (group_id, "local", "local")
    assert end.data == {
        "jobs": 3,
        "states": {"cancelled": 2, "completed": 1},
        "pages": 1,
        "errors": 0,
    }
    cancelled = (await store.jobs.get(second.id)).job
    await store.jobs.delete(second.id, cancelled.version, its_event(cancelled, EventName.DELETED))
    assert len(await ends(store)) == 1  # it had ended before


async def test_jobs_that_end_at_the_same_time_end_their_group_once(backend: Backend) -> None:
    stores = [await backend.open() for _ in range(4 if backend.sql else 1)]
    try:
        for _ in range(5):
            group_id, jobs = await group_of(stores[0], 4)
            leases = [(await claimed(stores[0], job)).lease for job in jobs]

            async def end(store: Store, lease: Lease) -> None:
                await ended(store, lease)

            async with asyncio.TaskGroup() as tasks:
                for number, lease in enumerate(leases):
                    tasks.create_task(end(stores[number % len(stores)], lease))

            of_group = await stores[0].events.events(EventQuery(subject=group_id))
            assert [event.name for event in of_group] == [EventName.GROUP_COMPLETED]
    finally:
        for store in dict.fromkeys(stores):
            await store.close()


@pytest.mark.parametrize("how", ["deleted", "cancelled with others"])
async def test_other_ends_count_as_well(store: Store, how: str) -> None:
    _, (first, second) = await group_of(store, 2)
    if how == "deleted":
        await moved(store, first.id, Move.CANCEL)
        paused = await moved(store, second.id, Move.PAUSE)
        deletion = its_event(paused, EventName.DELETED)
        await store.jobs.delete(paused.id, paused.version, deletion)
    else:
        await store.jobs.change_all(
            [first.id, second.id],
            lambda each: each.job.apply_move(Move.CANCEL, NOW, actor="local"),
        )
    assert len(await ends(store)) == 1


async def test_a_group_that_goes_on_ends_again(store: Store) -> None:
    group_id, (job,) = await group_of(store, 1)
    await moved(store, job.id, Move.CANCEL)
    await moved(store, job.id, Move.RESUME)
    assert not (await store.groups.get(group_id)).ended  # type: ignore[union-attr]
    assert len(await ends(store)) == 1

    cancelled = await moved(store, job.id, Move.CANCEL)
    await store.jobs.delete(job.id, cancelled.version, its_event(cancelled, EventName.DELETED))

    assert len(await ends(store)) == 2  # the deletion of an ended job is no end
    assert await store.groups.get(group_id) is None


async def test_a_group_is_read_with_its_totals(store: Store) -> None:
    group_id, (first, _) = await group_of(store, 2)
    claim = await claimed(store, first)
    await recorded(store, claim.lease, a_batch(outcomes=(done(a_target()),)))

    group = await store.groups.get(group_id)

    assert group is not None
    assert group.states == {State.RUNNING: 1, State.PENDING: 1}
    assert (group.jobs, group.pages, group.ended, group.ended_at) == (2, 1, False, None)
    assert await store.groups.get(new_id()) is None


async def test_a_webhook_of_a_job_receives_the_end_of_its_group(store: Store) -> None:
    hook = JobWebhook(url="https://a.example/", events=("group.*",), secret=SECRET)
    own = {"spec": a_spec(webhooks=(hook,)), "id": new_id()}
    _, [first] = await group_of(store, 1, **own)
    group_id = first.origin.group_id
    second = await added(store, origin=Origin(group_id=group_id))
    _, [other] = await group_of(store, 1, spec=own["spec"])

    await moved(store, first.id, Move.CANCEL)
    await store.deliveries.fan_out(NOW)
    assert await store.deliveries.find(f"{first.id}:0", None, None, 10) == []
    await moved(store, second.id, Move.CANCEL)
    await store.deliveries.fan_out(NOW)

    [delivery] = await store.deliveries.find(f"{first.id}:0", None, None, 10)
    [event] = await store.deliveries.events([delivery])
    assert event is not None
    assert (delivery.name, event.subject) == ("group.completed", group_id)
    assert await store.deliveries.find(f"{other.id}:0", None, None, 10) == []
