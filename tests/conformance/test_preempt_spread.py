"""An urgent job takes one slot: of a low job that is spread, one shard of one worker yields."""

from datetime import timedelta

from crawlyard.core.jobs.checkpoint import Asker, Lease, Order, Preemption
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.jobs.spread import REST
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_spec, done
from tests.conformance.spread_rig import (
    begun,
    joined,
    leave_shard,
    sent,
    state,
    state_of_lease,
    targets,
)
from tests.conformance.steps import added, names, requeued

LATER = NOW + timedelta(seconds=2)
PATIENCE = timedelta(seconds=1)


async def low(store: Store, *workers: str) -> list[Lease]:
    """Return the leases that *workers*, one after the other, have on one spread low job."""
    first = await begun(store, workers[0], priority=Priority.LOW)
    await sent(store, first.lease, a_batch(found=targets()))
    leases = [await state_of_lease(store, first.lease)]
    for worker in workers[1:]:
        claim = await joined(store, worker, NOW + REST)
        assert claim is not None
        leases.append(claim.lease)
    return leases


async def urgent(store: Store) -> Job:
    """Return an urgent job that waits."""
    return await added(store, spec=a_spec(priority=Priority.URGENT))


async def preempted(store: Store, worker: str) -> Preemption | None:
    """Return what came of the look of a worker without a free slot."""
    asker = Asker(worker, least=Priority.URGENT)
    return await store.queue.preempt(asker, LATER, LEASE, PATIENCE)


async def preempt_for_urgent(store: Store, worker: str) -> Preemption:
    """Preempt a shard of *worker* by an urgent job."""
    await urgent(store)
    preemption = await preempted(store, worker)
    assert preemption is not None
    return preemption


async def test_one_shard_of_the_requesting_worker_is_preempted_and_the_rest_continue(
    store: Store,
) -> None:
    leases = await low(store, "w1", "w2", "w3")
    urgent_job = await urgent(store)

    preemption = await preempted(store, "w2")

    assert preemption is not None
    assert (preemption.claim.job.id, preemption.claim.lease.worker) == (urgent_job.id, "w2")
    assert (preemption.yielded.id, preemption.shard) == (leases[0].job_id, leases[1].shard)
    assert await store.leases.orders(leases) == [Order.GO_ON, Order.STOP, Order.GO_ON]
    job = await state(store, leases[0])
    assert (job.state, job.version) == (State.RUNNING, leases[0].version)
    assert await names(store, job.id) == ["created", "started"]


async def test_the_last_batch_of_a_preempted_shard_is_stored_and_its_urls_wait(
    store: Store,
) -> None:
    leases = await low(store, "w1", "w2")
    shard = leases[1].shard
    [first, *_] = await store.frontier.load(leases[1], 100, depth_first=False)
    await preempt_for_urgent(store, "w2")

    nobody = [
        c for w in ("w2", "w3") if (c := await joined(store, w, LATER)) and c.lease.shard == shard
    ]
    answer = await sent(store, leases[1], a_batch((), [done(first)], last=True), LATER)
    further = await leave_shard(store, answer.lease, LATER, further=True)
    claims = [await joined(store, w, LATER) for w in ("w4", "w5")]

    assert nobody == []
    assert answer.order is Order.STOP
    assert further is None
    [again] = [c for c in claims if c is not None and c.lease.shard == shard]
    assert again.lease.attempt == leases[1].attempt + 1
    rest = await store.frontier.load(again.lease, 100, depth_first=False)
    assert first.url not in {t.url for t in rest}
    assert again.shard.usage.pages == 1
    assert await store.leases.orders([again.lease, leases[1]]) == [Order.GO_ON, Order.LOST]


async def test_who_has_several_shards_gives_up_one_for_each_urgent_job(store: Store) -> None:
    leases = await low(store, "w1", "w1", "w2")

    first, second = await preempt_for_urgent(store, "w1"), await preempt_for_urgent(store, "w1")
    await urgent(store)
    third = await preempted(store, "w1")

    assert {first.shard, second.shard} == {leases[0].shard, leases[1].shard}
    assert third is None
    assert await store.leases.orders(leases) == [Order.STOP, Order.STOP, Order.GO_ON]


async def test_a_job_of_which_one_shard_is_under_way_waits_again_as_a_whole(
    store: Store,
) -> None:
    [lease] = await low(store, "w1")

    preemption = await preempt_for_urgent(store, "w1")

    job = await state(store, lease)
    assert (preemption.shard, preemption.yielded) == (0, job)
    assert (job.state, job.state_reason) == (State.PENDING, StateReason.PREEMPTED)
    assert await store.leases.orders([lease]) == [Order.STOP]


async def test_shards_that_yield_already_keep_no_job_running(store: Store) -> None:
    leases = await low(store, "w1", "w2")
    await preempt_for_urgent(store, "w1")

    preemption = await preempt_for_urgent(store, "w2")

    assert preemption.shard == 0
    assert (await state(store, leases[0])).state_reason is StateReason.PREEMPTED


async def test_a_job_whose_other_shards_end_before_the_one_that_yields_says_that_it_yielded(
    store: Store,
) -> None:
    leases = await low(store, "w1", "w2")
    await preempt_for_urgent(store, "w2")

    await leave_shard(store, leases[0], LATER)
    still = await state(store, leases[0])
    await leave_shard(store, leases[1], LATER)

    assert still.state is State.RUNNING
    job = await state(store, leases[1])
    assert (job.state, job.state_reason) == (State.PENDING, StateReason.PREEMPTED)
    assert job.turn == still.turn


async def test_a_worker_that_dies_while_a_shard_of_it_yields_costs_nothing_but_that(
    store: Store,
) -> None:
    leases = await low(store, "w1", "w2")
    await preempt_for_urgent(store, "w2")

    back = await store.leases.take_back(LATER, {"w2"}, requeued)

    assert leases[0].job_id not in {job.id for job in back}
    assert (await state(store, leases[0])).state is State.RUNNING
    again = await joined(store, "w3", LATER)
    assert again is not None
    late = await sent(store, leases[1], a_batch(), LATER)
    assert late.order is Order.LOST


async def test_a_shard_that_was_taken_again_yields_no_more(store: Store) -> None:
    leases = await low(store, "w1", "w2")
    await preempt_for_urgent(store, "w2")
    await leave_shard(store, leases[1], LATER)

    again = [c for w in ("w3", "w4", "w5") if (c := await joined(store, w, LATER)) is not None]

    [back] = [c for c in again if c.lease.shard == leases[1].shard]
    assert await store.leases.orders([back.lease]) == [Order.GO_ON]
    assert (await sent(store, back.lease, a_batch(), LATER)).order is Order.GO_ON
