"""Spread jobs, in short words: begun, joined, recorded and left."""

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind, Target
from crawlyard.core.jobs.attempts import AttemptEnd, Last, NextState, decide_next_state
from crawlyard.core.jobs.checkpoint import Asker, Batch, Checkpoint, Claim, Lease
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spread import shard_of
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_spec, a_target
from tests.conformance.steps import added

SHARDS = 4
HOSTS = tuple(f"h{n}.example" for n in range(12))


def of(shard: int) -> list[str]:
    """Pick the test hosts whose bucket belongs to a shard."""
    return [host for host in HOSTS if shard_of(host, SHARDS) == shard]


def targets(hosts: Iterable[str] = HOSTS, pages: int = 2) -> list[Target]:
    """Return targets of *hosts*, several of each."""
    return [a_target(str(n), host=host) for n in range(pages) for host in hosts]


async def begun(store: Store, worker: str = "w1", **fields: object) -> Claim:
    """Return the claim of a spread job that was just submitted: its first shard."""
    job = await added(store, spec=a_spec(spread=SHARDS, **fields))
    claim = await store.leases.claim(Asker(worker, only=job.id), NOW, LEASE)
    assert claim is not None
    return claim


async def joined(store: Store, worker: str, now: datetime = NOW) -> Claim | None:
    """Return the shard of any job that a worker gets."""
    return await store.spread.join(Asker(worker), now, LEASE, in_turn=False)


async def sent(store: Store, lease: Lease, batch: Batch, now: datetime = NOW) -> Checkpoint:
    [answer] = await store.frontier.record([(lease, batch)], now, LEASE)
    return answer


async def leave_shard(
    store: Store,
    lease: Lease,
    now: datetime = NOW,
    *,
    further: bool = False,
    drained: bool = False,
) -> Claim | None:
    """Give a shard back as a worker does, and return the one it goes on with."""
    last = Last(actor=f"worker:{lease.worker}", failed=frozenset({ErrorKind.HTTP_4XX}))

    def decide(leaving: AttemptEnd) -> NextState:
        return decide_next_state(leaving, last, now)

    return await store.spread.leave(
        lease, now, now + LEASE, decide, further=further, drained=drained
    )


async def state(store: Store, lease: Lease) -> Job:
    """Read the stored state of a shard's job."""
    return (await store.jobs.get(lease.job_id)).job


async def state_of_lease(store: Store, lease: Lease) -> Lease:
    """Return a lease with the sequence number after its last checkpoint."""
    shard = (await store.spread.shards(lease.job_id))[lease.shard]
    return replace(lease, seq=shard.seq)
