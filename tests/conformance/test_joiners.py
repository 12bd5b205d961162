"""Free shards of running jobs: workers that may join are notified once, on every store."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.attempts import AttemptEnd, Last, NextState, decide_next_state
from crawlyard.core.jobs.checkpoint import Asker, Batch, Claim
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.jobs.spread import shard_of
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.jobs.shards import waiting_buckets_query
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_spec, a_target, done
from tests.conformance.conftest import Backend
from tests.conformance.steps import added, moved, recorded, requeued

SHARDS = 3
HOSTS = tuple(f"h{n}.example" for n in range(12))


@dataclass
class Herald:
    """A store that counts its wake-ups."""

    wakeups: int = 0
    store: Store = field(init=False)

    def tell(self) -> None:
        self.wakeups += 1

    def take_wakeups(self) -> int:
        """Return the number of wake-ups since the last call."""
        count, self.wakeups = self.wakeups, 0
        return count

    async def begun(self, worker: str = "w1", **fields: Any) -> Claim:
        """Return the claim of a spread job that was just submitted: its first shard."""
        job = await added(self.store, spec=a_spec(spread=SHARDS, **fields))
        claim = await self.store.leases.claim(Asker(worker, only=job.id), NOW, LEASE)
        assert claim is not None
        self.wakeups = 0
        return claim

    async def joined(self, worker: str) -> Claim:
        asker = Asker(worker, frozenset({"gpu"}))
        claim = await self.store.spread.join(asker, NOW, LEASE, in_turn=False)
        assert claim is not None
        return claim

    async def leave(self, claim: Claim) -> None:
        """Release a shard, as a worker that shuts down does."""
        last = Last(actor="worker:w1", stopped=True)

        def decide(leaving: AttemptEnd) -> NextState:
            return decide_next_state(leaving, last, NOW)

        lease, until = claim.lease, NOW + LEASE
        await self.store.spread.leave(lease, NOW, until, decide, further=False)


@pytest.fixture
async def herald(backend: Backend) -> AsyncIterator[Herald]:
    new_herald = Herald()
    if backend.sql:
        new_herald.store = await open_sql_store(backend.where, on_due=new_herald.tell)
    else:
        new_herald.store = open_in_memory(new_herald.tell)
    yield new_herald
    await new_herald.store.close()


def other_shards(claim: Claim) -> list[int]:
    """Return the shards of a job except that of the claim."""
    return [n for n in range(1, SHARDS + 1) if n != claim.lease.shard]


def batch_for(*numbers: int, page: str = "1") -> Batch:
    """Return a batch with links to all hosts of some shards."""
    return a_batch(found=targets(numbers, page))


def targets(numbers: Iterable[int], page: str = "1") -> list[Target]:
    return [a_target(page, host=host) for host in HOSTS if shard_of(host, SHARDS) in numbers]


async def test_first_urls_of_a_free_shard_notify_workers_once(herald: Herald) -> None:
    claim = await herald.begun()
    first, second = other_shards(claim)

    answer = await recorded(herald.store, claim.lease, batch_for(claim.lease.shard))
    own = herald.take_wakeups()
    answer = await recorded(herald.store, answer.lease, batch_for(first))
    opened = herald.take_wakeups()
    answer = await recorded(herald.store, answer.lease, batch_for(first, page="2"))
    more = herald.take_wakeups()
    answer = await recorded(herald.store, answer.lease, batch_for(first, second, page="3"))
    another = herald.take_wakeups()
    await recorded(herald.store, answer.lease, batch_for(first, second, page="3"))

    assert (own, opened, more, another, herald.take_wakeups()) == (0, 1, 0, 1, 0)


async def test_urls_for_a_leased_shard_notify_no_worker(herald: Herald) -> None:
    claim = await herald.begun()
    first, _ = other_shards(claim)
    answer = await recorded(herald.store, claim.lease, batch_for(first))
    other = await herald.joined("w2")
    ended = [done(target) for target in targets([first])]
    await recorded(herald.store, other.lease, a_batch(outcomes=ended))
    herald.take_wakeups()

    await recorded(herald.store, answer.lease, batch_for(first, page="2"))

    assert other.lease.shard == first
    assert herald.take_wakeups() == 0


async def test_who_joins_hands_the_word_on_as_long_as_a_shard_waits(herald: Herald) -> None:
    claim = await herald.begun()
    await recorded(herald.store, claim.lease, batch_for(*other_shards(claim)))
    herald.take_wakeups()

    await herald.joined("w2")
    second = herald.take_wakeups()
    await herald.joined("w3")

    assert (second, herald.take_wakeups()) == (1, 0)


async def test_claiming_a_job_notifies_workers_of_its_free_shards(herald: Herald) -> None:
    claim = await herald.begun()
    await recorded(herald.store, claim.lease, batch_for(*other_shards(claim)))
    await herald.leave(claim)
    herald.take_wakeups()

    again = await herald.store.leases.claim(Asker("w2"), NOW, LEASE)

    assert again is not None
    assert again.lease.shard
    assert herald.take_wakeups() == 1


@pytest.mark.parametrize("way", ["left", "freed", "lost", "taken back"])
async def test_a_shard_freed_in_a_running_job_notifies_workers(herald: Herald, way: str) -> None:
    store, claim = herald.store, await herald.begun()
    await recorded(store, claim.lease, batch_for(*other_shards(claim)))
    other = await herald.joined("w2")
    await herald.joined("w3")
    herald.take_wakeups()

    match way:
        case "left":
            await herald.leave(other)
        case "freed":
            await store.leases.free(other.lease)
        case "lost":
            await store.spread.lose(other.lease, NOW, requeued)
        case _:
            await store.leases.take_back(NOW, {"w2"}, requeued)

    assert herald.take_wakeups() == 1


async def test_a_shard_that_has_run_dry_is_left_without_a_word(herald: Herald) -> None:
    claim = await herald.begun()
    first, _ = other_shards(claim)
    await recorded(herald.store, claim.lease, batch_for(first))
    other = await herald.joined("w2")
    ended = [done(target) for target in targets([first])]
    await recorded(herald.store, other.lease, a_batch(outcomes=ended))
    herald.take_wakeups()

    await herald.leave(other)

    assert other.lease.shard == first
    assert herald.take_wakeups() == 0


async def test_urls_of_a_paused_job_notify_no_worker(herald: Herald) -> None:
    claim = await herald.begun()
    await moved(herald.store, claim.job.id, Move.PAUSE)
    herald.take_wakeups()

    await recorded(herald.store, claim.lease, batch_for(*other_shards(claim)))

    assert herald.take_wakeups() == 0


async def test_releasing_a_shard_of_a_stopped_job_notifies_no_worker(
    herald: Herald,
) -> None:
    claim = await herald.begun()
    await recorded(herald.store, claim.lease, batch_for(*other_shards(claim)))
    other = await herald.joined("w2")
    await moved(herald.store, claim.job.id, Move.PAUSE)
    herald.take_wakeups()

    await herald.leave(other)

    assert herald.take_wakeups() == 0


@pytest.mark.postgres
async def test_postgres_reads_no_table_to_see_that_nothing_waits(postgres_url: str) -> None:
    store = await open_sql_store(postgres_url)
    job = await added(store, spec=a_spec(spread=SHARDS))
    claim = await store.leases.claim(Asker("w1", only=job.id), NOW, LEASE)
    assert claim is not None
    many = [a_target(str(n), host=host) for host in HOSTS for n in range(400)]
    await recorded(store, claim.lease, a_batch(found=many))
    await store.close()

    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    query = str(waiting_buckets_query().compile(engine))
    with engine.begin() as conn:
        conn.exec_driver_sql("ANALYZE frontier")
        plan = conn.exec_driver_sql(f"EXPLAIN {query}", {"its_no": claim.lease.job_no})
        steps = [step for (step,) in plan]
    engine.dispose()

    assert any("using frontier_bucket on frontier" in step for step in steps)
    assert not any("Seq Scan on frontier" in step for step in steps)
