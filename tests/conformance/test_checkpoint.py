"""`FrontierStore.record`: what a checkpoint does to the lease, and who may make one."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.jobs.checkpoint import Batch, Order
from crawlyard.core.jobs.job import Shard
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.pulse import Pulse, Workload
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_spec, a_target, done, failed, noted
from tests.conformance.steps import (
    added,
    claimed,
    ended,
    fingerprints,
    moved,
    names,
    recorded,
    requeued,
    shard_of,
    stored,
)

LATER = NOW + timedelta(seconds=3)


class TestTheShard:
    async def test_usage_is_added_and_the_rest_replaced(self, store: Store) -> None:
        claim = await claimed(store)
        usage = Usage(
            pages=1,
            bytes=2**40,
            duration_s=timedelta(seconds=1, microseconds=7).total_seconds(),
            errors=2,
            discovered=3,
            done=4,
            skipped=5,
            redirects=6,
            bad_redirects=7,
            needs_scripts=8,
            rendered=9,
            subrequests=10,
            render_s=1 / 8,
            render_took_s=1e-9,
        )
        pulse = Pulse(
            rate=1 / 3,
            spread=0.1,
            samples=4,
            done=(1, 2),
            active_s=(1e-9, 0.5),
            workload=Workload(barren=3),
        )
        first = await recorded(
            store, claim.lease, Batch(usage=usage, pulse=Pulse(rate=9), current_url="https://1/")
        )

        second = await recorded(
            store, first.lease, Batch(usage=usage, pulse=pulse, current_url="https://2/"), LATER
        )

        assert second.usage == usage.plus(usage)
        assert await shard_of(store, claim.job.id) == Shard(
            worker="w1",
            attempt=1,
            lease_until=LATER + LEASE,
            seq=2,
            usage=usage.plus(usage),
            pulse=pulse,
            current_url="https://2/",
            updated_at=LATER,
        )

    async def test_a_heartbeat_renews_the_lease_and_leaves_the_pace(self, store: Store) -> None:
        claim = await claimed(store)
        pulse = Pulse(rate=2, samples=3)
        first = await recorded(store, claim.lease, Batch(pulse=pulse, current_url="https://1/"))

        answer = await recorded(store, first.lease, Batch(), LATER)

        shard = await shard_of(store, claim.job.id)
        assert (shard.pulse, shard.current_url) == (pulse, "https://1/")
        assert shard.lease_until == LATER + LEASE
        assert answer.lease == replace(first.lease, seq=2)

    async def test_the_job_keeps_its_version(self, store: Store) -> None:
        claim = await claimed(store)

        await recorded(store, claim.lease, a_batch([a_target()]))

        assert (await store.jobs.get(claim.job.id)).job == claim.job


class TestRepeatedCheckpoint:
    async def test_a_batch_whose_commit_got_no_answer_is_not_written_again(
        self, store: Store
    ) -> None:
        claim = await claimed(store)
        batch = a_batch(
            [a_target("1"), a_target("2")], [done(a_target("1"))], events=(noted(claim.job),)
        )
        first = await recorded(store, claim.lease, batch)

        again = await recorded(store, claim.lease, batch, LATER)

        assert again == first
        assert (await shard_of(store, claim.job.id)).usage == batch.usage
        assert (await shard_of(store, claim.job.id)).lease_until == NOW + LEASE
        assert await names(store, claim.job.id) == ["created", "started", "noted"]
        assert await stored(store, claim.job.id) == [a_target("1").url]

    async def test_a_checkpoint_returns_the_current_job_and_order(self, store: Store) -> None:
        claim = await claimed(store)
        batch = a_batch([a_target()])
        await recorded(store, claim.lease, batch)
        paused = await moved(store, claim.job.id, Move.PAUSE)

        again = await recorded(store, claim.lease, batch)

        assert (again.order, again.job, again.usage) == (Order.STOP, paused, batch.usage)

    async def test_ten_that_record_the_same_batch_at_once_write_it_once(self, store: Store) -> None:
        claim = await claimed(store)
        batch = a_batch([a_target()], [done(a_target())])

        answers = await asyncio.gather(*(recorded(store, claim.lease, batch) for _ in range(10)))

        assert {a.order for a in answers} == {Order.GO_ON}
        assert {a.usage for a in answers} == {batch.usage}
        assert len(await stored(store, claim.job.id)) == 1


class TestTheFence:
    async def test_an_old_attempt_is_refused_whole(self, store: Store) -> None:
        old = await claimed(store)
        await store.leases.take_back(NOW + LEASE, [], requeued)
        new = await claimed(store, old.job, "w2")
        batch = a_batch([a_target()], [done(a_target())], events=(noted(old.job),))

        answer = await recorded(store, old.lease, batch)

        assert (answer.order, answer.usage, answer.job) == (Order.LOST, Usage(), None)
        standing = await store.jobs.get(old.job.id)
        assert standing.shard == new.shard
        assert await fingerprints(store, old.lease.job_no) == []
        assert await stored(store, old.job.id) == []
        assert "noted" not in await names(store, old.job.id)

    async def test_the_other_entries_are_unharmed(self, store: Store) -> None:
        lost, well, repeated = [await claimed(store) for _ in range(3)]
        batch = a_batch([a_target()], [done(a_target())])
        await ended(store, lost.lease, Move.REQUEUE)
        await claimed(store, lost.job, "w2")
        await recorded(store, repeated.lease, batch)

        answers = await store.frontier.record(
            [(c.lease, batch) for c in (lost, well, repeated)], NOW, LEASE
        )

        assert [a.order for a in answers] == [Order.LOST, Order.GO_ON, Order.GO_ON]
        assert await stored(store, lost.job.id) == []
        assert await stored(store, well.job.id) == [a_target().url]
        assert (await shard_of(store, repeated.job.id)).seq == 1

    async def test_of_nothing_there_is_nothing_to_answer(self, store: Store) -> None:
        assert await store.frontier.record([], NOW, LEASE) == []

    @pytest.mark.parametrize("move", [Move.PAUSE, Move.CANCEL, Move.REQUEUE])
    async def test_what_was_in_flight_is_still_taken_in_another_state(
        self, store: Store, move: Move
    ) -> None:
        claim = await claimed(store)
        job = await moved(store, claim.job.id, move)

        answer = await recorded(store, claim.lease, a_batch([a_target()], [done(a_target())]))

        assert (answer.order, answer.job) == (Order.STOP, job)
        assert answer.lease.version == job.version
        assert await stored(store, job.id) == [a_target().url]
        assert (await shard_of(store, job.id)).worker == "w1"

    async def test_a_lapsed_lease_is_good_until_the_next_attempt(self, store: Store) -> None:
        claim = await claimed(store)
        long_after = NOW + 100 * LEASE

        answer = await recorded(store, claim.lease, a_batch([a_target()]), long_after)

        assert answer.order is Order.GO_ON
        assert (await shard_of(store, claim.job.id)).lease_until == long_after + LEASE

    async def test_twenty_workers_sending_heartbeats_for_the_same_jobs_do_not_block(
        self, store: Store
    ) -> None:
        claims = [await claimed(store) for _ in range(6)]
        entries = [(c.lease, Batch(events=(noted(c.job),))) for c in claims]

        answers = await asyncio.gather(
            *(store.frontier.record(entries[::step], NOW, LEASE) for step in (1, -1) * 10)
        )

        assert {a.order for answer in answers for a in answer} == {Order.GO_ON}
        assert len(await store.events.events()) == 3 * len(claims)


class TestTheAnswer:
    async def test_an_edited_job_comes_with_it_once(self, store: Store) -> None:
        claim = await claimed(store)
        spec = a_spec(name="new")
        edited, event = claim.job.edit(spec, NOW, actor="ada", changed={"name": "new"})
        await store.jobs.save(edited, event)

        first = await recorded(store, claim.lease, Batch())
        second = await recorded(store, first.lease, Batch())

        assert (first.order, first.job) == (Order.CHANGED, edited)
        assert first.lease.version == edited.version
        assert (second.order, second.job) == (Order.GO_ON, None)

    async def test_a_page_reduces_the_losses_but_not_to_none(self, store: Store) -> None:
        claim = await claimed(store, await added(store, losses=2))
        none = await recorded(store, claim.lease, a_batch([a_target()]))
        still = (await store.jobs.get(claim.job.id)).job.losses

        answer = await recorded(store, none.lease, a_batch([], [failed(a_target())]))

        assert (none.order, still) == (Order.GO_ON, 2)
        assert (await store.jobs.get(claim.job.id)).job == replace(claim.job, losses=1)
        assert (answer.order, answer.job) == (Order.GO_ON, None)


class TestTheLast:
    @pytest.mark.parametrize("move", [Move.PAUSE, Move.CANCEL])
    async def test_it_frees_the_lease_of_a_job_that_was_stopped(
        self, store: Store, move: Move
    ) -> None:
        claim = await claimed(store)
        await moved(store, claim.job.id, move)

        answer = await recorded(store, claim.lease, a_batch([a_target()], last=True))

        assert answer.order is Order.STOP
        shard = await shard_of(store, claim.job.id)
        assert (shard.worker, shard.lease_until, shard.usage.discovered) == (None, None, 1)

    async def test_a_job_that_still_runs_is_held_until_it_is_settled(self, store: Store) -> None:
        claim = await claimed(store)

        await recorded(store, claim.lease, a_batch([a_target()], last=True))
        holders = await store.leases.holders()
        await ended(store, claim.lease)

        assert holders == {"w1": 1}
        standing = await store.jobs.get(claim.job.id)
        assert (standing.job.state, standing.shard.worker) == (State.COMPLETED, None)
