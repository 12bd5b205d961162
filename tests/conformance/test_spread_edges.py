"""Jobs that are cut anew, while a worker with an old shard returns too late."""

from datetime import timedelta

from msgspec.structs import replace

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker, Claim, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_spec, its_event
from tests.conformance.spread_rig import begun, leave_shard, sent, state, targets
from tests.conformance.steps import added, claimed, moved, requeued

LATER = NOW + LEASE * 2


async def cut_into(store: Store, job_id: str, spread: int) -> Job:
    """Return a paused job with a new number of shards that waits in the queue."""
    paused = (await store.jobs.get(job_id)).job
    spec = replace(paused.spec, spread=spread)
    edited, event = paused.edit(spec, NOW, actor="local", changed={"spread": spread})
    await store.jobs.save(edited, event)
    return await moved(store, job_id, Move.RESUME)


async def whole_again(store: Store, worker: str = "w2") -> tuple[Claim, Claim]:
    """Return the claim of a shard that was given back, and that of the whole job since."""
    first = await begun(store)
    answer = await sent(store, first.lease, a_batch(found=targets()))
    await moved(store, first.job.id, Move.PAUSE)
    last = await sent(store, answer.lease, a_batch(last=True))
    assert last.order is Order.STOP
    await cut_into(store, first.job.id, 0)
    claim = await store.leases.claim(Asker(worker, only=first.job.id), NOW, LEASE)
    assert claim is not None
    assert claim.lease.shard == 0
    return replace(first, lease=last.lease), claim


async def test_who_leaves_a_shard_too_late_does_not_end_a_job_that_another_has_whole(
    store: Store,
) -> None:
    late, whole = await whole_again(store)

    assert await leave_shard(store, late.lease, further=True) is None

    assert (await state(store, whole.lease)).state is State.RUNNING
    assert await store.leases.orders([whole.lease]) == [Order.GO_ON]


async def test_a_child_that_dies_after_its_last_batch_loses_no_job(store: Store) -> None:
    late, whole = await whole_again(store)

    assert await store.spread.lose(late.lease, NOW, requeued) is None

    assert await store.leases.orders([whole.lease]) == [Order.GO_ON]


async def test_a_lease_on_a_whole_job_that_lapsed_is_gone_once_it_is_cut(store: Store) -> None:
    claim = await claimed(store)
    await sent(store, claim.lease, a_batch(found=targets()))
    await moved(store, claim.job.id, Move.PAUSE)
    await cut_into(store, claim.job.id, 4)

    first = await store.leases.claim(Asker("w2"), LATER, LEASE)
    reclaimed = await store.leases.take_back(LATER, {"w1"}, requeued)

    assert first is not None
    assert first.lease.shard > 0
    assert reclaimed == []
    assert await store.leases.holders() == {"w2": 1}
    assert (await state(store, first.lease)).state is State.RUNNING


async def test_a_job_that_no_claim_has_seen_to_be_due_comes_before_a_shard(store: Store) -> None:
    soon = NOW + timedelta(seconds=1)
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    await added(store, a_job(spec=a_spec(priority=Priority.URGENT), due_at=soon))

    before = await store.spread.join(Asker("w2"), NOW, LEASE, in_turn=True)
    after = await store.spread.join(Asker("w3"), soon, LEASE, in_turn=True)

    assert before is not None
    assert after is None


async def test_a_job_that_is_deleted_is_under_nobodys_lease(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    paused = await moved(store, first.job.id, Move.PAUSE)

    await store.jobs.delete(paused.id, paused.version, its_event(paused, EventName.DELETED))

    assert await store.leases.holders() == {}
    assert await store.leases.orders([first.lease]) == [Order.LOST]
