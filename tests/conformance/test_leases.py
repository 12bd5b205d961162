"""`LeaseStore`: one worker crawls a job until its lease ends."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.jobs.checkpoint import Asker, Lease, Order
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.errors import Conflict
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_spec, a_target
from tests.conformance.conftest import Backend
from tests.conformance.steps import (
    added,
    claimed,
    ended,
    in_state,
    moved,
    names,
    recorded,
    requeued,
)

LAPSED = NOW + LEASE
SECOND = timedelta(seconds=1)


class TestClaim:
    async def test_the_job_runs_and_its_lease_says_until_when(self, store: Store) -> None:
        job = await added(store)

        claim = await store.leases.claim(Asker("w1"), NOW, LEASE)

        assert claim is not None
        running, event = job.apply_move(Move.CLAIM, NOW, actor="worker:w1")
        assert claim.job == running
        assert claim.lease == Lease(
            job_id=job.id, job_no=claim.lease.job_no, worker="w1", attempt=1, seq=0, version=2
        )
        shard = claim.shard
        assert (shard.worker, shard.attempt, shard.lease_until) == ("w1", 1, NOW + LEASE)
        standing = await store.jobs.get(job.id)
        assert (standing.job, standing.shard) == (running, shard)
        [_, started] = await store.events.events(EventQuery(subject=job.id))
        assert started == replace(event, seq=started.seq, address=None)

    async def test_nothing_is_claimed_when_nothing_waits(self, store: Store) -> None:
        for state in set(State) - {State.PENDING}:
            await added(store, in_state(state))

        assert await store.leases.claim(Asker("w1"), NOW, LEASE) is None

    async def test_a_job_is_not_claimed_before_it_is_due(self, store: Store) -> None:
        await added(store, due_at=NOW + SECOND)

        early = await store.leases.claim(
            Asker("w1"), NOW + SECOND - timedelta(microseconds=1), LEASE
        )
        in_time = await store.leases.claim(Asker("w1"), NOW + SECOND, LEASE)

        assert early is None
        assert in_time is not None

    async def test_only_takes_that_job_or_none(self, store: Store) -> None:
        first, second = await added(store), await added(store)

        claim = await store.leases.claim(Asker("w1", only=second.id), NOW, LEASE)
        again = await store.leases.claim(Asker("w1", only=second.id), NOW, LEASE)

        assert claim is not None
        assert claim.job.id == second.id
        assert again is None
        assert (await store.jobs.get(first.id)).job.state is State.PENDING

    async def test_only_waits_until_the_job_is_due(self, store: Store) -> None:
        job = await added(store, due_at=NOW + SECOND)

        assert await store.leases.claim(Asker("w1", only=job.id), NOW, LEASE) is None

    async def test_twenty_workers_never_win_the_same_job(self, store: Store) -> None:
        for _ in range(12):
            await added(store)

        claims = await asyncio.gather(
            *(store.leases.claim(Asker(f"w{n}"), NOW, LEASE) for n in range(20))
        )

        won = [claim.job.id for claim in claims if claim]
        assert len(won) == len(set(won)) == 12

    async def test_workers_of_several_processes_never_win_the_same_job(
        self, store: Store, backend: Backend
    ) -> None:
        for _ in range(12):
            await added(store)
        other_stores = [await backend.open() for _ in range(4)]

        claims = await asyncio.gather(
            *(
                other.leases.claim(Asker(f"w{n}"), NOW, LEASE)
                for n, other in enumerate(other_stores)
                for _ in range(5)
            )
        )
        for other in other_stores:
            await other.close()

        won = [claim.job.id for claim in claims if claim]
        assert len(won) == len(set(won)) == 12
        assert len(await store.events.events()) == 24

    async def test_the_attempt_rises_with_every_claim(self, store: Store) -> None:
        claim = await claimed(store)
        await ended(store, claim.lease, Move.REQUEUE)

        again = await claimed(store, claim.job)

        assert (claim.lease.attempt, again.lease.attempt) == (1, 2)

    async def test_it_goes_on_where_the_job_stands(self, store: Store) -> None:
        claim = await claimed(store)
        await recorded(store, claim.lease, a_batch([a_target()], current_url="https://x/"))
        await ended(store, claim.lease, Move.REQUEUE)

        again = await claimed(store, claim.job, "w2")

        assert again.shard.usage.discovered == 1
        assert again.shard.current_url == "https://x/"
        assert again.lease.seq == again.shard.seq == 1

    async def test_a_resumed_job_waits_until_its_holder_has_let_go(self, store: Store) -> None:
        claim = await claimed(store)
        await moved(store, claim.job.id, Move.PAUSE)
        await moved(store, claim.job.id, Move.RESUME)

        second_claim = await store.leases.claim(Asker("w2"), NOW, LEASE)
        answer = await recorded(store, claim.lease, a_batch(last=True))
        free = await store.leases.claim(Asker("w2"), NOW, LEASE)

        assert second_claim is None
        assert answer.order is Order.STOP
        assert free is not None
        assert free.lease.attempt == 2

    async def test_a_resumed_job_waits_at_most_until_the_lease_lapses(self, store: Store) -> None:
        claim = await claimed(store)
        await moved(store, claim.job.id, Move.PAUSE)
        await moved(store, claim.job.id, Move.RESUME)

        before = await store.leases.claim(Asker("w2"), LAPSED - timedelta(microseconds=1), LEASE)
        after = await store.leases.claim(Asker("w2"), LAPSED, LEASE)

        assert before is None
        assert after is not None
        assert await store.leases.orders([claim.lease, after.lease]) == [Order.LOST, Order.GO_ON]


class TestOrders:
    async def test_orders_are_returned_in_request_order(self, store: Store) -> None:
        running, edited, paused, lost = [await claimed(store) for _ in range(4)]
        await store.jobs.save(
            *edited.job.edit(a_spec(name="new"), NOW, actor="ada", changed={"name": "new"})
        )
        await moved(store, paused.job.id, Move.PAUSE)
        await ended(store, lost.lease, Move.REQUEUE)
        await claimed(store, lost.job, "w2")
        leases = [c.lease for c in (lost, paused, edited, running, paused)]

        orders = await store.leases.orders(leases)

        assert orders == [Order.LOST, Order.STOP, Order.CHANGED, Order.GO_ON, Order.STOP]

    async def test_of_no_leases_there_are_none(self, store: Store) -> None:
        assert await store.leases.orders([]) == []

    @pytest.mark.parametrize("move", [Move.PAUSE, Move.CANCEL, Move.REQUEUE])
    async def test_stop_is_said_as_soon_as_the_job_no_longer_runs(
        self, store: Store, move: Move
    ) -> None:
        claim = await claimed(store)

        await moved(store, claim.job.id, move)

        assert await store.leases.orders([claim.lease]) == [Order.STOP]


class TestSettle:
    @pytest.mark.parametrize("move", [Move.COMPLETE, Move.FAIL, Move.REQUEUE])
    async def test_the_job_is_saved_and_the_lease_is_free(self, store: Store, move: Move) -> None:
        claim = await claimed(store)

        job = await ended(store, claim.lease, move)

        standing = await store.jobs.get(job.id)
        assert standing.job == job
        assert (standing.shard.worker, standing.shard.lease_until) == (None, None)
        assert len(await names(store, job.id)) == 3

    async def test_a_holder_whose_job_was_paused_cannot_end_it(self, store: Store) -> None:
        claim = await claimed(store)
        await moved(store, claim.job.id, Move.PAUSE)

        with pytest.raises(Conflict):
            await store.leases.settle(
                claim.lease, *claim.job.apply_move(Move.COMPLETE, NOW, actor="worker:w1")
            )

        standing = await store.jobs.get(claim.job.id)
        assert (standing.job.state, standing.shard.worker) == (State.PAUSED, "w1")
        assert await names(store, claim.job.id) == ["created", "started", "paused"]

    async def test_a_holder_of_an_old_attempt_cannot_end_the_job(self, store: Store) -> None:
        old = await claimed(store)
        await store.leases.take_back(LAPSED, [], requeued)
        new = await claimed(store, old.job, "w2")

        with pytest.raises(Conflict):
            await store.leases.settle(
                old.lease, *new.job.apply_move(Move.COMPLETE, NOW, actor="worker:w1")
            )

        standing = await store.jobs.get(new.job.id)
        assert (standing.job, standing.shard.worker) == (new.job, "w2")


class TestFree:
    async def test_the_lease_is_let_go(self, store: Store) -> None:
        claim = await claimed(store)
        await moved(store, claim.job.id, Move.PAUSE)

        await store.leases.free(claim.lease)

        assert await store.leases.holders() == {}

    async def test_an_old_lease_frees_nothing(self, store: Store) -> None:
        old = await claimed(store)
        await ended(store, old.lease, Move.REQUEUE)
        await claimed(store, old.job, "w2")

        await store.leases.free(old.lease)

        assert await store.leases.holders() == {"w2": 1}

    async def test_a_running_job_without_a_lease_is_reclaimed(self, store: Store) -> None:
        claim = await claimed(store)
        await store.leases.free(claim.lease)

        [job] = await store.leases.take_back(NOW, [], requeued)

        assert (job.id, job.state) == (claim.job.id, State.PENDING)


async def test_a_claim_that_a_failover_lost_is_fenced_off_by_the_next_one_of_its_number(
    store: Store,
) -> None:
    claim = await claimed(store)
    lost = replace(claim.lease, worker="w0")  # all else is as it was before the failover

    answer = await recorded(store, lost, a_batch([a_target()]))
    [order] = await store.leases.orders([lost])
    await store.leases.free(lost)
    with pytest.raises(Conflict):
        await ended(store, lost)

    assert answer.order is order is Order.LOST
    shard = (await store.jobs.get(claim.job.id)).shard
    assert (shard.worker, shard.seq, shard.usage.discovered) == ("w1", 0, 0)
    assert (await recorded(store, claim.lease, a_batch([a_target()]))).order is Order.GO_ON


async def test_holders_are_counted(store: Store) -> None:
    for worker in ("w1", "w2", "w1"):
        await claimed(store, worker=worker)
    await added(store)

    assert await store.leases.holders() == {"w1": 2, "w2": 1}
