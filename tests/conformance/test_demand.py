"""Wanted slots: what a further worker could run at once."""

from datetime import timedelta

from msgspec.structs import replace

from crawlyard.core.access.user import Quota
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_spec, done, its_event
from tests.conformance.purging import deleted
from tests.conformance.spread_rig import begun, joined, sent, targets
from tests.conformance.steps import added, claimed, in_state, moved

SECOND = timedelta(seconds=1)


async def limit(store: Store, quota: Quota) -> None:
    """Set the quota of the owner of all jobs here."""
    local = await store.users.get("local")
    limited = replace(local, quota=quota, version=local.version + 1)
    await store.users.save(limited, its_event(a_job()))


async def wanted_slots(store: Store, after: timedelta = timedelta(0)) -> int:
    return await store.queue.wanted_slots(NOW + after)


async def test_due_jobs_want_a_slot_each_and_others_none(store: Store) -> None:
    for priority in Priority:
        await added(store, priority=priority)
    await added(store, due_at=NOW + SECOND)
    await added(store, spec=a_spec(worker_tags=("gpu",)))
    await deleted(store, await added(store))
    await claimed(store)
    for state in State:
        if state not in (State.PENDING, State.RUNNING):
            await added(store, in_state(state))
    await moved(store, (await added(store)).id, Move.PAUSE)

    assert await wanted_slots(store) == len(Priority)
    assert await wanted_slots(store, SECOND) == len(Priority) + 1


async def test_no_more_jobs_count_than_a_quota_lets_start(store: Store) -> None:
    await claimed(store)
    for _ in range(5):
        await added(store)

    await limit(store, Quota(running=3))
    assert await wanted_slots(store) == 2
    await limit(store, Quota(running=1))
    assert await wanted_slots(store) == 0
    await limit(store, Quota(pages_per_day=10))
    assert await wanted_slots(store) == 5


async def test_jobs_of_lost_workers_count_once_their_leases_expire(store: Store) -> None:
    await claimed(store)
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    free = await store.spread.free()

    assert free > 0
    assert await wanted_slots(store) == free
    assert await wanted_slots(store, LEASE) == free + 2


async def test_free_shards_count_unless_a_quota_stops_them(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    free = await store.spread.free()
    assert await joined(store, "w2") is not None

    assert await wanted_slots(store) == free - 1
    await limit(store, Quota(running=1))
    assert await wanted_slots(store) == free - 1, "a shard is no further job"
    await limit(store, Quota(pages_per_day=1))
    [target, *_] = await store.frontier.load(first.lease, 1, depth_first=False)
    await sent(store, replace(first.lease, seq=1), a_batch(outcomes=[done(target)]))
    assert await wanted_slots(store) == 0
