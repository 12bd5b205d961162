"""`LeaseStore.take_back`: the jobs of dead workers are reclaimed, each once."""

import asyncio
from datetime import timedelta

import pytest

from crawlyard.core.events.event import Event
from crawlyard.core.jobs.checkpoint import Asker, Claim, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_target
from tests.conformance.conftest import Backend
from tests.conformance.steps import (
    added,
    claimed,
    moved,
    names,
    recorded,
    requeued,
    shard_of,
)

LAPSED = NOW + LEASE


class TestTakeBack:
    async def test_a_lapsed_lease_is_freed_and_its_job_saved_as_decided(self, store: Store) -> None:
        claim = await claimed(store)

        [job] = await store.leases.take_back(LAPSED, [], requeued)

        assert job == requeued(claim.job)[0]
        assert (job.state, job.state_reason, job.losses) == ("pending", "worker_lost", 1)
        standing = await store.jobs.get(job.id)
        assert (standing.job, standing.shard.worker) == (job, None)
        assert await names(store, job.id) == ["created", "started", "worker_lost"]

    async def test_a_lease_is_left_until_it_lapses(self, store: Store) -> None:
        await claimed(store)

        reclaimed = await store.leases.take_back(
            LAPSED - timedelta(microseconds=1), ["w2"], requeued
        )

        assert reclaimed == []
        assert await store.leases.holders() == {"w1": 1}

    async def test_dead_workers_lose_their_jobs_immediately(self, store: Store) -> None:
        dead = [await claimed(store, worker="dead") for _ in range(2)]
        await claimed(store, worker="alive")

        reclaimed = await store.leases.take_back(NOW, ["dead"], requeued)

        assert {job.id for job in reclaimed} == {claim.job.id for claim in dead}
        assert await store.leases.holders() == {"alive": 1}

    @pytest.mark.parametrize("move", [Move.PAUSE, Move.CANCEL])
    async def test_jobs_in_another_state_just_become_free(self, store: Store, move: Move) -> None:
        claim = await claimed(store)
        job = await moved(store, claim.job.id, move)

        reclaimed = await store.leases.take_back(LAPSED, [], requeued)

        assert reclaimed == []
        standing = await store.jobs.get(job.id)
        assert (standing.job, standing.shard.worker) == (job, None)
        assert len(await names(store, job.id)) == 3

    async def test_two_callers_never_take_the_same_job_back_twice(
        self, store: Store, backend: Backend
    ) -> None:
        claims = [await claimed(store) for _ in range(6)]
        other = await backend.open()

        reclaimed = await asyncio.gather(
            *(s.leases.take_back(LAPSED, [], requeued) for s in (store, other) for _ in range(3))
        )
        await other.close()

        ids = [job.id for jobs in reclaimed for job in jobs]
        assert sorted(ids) == sorted(claim.job.id for claim in claims)

    async def test_a_job_that_somebody_has_claimed_again_is_left_to_him(
        self, store: Store, backend: Backend
    ) -> None:
        claims = [await claimed(store) for _ in range(8)]
        other = await backend.open()
        again: list[Claim] = []

        async def claim_again() -> None:
            while len(again) < len(claims):
                claim = await other.leases.claim(Asker("w2"), LAPSED, LEASE)
                again.extend([claim] if claim else [])
                await asyncio.sleep(0)  # a store in memory never waits

        await asyncio.gather(
            claim_again(), *(store.leases.take_back(LAPSED, [], requeued) for _ in range(6))
        )
        await other.close()

        assert await store.leases.holders() == {"w2": 8}
        for claim in claims:
            assert await names(store, claim.job.id) == [
                "created",
                "started",
                "worker_lost",
                "started",
            ]

    async def test_a_job_that_killed_its_workers_fails(self, store: Store) -> None:
        claim = await claimed(store, await added(store, losses=4))

        [job] = await store.leases.take_back(
            LAPSED, [], lambda job: job.lose_worker(NOW, actor="worker:w2", in_child=True)
        )

        assert (job.id, job.state) == (claim.job.id, State.FAILED)
        assert job.state_reason is StateReason.WORKER_LOST

    async def test_a_decision_that_fails_leaves_everything_as_it_was(self, store: Store) -> None:
        claim = await claimed(store)

        def undecided(job: Job) -> tuple[Job, Event]:
            raise ZeroDivisionError(job.id)

        with pytest.raises(ZeroDivisionError):
            await store.leases.take_back(LAPSED, [], undecided)

        standing = await store.jobs.get(claim.job.id)
        assert (standing.job, standing.shard) == (claim.job, claim.shard)
        assert await names(store, claim.job.id) == ["created", "started"]
        assert len(await store.leases.take_back(LAPSED, [], requeued)) == 1

    async def test_a_worker_that_comes_back_may_still_bring_what_it_has(self, store: Store) -> None:
        claim = await claimed(store)
        await store.leases.take_back(LAPSED, [], requeued)

        answer = await recorded(store, claim.lease, a_batch([a_target()], last=True))

        assert (answer.order, answer.usage.discovered) == (Order.LOST, 1)
        assert (await shard_of(store, claim.job.id)).worker is None

    @pytest.mark.parametrize("state", [State.PENDING, State.PAUSED])
    async def test_a_worker_that_comes_back_does_not_hold_the_job_again(
        self, store: Store, state: State
    ) -> None:
        claim = await claimed(store)
        if state is State.PAUSED:
            await moved(store, claim.job.id, Move.PAUSE)
        await store.leases.take_back(LAPSED, [], requeued)

        orders = await store.leases.orders([claim.lease])
        answer = await recorded(store, claim.lease, a_batch([a_target()]))

        assert (await store.jobs.get(claim.job.id)).job.state is state
        assert [*orders, answer.order] == [Order.LOST, Order.LOST]
        assert (await shard_of(store, claim.job.id)).worker is None
        new_claim = await store.leases.claim(Asker("w2"), LAPSED, LEASE)
        assert (new_claim is not None) == (state is State.PENDING)
