"""Slots of a worker: claims of free slots, preemption, and promotion."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from crawlyard.core.jobs.checkpoint import Asker, Claim
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.jobs.spread import REST
from crawlyard.errors import StoreUnavailable
from crawlyard.services.workers.claiming import Claiming, ClaimRules
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.jobs.leases import LeaseStore
from crawlyard.store.store import Store
from tests.builders import LEASE, a_batch, a_job, a_spec, a_target, its_event
from tests.clock import FakeClock

SECOND = timedelta(seconds=1)
LOW, NORMAL, URGENT = Priority.LOW, Priority.NORMAL, Priority.URGENT


@dataclass
class Bench:
    """The slots of a worker that begins jobs and works at none."""

    open: bool = True
    running: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)

    def begin(self, claim: Claim) -> None:
        self.running.append(claim.job.id)

    def give_up(self, job_id: str, shard: int) -> None:
        self.given_up.append(job_id)


class CountingLeases:
    """Leases that count claims, and can fail one of them."""

    def __init__(self, leases: LeaseStore, fails_at: int = 0) -> None:
        self._leases = leases
        self._fails_at = fails_at
        self.claims = 0

    async def claim(self, asker: Asker, now: datetime, lease: timedelta) -> Claim | None:
        self.claims += 1
        if self.claims == self._fails_at:
            raise StoreUnavailable("away")
        for _ in range(5):  # the others take longer
            await asyncio.sleep(0)
        return await self._leases.claim(asker, now, lease)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)


@pytest.fixture
def store() -> Store:
    return open_in_memory()


def claiming(bench: Bench, store: Store, clock: FakeClock, **changes: Any) -> Claiming:
    rules = ClaimRules(lease=LEASE, **({"slots": 2} | changes))

    def free() -> int | None:
        return rules.slots - len(bench.running) if bench.open else None

    return Claiming("w1", store, clock, rules, free=free, begin=bench.begin, give_up=bench.give_up)


async def waiting(store: Store, clock: FakeClock, *priorities: Priority, **spec: Any) -> list[Job]:
    """Return jobs that were just queued."""
    now = clock.now()
    times: dict[str, Any] = {
        "created_at": now,
        "updated_at": now,
        "since": now,
        "queued_at": now,
        "due_at": now,
    }
    jobs = [a_job(spec=a_spec(priority=p, **spec), **times) for p in priorities]
    for job in jobs:
        await store.jobs.add(job, its_event(job))
    return jobs


async def test_many_slots_are_filled_in_the_order_of_the_queue(
    store: Store, clock: FakeClock
) -> None:
    jobs = await waiting(store, clock, *[NORMAL] * 12)
    bench = Bench()

    await claiming(bench, store, clock, slots=11).fill()

    assert bench.running == [job.id for job in jobs[:11]]


async def test_an_empty_queue_is_claimed_from_once_per_fill(store: Store, clock: FakeClock) -> None:
    await waiting(store, clock, *[NORMAL] * 7)
    leases = CountingLeases(store.leases)
    bench = Bench()
    filling = claiming(bench, store.with_parts(leases=leases), clock, slots=20)

    await filling.fill()
    leases.claims = 0
    await filling.fill()

    assert len(bench.running) == 7
    assert leases.claims == 1


async def test_what_was_claimed_runs_though_another_claim_fails(
    store: Store, clock: FakeClock
) -> None:
    await waiting(store, clock, *[NORMAL] * 7)
    leases = CountingLeases(store.leases, fails_at=2)
    bench = Bench()
    filling = claiming(bench, store.with_parts(leases=leases), clock, slots=20)

    with pytest.raises(StoreUnavailable):
        await filling.fill()

    assert len(bench.running) == leases.claims - 1
    assert await store.leases.holders() == {"w1": len(bench.running)}


async def test_a_worker_that_takes_no_more_claims_nothing(store: Store, clock: FakeClock) -> None:
    await waiting(store, clock, URGENT)
    bench = Bench(open=False)

    await claiming(bench, store, clock).fill()

    assert bench.running == []


async def test_the_last_slots_take_what_is_urgent_alone(store: Store, clock: FakeClock) -> None:
    first, _ = await waiting(store, clock, NORMAL, NORMAL)
    bench = Bench()
    filling = claiming(bench, store, clock, reserved=1)

    await filling.fill()
    [urgent] = await waiting(store, clock, URGENT)
    await filling.fill()

    assert bench.running == [first.id, urgent.id]


async def test_a_low_job_is_given_up_once_an_urgent_one_has_waited(
    store: Store, clock: FakeClock
) -> None:
    low, _ = await waiting(store, clock, LOW, NORMAL)
    bench = Bench()
    filling = claiming(bench, store, clock, patience=5 * SECOND)
    await filling.fill()
    [urgent] = await waiting(store, clock, URGENT)

    await clock.advance(4 * SECOND)
    await filling.fill()
    early = list(bench.given_up)
    await clock.advance(SECOND)
    await filling.fill()

    assert early == []
    assert bench.given_up == [low.id]
    assert bench.running[-1] == urgent.id


async def test_it_is_looked_for_once_a_second(store: Store, clock: FakeClock) -> None:
    await waiting(store, clock, LOW, LOW)
    bench = Bench()
    filling = claiming(bench, store, clock, patience=timedelta(0))
    await filling.fill()
    await waiting(store, clock, URGENT)

    await clock.advance(0.9 * SECOND)
    await filling.fill()
    early = list(bench.given_up)
    await clock.advance(0.1 * SECOND)
    await filling.fill()

    assert early == []
    assert len(bench.given_up) == 1


@pytest.mark.parametrize("alone", [False, True])
async def test_no_job_is_preempted_where_preemption_is_off(
    store: Store, clock: FakeClock, *, alone: bool
) -> None:
    [low] = await waiting(store, clock, LOW)
    rules = {"only": low.id} if alone else {"patience": None}
    bench = Bench()
    filling = claiming(bench, store, clock, slots=1, **rules)
    await filling.fill()
    await waiting(store, clock, URGENT)

    await clock.advance(60 * SECOND)
    await filling.fill()

    assert bench.running == [low.id]


async def test_jobs_rise_while_a_worker_looks(store: Store, clock: FakeClock) -> None:
    [low] = await waiting(store, clock, LOW)
    bench = Bench()
    filling = claiming(bench, store, clock, slots=1, age_step=10 * SECOND)
    await clock.advance(20 * SECOND)
    [normal] = await waiting(store, clock, NORMAL)

    await filling.fill()

    assert bench.running == [low.id]
    assert (await store.jobs.get(low.id)).job.level is Priority.HIGH
    assert (await store.jobs.get(normal.id)).job.state is State.PENDING


async def test_without_ageing_a_low_job_waits_for_ever(store: Store, clock: FakeClock) -> None:
    await waiting(store, clock, LOW)
    await clock.advance(timedelta(days=300))
    [normal] = await waiting(store, clock, NORMAL)
    bench = Bench()

    await claiming(bench, store, clock, slots=1).fill()

    assert bench.running == [normal.id]


async def test_an_idle_worker_requests_one_shard_per_free_slot_and_second(
    store: Store, clock: FakeClock
) -> None:
    [job] = await waiting(store, clock, NORMAL, spread=4)
    first = await store.leases.claim(Asker("w2"), clock.now(), LEASE)
    assert first is not None
    links = a_batch(found=[a_target("1", host=f"h{n}.example") for n in range(12)])
    await store.frontier.record([(first.lease, links)], clock.now(), LEASE)
    await clock.advance(REST)
    for _ in range(3):
        assert await store.spread.join(Asker("w2"), clock.now(), LEASE, in_turn=True) is not None
    one_slot = claiming(Bench(), store, clock, slots=1)
    none = claiming(Bench(running=["another"]), store, clock, slots=1)

    async def requests_waiting() -> list[str]:
        shards = await store.spread.shards(job.id)
        return [shard.asked_by for shard in shards.values() if shard.asked_by is not None]

    await none.fill()
    full = await requests_waiting()
    await one_slot.fill()
    await clock.advance(SECOND)
    await one_slot.fill()
    after_a_second = await requests_waiting()
    many_slots = claiming(Bench(), store, clock, slots=3)
    await many_slots.fill()
    await many_slots.fill()

    assert (full, after_a_second, await requests_waiting()) == ([], ["w1"], ["w1", "w1"])
