"""Spread jobs: what becomes of shards whose workers leave, are lost or wait."""

from datetime import timedelta
from random import Random

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import Quota
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.checkpoint import Asker, Claim, Lease, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.spec import Priority, Spread
from crawlyard.core.jobs.spread import REST
from crawlyard.errors import Conflict
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_spec, done, failed, its_event
from tests.conformance.spread_rig import (
    HOSTS,
    SHARDS,
    begun,
    joined,
    leave_shard,
    of,
    sent,
    state,
    state_of_lease,
    targets,
)
from tests.conformance.steps import added, moved, requeued, stored


async def test_a_lost_shard_moves_while_the_others_go_on(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    second = await joined(store, "w2")
    assert second is not None

    counts: list[int] = []
    reclaimed = await store.leases.take_back(NOW, {"w2"}, requeued, counts.append)
    free = await store.spread.free()
    third = await joined(store, "w3")

    assert reclaimed == []
    assert counts == [1]
    assert third is not None
    assert third.lease.shard == second.lease.shard
    assert await store.spread.free() == free - 1
    assert not third.job.isolated
    late = await sent(store, second.lease, a_batch(outcomes=[done(targets()[0])]))
    assert late.order is Order.LOST
    assert await store.leases.orders([first.lease, second.lease]) == [Order.GO_ON, Order.LOST]
    await store.leases.take_back(NOW, {"w3"}, requeued)
    fourth = await joined(store, "w4")
    assert fourth is not None
    assert fourth.job.isolated, "a shard that lost two workers runs alone"


async def test_what_a_lost_worker_might_have_used_is_refused_at_once(store: Store) -> None:
    """Its portion of the limit is granted to another, though no worker has the shard yet."""
    first = await begun(store, limits=Limits(pages=10))
    await sent(store, first.lease, a_batch(found=targets()))
    second = await joined(store, "w2")
    assert second is not None
    [target, *_] = await store.frontier.load(second.lease, 1, depth_first=False)

    await store.leases.take_back(NOW + LEASE * 2, {"w2"}, requeued)
    late = await sent(store, second.lease, a_batch(outcomes=[done(target)]))

    assert late.order is Order.LOST
    assert await stored(store, first.job.id) == []


async def test_a_job_that_loses_its_last_worker_is_queued_again(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    second = await joined(store, "w2")
    assert second is not None

    [reclaimed] = await store.leases.take_back(NOW + LEASE * 2, (), requeued)

    assert reclaimed.state is State.PENDING
    assert reclaimed.state_reason is StateReason.WORKER_LOST
    assert await store.leases.take_back(NOW + LEASE * 2, (), requeued) == []


async def test_a_shard_that_kills_worker_after_worker_fails_the_job(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))

    lost: list[Job | None] = []
    for n in range(10):
        claim = await joined(store, f"w{n + 2}")
        if claim is None:
            break
        dies = claim.lease

        def died(job: Job) -> tuple[Job, Event]:
            return job.lose_worker(NOW, actor="worker:w9", in_child=True)

        lost.append(await store.spread.lose(dies, NOW, died))

    ended = [job for job in lost if job is not None]
    assert [job.state for job in ended] == [State.FAILED]
    assert (await state(store, first.lease)).state is State.FAILED
    assert await store.leases.orders([first.lease]) == [Order.STOP]


@pytest.mark.parametrize("move", [Move.PAUSE, Move.CANCEL])
async def test_every_shard_gets_the_order_of_an_operator(store: Store, move: Move) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    second = await joined(store, "w2")
    assert second is not None
    await moved(store, first.job.id, move)

    leases = [await state_of_lease(store, first.lease), second.lease]
    answers = [await sent(store, lease, a_batch(last=True)) for lease in leases]

    assert [answer.order for answer in answers] == [Order.STOP, Order.STOP]
    assert await store.leases.holders() == {}


async def test_a_paused_job_is_claimed_again_once_all_its_shards_are_free(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    second = await joined(store, "w2")
    assert second is not None
    await moved(store, first.job.id, Move.PAUSE)
    await store.leases.free(await state_of_lease(store, first.lease))
    await moved(store, first.job.id, Move.RESUME)

    early = await store.leases.claim(Asker("w3"), NOW, LEASE)
    await store.leases.free(second.lease)
    later = await store.leases.claim(Asker("w3"), NOW, LEASE)

    assert early is None
    assert later is not None


async def test_failed_urls_are_not_tried_again_while_a_shard_is_held(store: Store) -> None:
    first = await begun(store)
    [target] = targets(of(first.lease.shard)[:1], pages=1)
    answer = await sent(store, first.lease, a_batch([target], [failed(target)]))
    cancelled = await moved(store, first.job.id, Move.CANCEL)
    retried, event = cancelled.apply_move(Move.RETRY_FAILED, NOW, actor="local")

    with pytest.raises(Conflict):
        await store.jobs.retry_failed(retried, event, ())
    await store.leases.free(answer.lease)

    assert await store.jobs.retry_failed(retried, event, ()) == 1


async def test_a_worker_with_a_shard_takes_another_unclaimed_one_later(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))

    at_once = await joined(store, "w1")
    later = await joined(store, "w1", NOW + REST)

    assert at_once is None
    assert later is not None


async def test_a_shard_is_taken_in_the_order_of_the_queue(store: Store) -> None:
    first = await begun(store)
    await sent(store, first.lease, a_batch(found=targets()))
    urgent = await added(store, spec=a_spec(priority=Priority.URGENT))

    ahead = await store.spread.join(Asker("w2"), NOW, LEASE, in_turn=True)
    assert await store.leases.claim(Asker("w2", only=urgent.id), NOW, LEASE)
    then = await store.spread.join(Asker("w3"), NOW, LEASE, in_turn=True)

    assert ahead is None
    assert then is not None


async def test_tags_levels_and_a_quota_of_pages_hold_for_shards_too(store: Store) -> None:
    first = await begun(store, worker_tags=("eu",))
    await sent(store, first.lease, a_batch(found=targets()))

    assert await joined(store, "w2") is None
    urgent_only = Asker("w2", frozenset({"eu"}), Priority.URGENT)
    assert await store.spread.join(urgent_only, NOW, LEASE, in_turn=False) is None
    local = await store.users.get("local")
    limited = replace(local, quota=Quota(pages_per_day=1, running=1), version=local.version + 1)
    await store.users.save(limited, its_event(first.job))
    able = Asker("w2", frozenset({"eu"}))
    assert await store.spread.join(able, NOW, LEASE, in_turn=False) is not None
    [target] = targets(of(first.lease.shard)[:1], pages=1)
    await sent(store, await state_of_lease(store, first.lease), a_batch((), [done(target)]))
    third = Asker("w3", frozenset({"eu"}))
    assert await store.spread.join(third, NOW, LEASE, in_turn=False) is None


async def test_a_job_is_cut_by_the_hosts_that_wait_if_the_yard_is_to_choose(store: Store) -> None:
    few = await added(store, spec=a_spec(spread=Spread.AUTO))
    many = await added(
        store,
        spec=a_spec(spread=Spread.AUTO, urls=tuple(f"https://s{n}.example/" for n in range(24))),
    )

    whole = await store.leases.claim(Asker("w1", only=few.id), NOW, LEASE)
    cut = await store.leases.claim(Asker("w1", only=many.id), NOW, LEASE)

    assert whole is not None
    assert whole.lease.shard == 0
    assert cut is not None
    assert cut.lease.of == 3


@pytest.mark.parametrize("seed", range(6))
async def test_every_target_is_recorded_once_within_the_limit_in_random_walks(
    store: Store, seed: int
) -> None:
    walk = ShardWalk(store, Random(seed), Limits(pages=30) if seed % 2 else Limits())
    await walk.begin()
    for _ in range(400):
        await walk.step()
        await walk.check()
        if (await walk.job()).state.ended:
            break
    await walk.finish()

    job = await walk.job()
    pages = await stored(store, job.id)
    assert len(pages) == len(set(pages))
    assert job.state is State.COMPLETED
    if job.state_reason is StateReason.LIMIT_PAGES:
        assert len(pages) == 30
    else:
        assert len(pages) == (await store.jobs.get(job.id)).shard.usage.discovered
        assert job.state_reason is StateReason.EXHAUSTED


class ShardWalk:
    """Workers that find, record, leave, die and come back too late, in any order."""

    def __init__(self, store: Store, chance: Random, limits: Limits) -> None:
        self.store, self.chance, self.limits = store, chance, limits
        self.now = NOW
        self.world = {t.url: t for t in targets(pages=4)}
        self.leases_held: list[
            tuple[Lease, float | None]
        ] = []  # with what each may use of the pages
        self.lost_leases: list[Lease] = []
        self.names = 0
        self.job_id = ""

    async def begin(self) -> None:
        job = await added(self.store, spec=a_spec(spread=SHARDS, limits=self.limits))
        self.job_id = job.id
        await self.claim()
        lease, budget = self.leases_held[0]
        answer = await sent(self.store, lease, a_batch(found=targets(HOSTS[:3], 1)), self.now)
        self.leases_held[0] = (answer.lease, budget)

    async def job(self) -> Job:
        return (await self.store.jobs.get(self.job_id)).job

    async def step(self) -> None:
        self.now += timedelta(seconds=self.chance.choice([0, 0.1, 0.3, 1]))
        work = self.chance.choices(
            [self.claim, self.record, self.leave, self.die, self.haunt], [4, 10, 2, 1, 1]
        )
        await work[0]()

    async def claim(self) -> None:
        self.names += 1
        asker = Asker(f"w{self.names}")
        claim = await self.store.leases.claim(asker, self.now, LEASE)
        claim = claim or await self.store.spread.join(asker, self.now, LEASE, in_turn=False)
        if claim is not None and claim.lease.shard:
            self.hold(claim)
        elif claim is not None:  # the limit was used up: one worker is enough to say so
            reason, actor = StateReason.LIMIT_PAGES, f"worker:{asker.worker}"
            ended = claim.job.apply_move(Move.COMPLETE, self.now, actor=actor, reason=reason)
            await self.store.leases.settle(claim.lease, *ended)

    def hold(self, claim: Claim) -> None:
        budget = claim.share.budget.get("pages") if claim.share is not None else None
        self.leases_held.append((claim.lease, budget))

    async def record(self) -> None:
        if not self.leases_held:
            return
        n = self.chance.randrange(len(self.leases_held))
        lease, budget = self.leases_held[n]
        most = 3 if budget is None else int(min(3, budget))
        waiting = await self.store.frontier.load(lease, most, depth_first=False)
        targets = self.chance.sample(list(self.world.values()), 4)
        batch = a_batch(targets, [done(t) for t in waiting[:most]])
        answer = await sent(self.store, lease, batch, self.now)
        share = answer.share
        if answer.order is Order.LOST:
            self.leases_held.pop(n)
        else:
            left_over = share.budget.get("pages") if share is not None else None
            self.leases_held[n] = (answer.lease, left_over)

    async def leave(self) -> None:
        if self.leases_held:
            lease, _ = self.leases_held.pop(self.chance.randrange(len(self.leases_held)))
            further = self.chance.random() < 0.5
            claim = await leave_shard(self.store, lease, self.now, further=further)
            if claim is not None:
                self.hold(claim)

    async def die(self) -> None:
        if self.leases_held:
            lease, _ = self.leases_held.pop(self.chance.randrange(len(self.leases_held)))
            self.lost_leases.append(lease)
            dead = {lease.worker} if self.chance.random() < 0.5 else set()
            if not dead:
                self.now += LEASE
            await self.store.leases.take_back(self.now, dead, requeued)

    async def haunt(self) -> None:
        """Let a worker that was declared dead send its batch."""
        for lease in self.lost_leases:
            answer = await sent(self.store, lease, a_batch(outcomes=[done(targets()[0])]))
            assert answer.order is Order.LOST

    async def check(self) -> None:
        standing = await self.store.jobs.get(self.job_id)
        shards = (await self.store.spread.shards(self.job_id)).values()
        if not shards:
            return  # it was ended by one worker
        assert sum(s.usage.pages for s in shards) == standing.shard.usage.pages
        pages = await self.store.pages.pages(self.job_id, PageQuery(), 1000)
        assert len(pages) == standing.shard.usage.pages
        if self.limits.pages is not None:
            granted_pages = sum(s.budget.get("pages", 0) for s in shards)
            assert standing.shard.usage.pages + granted_pages <= self.limits.pages
        if standing.job.state is State.RUNNING:
            assert any(s.worker is not None for s in shards)

    async def finish(self) -> None:
        """Discover all pages, and work until the job has ended."""
        for _ in range(500):
            job = await self.job()
            if job.state.ended:
                return
            await self.store.leases.take_back(self.now, (), requeued)
            await self.claim()
            for lease, _ in list(self.leases_held):
                batch = a_batch(found=list(self.world.values()))
                await sent(self.store, lease, batch, self.now)
            self.leases_held = [
                (await self.fresh(lease), budget) for lease, budget in self.leases_held
            ]
            await self.record()
            await self.check()
            await self.leave()

    async def fresh(self, lease: Lease) -> Lease:
        shards = await self.store.spread.shards(self.job_id)
        return replace(lease, seq=shards[lease.shard].seq) if lease.shard in shards else lease


async def test_a_job_is_joined_however_many_before_it_have_nothing_for_others(
    store: Store,
) -> None:
    for _ in range(45):  # each with free shards, in which nothing waits
        first = await begun(store)
        await sent(store, first.lease, a_batch(found=targets(of(first.lease.shard))))
    last = await begun(store)
    await sent(store, last.lease, a_batch(found=targets()))

    claim = await joined(store, "w2")

    assert claim is not None
    assert claim.job.id == last.job.id
