"""A worker with free slots requests a shard of a worker that has several, which gives it back."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import Quota
from crawlyard.core.jobs.checkpoint import Asker, Lease, Order
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.jobs.spread import REST
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, done, its_event
from tests.conformance.spread_rig import (
    SHARDS,
    begun,
    joined,
    leave_shard,
    sent,
    state,
    state_of_lease,
    targets,
)
from tests.conformance.steps import moved, requeued

LATER = NOW + REST
JUST_AFTER = LATER + timedelta(seconds=1)


async def crowded(store: Store, *workers: str, **fields: object) -> list[Lease]:
    """Return the leases that *workers*, one after the other, have on one spread job."""
    first = await begun(store, workers[0], **fields)
    await sent(store, first.lease, a_batch(found=targets()))
    leases = [await state_of_lease(store, first.lease)]
    for worker in workers[1:]:
        claim = await store.spread.join(
            Asker(worker, only=first.job.id), LATER, LEASE, in_turn=False
        )
        assert claim is not None
        leases.append(claim.lease)
    return leases


async def gets_shard(store: Store, worker: str, free: int = 1, **rules: Any) -> bool:
    """Return whether a shard will come to a worker that looks for work."""
    return await store.spread.request_shard(Asker(worker, **rules), LATER, free)


async def moving(store: Store, leases: list[Lease]) -> list[str | None]:
    """Return for which workers the holders of *leases* have to let go."""
    orders = await store.leases.orders(leases)
    shards = await store.spread.shards(leases[0].job_id)
    requesters = [shards[lease.shard].asked_by for lease in leases]
    assert [order is Order.STOP for order in orders] == [
        worker is not None for worker in requesters
    ]
    return requesters


async def test_one_worker_with_all_shards_keeps_one_for_each_that_comes_later(
    store: Store,
) -> None:
    leases = await crowded(store, "w1", "w1", "w1", "w1")

    requested = [await gets_shard(store, worker) for worker in ("w2", "w3", "w4", "w5")]

    assert requested == [True, True, True, False]
    assert await moving(store, leases) == [None, "w4", "w3", "w2"]
    job = await state(store, leases[0])
    assert (job.state, job.version) == (State.RUNNING, leases[0].version)


async def test_no_worker_is_requested_twice_for_the_same_slot(store: Store) -> None:
    leases = await crowded(store, "w1", "w1", "w1", "w1")

    requested = [
        await gets_shard(store, "w2"),
        await gets_shard(store, "w2"),
        await gets_shard(store, "w2", free=5),
    ]

    assert requested == [True, False, True]
    assert not await gets_shard(store, "w2", free=5), "both have two then"
    assert await moving(store, leases) == [None, None, "w2", "w2"]


async def test_a_worker_requests_its_whole_share_at_once(store: Store) -> None:
    leases = await crowded(store, "w1", "w1", "w1", "w1")

    assert await gets_shard(store, "w2", free=8)

    assert await moving(store, leases) == [None, None, "w2", "w2"]


async def test_the_shards_of_a_drained_worker_are_taken_at_once_by_who_has_a_free_slot(
    store: Store,
) -> None:
    leases = await crowded(store, "w1", "w1", "w1", "w3")
    await gets_shard(store, "w2")

    for lease in leases[:3]:
        await leave_shard(store, lease, LATER, drained=True)
    claims = [await joined(store, worker, LATER) for worker in ("w3", "w3", "w3", "w2")]

    shard_numbers = [claim.lease.shard if claim is not None else None for claim in claims]
    assert shard_numbers == [leases[0].shard, leases[1].shard, None, leases[2].shard]


async def test_a_worker_with_one_shard_more_is_not_requested_to_release_any(store: Store) -> None:
    leases = await crowded(store, "w1", "w1", "w2", "w3")

    assert not await gets_shard(store, "w2")
    assert await gets_shard(store, "w4")
    assert not await gets_shard(store, "w5")
    assert await moving(store, leases) == [None, "w4", None, None]


async def test_a_shard_is_released_with_its_last_batch_and_joined_by_its_requester(
    store: Store,
) -> None:
    leases = await crowded(store, "w1", "w1", "w1", "w1")
    [first, *_] = await store.frontier.load(leases[3], 100, depth_first=False)
    await gets_shard(store, "w2")

    early = await joined(store, "w2", LATER)
    answer = await sent(store, leases[3], a_batch((), [done(first)], last=True), LATER)
    further = await leave_shard(store, answer.lease, LATER, further=True)
    claims = [await joined(store, worker, LATER) for worker in ("w1", "w3")]
    claim = await joined(store, "w2", LATER)

    assert (early, answer.order, further, claims) == (None, Order.STOP, None, [None, None])
    assert claim is not None
    assert (claim.lease.shard, claim.shard.usage.pages) == (leases[3].shard, 1)
    assert await store.leases.orders([claim.lease]) == [Order.GO_ON]
    rest = await store.frontier.load(claim.lease, 100, depth_first=False)
    assert first.url not in {target.url for target in rest}


async def test_a_released_shard_is_open_to_all_if_its_requester_does_not_claim_it(
    store: Store,
) -> None:
    leases = await crowded(store, "w1", "w1", "w1", "w1")
    await gets_shard(store, "w2")
    await leave_shard(store, leases[3], LATER)

    early = await joined(store, "w3", JUST_AFTER)
    claim = await joined(store, "w1", LATER + REST)

    assert early is None
    assert claim is not None
    assert claim.lease.shard == leases[3].shard


async def test_a_worker_requests_no_shard_that_it_may_not_run(store: Store) -> None:
    leases = await crowded(store, "w1", "w1", worker_tags=("gpu",))
    user = await store.users.get("local")

    assert not await gets_shard(store, "w2")
    assert not await gets_shard(store, "w2", tags=frozenset({"gpu"}), least=Priority.URGENT)
    assert not await gets_shard(store, "w2", only="another")
    [target, *_] = await store.frontier.load(leases[0], 1, depth_first=False)
    await sent(store, leases[0], a_batch((), [done(target)]), LATER)
    spent = replace(user, quota=Quota(pages_per_day=1), version=user.version + 1)
    await store.users.save(spent, its_event(await state(store, leases[0])))
    assert not await gets_shard(store, "w2", tags=frozenset({"gpu"}))
    freed = replace(user, version=spent.version + 1)
    await store.users.save(freed, its_event(await state(store, leases[0])))
    assert await gets_shard(store, "w2", tags=frozenset({"gpu"}))
    assert await moving(store, leases) == [None, "w2"]


async def test_shards_without_waiting_urls_do_not_count(store: Store) -> None:
    leases = await crowded(store, "w1", "w1", "w1")
    for lease in leases[1:]:
        waiting = await store.frontier.load(lease, 100, depth_first=False)
        await sent(store, lease, a_batch((), [done(target) for target in waiting]), LATER)

    assert await joined(store, "w2", LATER) is not None
    assert not await gets_shard(store, "w3")


async def test_a_job_whose_other_shards_end_first_waits_and_was_not_preempted(
    store: Store,
) -> None:
    leases = await crowded(store, "w1", "w1")
    await gets_shard(store, "w2")

    await leave_shard(store, leases[0], LATER)
    await leave_shard(store, leases[1], LATER)

    job = await state(store, leases[0])
    assert (job.state, job.state_reason) == (State.PENDING, StateReason.WAITING_SLOT)
    assert await store.leases.claim(Asker("w2"), LATER, LEASE) is not None


async def test_a_holder_that_dies_or_a_job_that_is_paused_leaves_nothing_behind(
    store: Store,
) -> None:
    leases = await crowded(store, "w1", "w1", "w3")
    await gets_shard(store, "w2")

    await store.leases.take_back(LATER, {"w1"}, requeued)
    claims = [await joined(store, worker, LATER + REST) for worker in ("w2", "w4")]
    await moved(store, leases[0].job_id, Move.PAUSE)

    assert sorted(c.lease.shard for c in claims if c is not None) == [
        lease.shard for lease in leases[:2]
    ]
    assert not await gets_shard(store, "w5")
    shards = await store.spread.shards(leases[0].job_id)
    assert len(shards) == SHARDS
    assert {shard.asked_by for shard in shards.values()} == {None}
