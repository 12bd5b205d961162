"""Helpers for tests of stores: common steps."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from crawlyard.core.jobs.checkpoint import Asker, Batch, Checkpoint, Claim, Lease
from crawlyard.core.jobs.job import Job, Shard
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.store.queries import EventQuery, PageQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, its_event


def database_of(store: Store) -> Any:
    """Return what a store on SQL works on."""
    return store.upkeep._database


async def added(store: Store, job: Job | None = None, **fields: Any) -> Job:
    """Return a job that the store has."""
    job = job or a_job(**fields)
    await store.jobs.add(job, its_event(job))
    return job


async def claimed(store: Store, job: Job | None = None, worker: str = "w1") -> Claim:
    """Return the claim of a job, a new one unless it is given."""
    job = job or await added(store)
    claim = await store.leases.claim(Asker(worker, only=job.id), NOW, LEASE)
    assert claim is not None
    return claim


async def recorded(store: Store, lease: Lease, batch: Batch, now: datetime = NOW) -> Checkpoint:
    [answer] = await store.frontier.record([(lease, batch)], now, LEASE)
    return answer


async def moved(store: Store, job_id: str, move: Move, **extra: Any) -> Job:
    """Return a job after an operator's move."""
    standing = await store.jobs.get(job_id)
    job, event = standing.job.apply_move(move, NOW, actor="local", **extra)
    await store.jobs.save(job, event)
    return job


async def ended(store: Store, lease: Lease, move: Move = Move.COMPLETE) -> Job:
    """Return the job of *lease* after its holder has settled it."""
    standing = await store.jobs.get(lease.job_id)
    job, event = standing.job.apply_move(move, NOW, actor=f"worker:{lease.worker}")
    await store.leases.settle(lease, job, event)
    return job


def requeued(job: Job) -> "tuple[Job, Any]":
    """Decide about a job whose worker is lost, as a worker does."""
    return job.lose_worker(NOW, actor="worker:w9", in_child=False)


async def shard_of(store: Store, job_id: str) -> Shard:
    """Return what changes of a job at every checkpoint."""
    return (await store.jobs.get(job_id)).shard


async def stored(store: Store, job_id: str) -> list[str]:
    """Return the URLs of a job's pages, in the order stored."""
    return urls(p.page for p in await store.pages.pages(job_id, PageQuery(), 1000))


def whole(job_no: int) -> Lease:
    """Return a lease that only identifies a job."""
    return Lease(job_id="", job_no=job_no, worker="", attempt=0, seq=0, version=0)


async def waiting(store: Store, job_no: int, **options: Any) -> list[str]:
    """Return the URLs that wait, breadth first unless asked otherwise."""
    options = {"limit": 100, "depth_first": False} | options
    return [target.url for target in await store.frontier.load(whole(job_no), **options)]


async def fingerprints(store: Store, job_no: int) -> list[int]:
    """Return all that is known, sorted."""
    return sorted(
        [fp async for chunk in store.frontier.read_known_fps(whole(job_no)) for fp in chunk]
    )


async def names(store: Store, job_id: str) -> list[str]:
    """Return the names of a job's events, without their common beginning."""
    return [
        e.name.removeprefix("job.") for e in await store.events.events(EventQuery(subject=job_id))
    ]


def in_state(state: State, **fields: Any) -> Job:
    """Build a job that has reached *state* by legal moves."""
    reason = {
        State.PENDING: StateReason.WAITING_SLOT,
        State.RUNNING: StateReason.CRAWLING,
        State.PAUSED: StateReason.BY_USER,
        State.COMPLETED: StateReason.EXHAUSTED,
        State.FAILED: StateReason.START_FAILED,
        State.CANCELLED: StateReason.BY_USER,
    }[state]
    return a_job(state=state, state_reason=reason, **fields)


def urls(records: Iterable[Any]) -> list[str]:
    """List the URLs of pages."""
    return [record.url for record in records]
