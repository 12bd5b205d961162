"""How a worker fills its slots: what each free one takes, who makes room, and who rises."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.checkpoint import Claim
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.priority import Priority
from crawlyard.services.claiming import Claiming, ClaimRules
from crawlyard.store.base import Store
from crawlyard.store.memory import open_memory_store
from tests.builders import LEASE, a_job, a_spec, its_event
from tests.clock import FakeClock

SECOND = timedelta(seconds=1)
LOW, NORMAL, URGENT = Priority.LOW, Priority.NORMAL, Priority.URGENT


@dataclass
class Bench:
    """The slots of a worker that begins jobs and works at none."""

    open: bool = True
    running: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)

    @property
    def taken(self) -> int:
        return len(self.running)

    @property
    def takes_more(self) -> bool:
        return self.open

    def begin(self, claim: Claim) -> None:
        self.running.append(claim.job.id)

    def give_up(self, job_id: str) -> None:
        self.given_up.append(job_id)


@pytest.fixture
def store() -> Store:
    return open_memory_store()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def claiming(store: Store, clock: FakeClock, **rules: Any) -> Claiming:
    return Claiming("w1", store, clock, ClaimRules(lease=LEASE, **({"slots": 2} | rules)))


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


async def test_free_slots_are_filled_and_no_more(store: Store, clock: FakeClock) -> None:
    first, second, _ = await waiting(store, clock, NORMAL, NORMAL, NORMAL)
    bench = Bench()

    await claiming(store, clock).fill(bench)

    assert bench.running == [first.id, second.id]


async def test_a_worker_that_takes_no_more_claims_nothing(store: Store, clock: FakeClock) -> None:
    await waiting(store, clock, URGENT)
    bench = Bench(open=False)

    await claiming(store, clock).fill(bench)

    assert bench.running == []


async def test_the_last_slots_take_what_is_urgent_alone(store: Store, clock: FakeClock) -> None:
    first, _ = await waiting(store, clock, NORMAL, NORMAL)
    bench, filling = Bench(), claiming(store, clock, reserved=1)

    await filling.fill(bench)
    [urgent] = await waiting(store, clock, URGENT)
    await filling.fill(bench)

    assert bench.running == [first.id, urgent.id]


async def test_a_worker_takes_what_it_has_the_tags_for(store: Store, clock: FakeClock) -> None:
    await waiting(store, clock, URGENT, worker_tags=("gpu",))
    [able] = await waiting(store, clock, LOW, worker_tags=("eu",))
    bench = Bench()

    await claiming(store, clock, tags=frozenset({"eu"})).fill(bench)

    assert bench.running == [able.id]


async def test_a_low_job_is_given_up_once_an_urgent_one_has_waited(
    store: Store, clock: FakeClock
) -> None:
    low, _ = await waiting(store, clock, LOW, NORMAL)
    bench, filling = Bench(), claiming(store, clock, patience=5 * SECOND)
    await filling.fill(bench)
    [urgent] = await waiting(store, clock, URGENT)

    await clock.advance(4 * SECOND)
    await filling.fill(bench)
    early = list(bench.given_up)
    await clock.advance(SECOND)
    await filling.fill(bench)

    assert early == []
    assert bench.given_up == [low.id]
    assert bench.running[-1] == urgent.id


async def test_it_is_looked_for_once_a_second(store: Store, clock: FakeClock) -> None:
    await waiting(store, clock, LOW, LOW)
    bench, filling = Bench(), claiming(store, clock, patience=timedelta(0))
    await filling.fill(bench)
    await waiting(store, clock, URGENT)

    await clock.advance(0.9 * SECOND)
    await filling.fill(bench)
    early = list(bench.given_up)
    await clock.advance(0.1 * SECOND)
    await filling.fill(bench)

    assert early == []
    assert len(bench.given_up) == 1


@pytest.mark.parametrize("alone", [False, True])
async def test_nobody_yields_where_that_is_not_wanted(
    store: Store, clock: FakeClock, *, alone: bool
) -> None:
    [low] = await waiting(store, clock, LOW)
    rules = {"only": low.id} if alone else {"patience": None}
    bench, filling = Bench(), claiming(store, clock, slots=1, **rules)
    await filling.fill(bench)
    await waiting(store, clock, URGENT)

    await clock.advance(60 * SECOND)
    await filling.fill(bench)

    assert bench.running == [low.id]


async def test_jobs_rise_while_a_worker_looks(store: Store, clock: FakeClock) -> None:
    [low] = await waiting(store, clock, LOW)
    bench, filling = Bench(), claiming(store, clock, slots=1, age_step=10 * SECOND)
    await clock.advance(20 * SECOND)
    [normal] = await waiting(store, clock, NORMAL)

    await filling.fill(bench)

    assert bench.running == [low.id]
    assert (await store.jobs.get(low.id)).job.level is Priority.HIGH
    assert (await store.jobs.get(normal.id)).job.state is State.PENDING


async def test_without_ageing_a_low_job_waits_for_ever(store: Store, clock: FakeClock) -> None:
    await waiting(store, clock, LOW)
    await clock.advance(timedelta(days=300))
    [normal] = await waiting(store, clock, NORMAL)
    bench = Bench()

    await claiming(store, clock, slots=1).fill(bench)

    assert bench.running == [normal.id]
