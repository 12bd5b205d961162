"""`QueueStore.preempt`: an urgent job takes the slot of a low one, in one transaction."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.jobs.checkpoint import Asker, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_spec, a_target, done
from tests.builders_serve import quoted
from tests.conformance.conftest import Backend
from tests.conformance.steps import added, claimed, names, recorded

SECOND = timedelta(seconds=1)
LATER = NOW + SECOND
W1 = Asker("w1", least=Priority.URGENT)


async def running(store: Store, worker: str = "w1", **fields: Any) -> Job:
    """Return a job that *worker* runs, a low one unless it is said otherwise."""
    low = {"priority": Priority.LOW} | fields
    return (await claimed(store, await added(store, **low), worker)).job


async def urgent(store: Store, **fields: Any) -> Job:
    """Return an urgent job that waits."""
    return await added(store, a_job(priority=Priority.URGENT, **fields))


async def test_the_urgent_job_runs_and_the_low_one_waits_where_it_was(store: Store) -> None:
    low, urgent_job = await running(store), await urgent(store)
    behind = await added(store, priority=Priority.LOW)

    preemption = await store.queue.preempt(W1, LATER, LEASE, SECOND)

    assert preemption is not None
    assert preemption.claim.job.id == urgent_job.id
    assert (preemption.claim.lease.worker, preemption.claim.lease.attempt) == ("w1", 1)
    assert (
        preemption.claim.job.state
        is (await store.jobs.get(urgent_job.id)).job.state
        is State.RUNNING
    )
    standing = await store.jobs.get(low.id)
    assert standing.job == preemption.yielded
    assert (standing.job.state, standing.job.state_reason) == (State.PENDING, StateReason.PREEMPTED)
    assert standing.job.queued_at == low.queued_at
    assert await store.positions.count_ahead(standing.job, LATER, 10) == 0
    assert await store.positions.count_ahead(behind, LATER, 10) == 0  # the low one is still held
    assert await names(store, low.id) == ["created", "started", "requeued"]
    assert await names(store, urgent_job.id) == ["created", "started"]


async def test_what_the_low_one_has_in_flight_is_still_taken(store: Store) -> None:
    claim = await claimed(store, await added(store, priority=Priority.LOW))
    await urgent(store)
    target = a_target("late")
    preemption = await store.queue.preempt(W1, LATER, LEASE, SECOND)

    order = await store.leases.orders([claim.lease])
    new_claim = await store.leases.claim(Asker("w2"), LATER, LEASE)
    batch = a_batch([target], [done(target)], last=True)
    answer = await recorded(store, claim.lease, batch, LATER)
    free = await store.leases.claim(Asker("w2"), LATER, LEASE)

    assert preemption is not None
    assert order == [Order.STOP]
    assert new_claim is None
    assert answer.order is Order.STOP
    assert free is not None
    assert free.job.id == claim.job.id
    assert free.shard.usage.pages == 1


async def test_no_job_is_preempted_before_the_urgent_one_has_waited(store: Store) -> None:
    await running(store)
    await urgent(store)

    early = await store.queue.preempt(W1, LATER - timedelta(microseconds=1), LEASE, SECOND)

    assert early is None
    assert await store.queue.preempt(W1, LATER, LEASE, SECOND) is not None


async def test_waiting_counts_from_when_it_is_due(store: Store) -> None:
    await running(store)
    await urgent(store, due_at=LATER)

    assert await store.queue.preempt(W1, LATER, LEASE, SECOND) is None
    assert await store.queue.preempt(W1, LATER + SECOND, LEASE, SECOND) is not None


@pytest.mark.parametrize("priority", [Priority.NORMAL, Priority.HIGH, Priority.URGENT])
async def test_only_low_jobs_yield(store: Store, priority: Priority) -> None:
    await running(store, priority=priority)
    await urgent(store)

    assert await store.queue.preempt(W1, LATER, LEASE, SECOND) is None


async def test_only_urgent_jobs_take_a_slot(store: Store) -> None:
    await running(store)
    await added(store, priority=Priority.HIGH)

    assert await store.queue.preempt(Asker("w1"), LATER, LEASE, SECOND) is None


async def test_a_low_job_that_has_aged_does_not_yield(store: Store) -> None:
    low = await added(store, priority=Priority.LOW)
    await store.queue.age(LATER, SECOND)
    await claimed(store, low)
    await urgent(store)

    assert await store.queue.preempt(W1, LATER, LEASE, SECOND) is None


async def test_jobs_of_other_workers_do_not_yield(store: Store) -> None:
    await running(store, "w2")
    await urgent(store)

    assert await store.queue.preempt(W1, LATER, LEASE, SECOND) is None


async def test_of_several_the_one_that_began_last_yields(store: Store) -> None:
    jobs = [await added(store, priority=Priority.LOW) for _ in range(3)]
    for job, after in zip(jobs, (0, 2, 1), strict=True):
        asker = Asker("w1", only=job.id)
        assert await store.leases.claim(asker, NOW + after * SECOND, LEASE) is not None
    await urgent(store)

    preemption = await store.queue.preempt(W1, NOW + 3 * SECOND, LEASE, SECOND)

    assert preemption is not None
    assert preemption.yielded.id == jobs[1].id


async def test_tags_and_quotas_hold_for_it_as_for_any_claim(store: Store) -> None:
    await quoted(store, running=0)
    await running(store)
    await urgent(store, owner="ada")
    await added(store, spec=a_spec(priority=Priority.URGENT, worker_tags=("eu",)))
    with_tag = Asker("w1", frozenset({"eu"}), Priority.URGENT)

    assert await store.queue.preempt(W1, LATER, LEASE, SECOND) is None
    assert await store.queue.preempt(with_tag, LATER, LEASE, SECOND) is not None


async def test_only_one_of_many_workers_yields_to_one_urgent_job(backend: Backend) -> None:
    stores = [await backend.open() for _ in range(4)]
    for n, store in enumerate(stores):
        await running(store, f"w{n}")
    urgent_job = await urgent(stores[0])

    preemptions = await asyncio.gather(
        *(
            store.queue.preempt(Asker(f"w{n}", least=Priority.URGENT), LATER, LEASE, SECOND)
            for n, store in enumerate(stores)
        )
    )
    events = await stores[0].events.events(EventQuery(), limit=100)

    assert [m.claim.job.id for m in preemptions if m is not None] == [urgent_job.id]
    assert sum(event.data["reason"] == "preempted" for event in events) == 1
    if backend.sql:
        for store in stores:
            await store.close()


async def test_each_of_two_urgent_jobs_takes_a_slot_of_its_own(store: Store) -> None:
    lows = [await running(store), await running(store)]
    urgent_jobs = [await urgent(store), await urgent(store)]

    preemptions = [await store.queue.preempt(W1, LATER, LEASE, SECOND) for _ in range(3)]

    assert [m and m.claim.job.id for m in preemptions] == [
        urgent_jobs[0].id,
        urgent_jobs[1].id,
        None,
    ]
    assert {m.yielded.id for m in preemptions if m is not None} == {low.id for low in lows}
