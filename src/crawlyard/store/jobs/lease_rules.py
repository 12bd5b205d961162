"""Lease and checkpoint rules, as pure functions shared by all stores."""

from datetime import datetime
from enum import Enum, auto

from msgspec.structs import replace

from crawlyard.core.jobs.checkpoint import Batch, Lease, Order, Shard
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.pulse import Pulse

_NO_PACE = Pulse()


class Worth(Enum):
    """What to do with a batch that arrives under a lease."""

    WRITE = auto()
    ANSWER = auto()  # already written, but the holder didn't get the answer
    REFUSE = auto()  # a later attempt has the job, or the job is gone


def worth(lease: Lease, shard: Shard | None) -> Worth:
    """Return what to do with a batch that arrives under *lease*.

    *shard* is ``None`` if the job is gone. Only the attempt number fences off old holders: a lease
    that expired or was released stays valid until the next attempt begins, so that no work in
    flight is thrown away.
    """
    if shard is None or shard.attempt != lease.attempt or shard.seq < lease.seq:
        return Worth.REFUSE
    return Worth.ANSWER if shard.seq > lease.seq else Worth.WRITE


def order_of(
    lease: Lease,
    attempt: int,
    state: State,
    version: int,
    *,
    yields: bool = False,
    free: bool = False,
) -> Order:
    """Return the order to the holder of *lease*, given the stored state of the job.

    *yields*: the shard was given up for an urgent job. *free*: nobody holds the job. If it
    isn't running either, it was taken back from a worker that stalled for longer than its
    lease. Other workers may claim it now, so the old holder must not finish its requests first.
    """
    if attempt != lease.attempt or (free and state is not State.RUNNING):
        return Order.LOST
    if yields or state is not State.RUNNING:
        return Order.STOP
    return Order.GO_ON if version == lease.version else Order.CHANGED


def held(shard: Shard, now: datetime) -> bool:
    """Return whether a lease on the shard is in force at *now*."""
    return shard.worker is not None and shard.lease_until is not None and shard.lease_until > now


def leased(shard: Shard, worker: str, until: datetime) -> Shard:
    """Return the shard leased to *worker* until *until*, under its next attempt."""
    return replace(shard, worker=worker, attempt=shard.attempt + 1, lease_until=until)


def freed(shard: Shard) -> Shard:
    """Return the shard without a lease; its last holder may still write."""
    return replace(shard, worker=None, lease_until=None)


def fenced(shard: Shard) -> Shard:
    """Return the shard without a lease, under a new attempt that fences off its last holder."""
    return replace(freed(shard), attempt=shard.attempt + 1)


def carried(
    shard: Shard, lease: Lease, batch: Batch, state: State, now: datetime, until: datetime
) -> Shard:
    """Return the shard after *batch*.

    The last batch releases the lease, except that of a running job: `settle` releases it
    together with the job's next state. Otherwise a worker that dies between the two would
    leave a job that runs forever, with no lease to expire. A job that was taken back
    stays free: its old holder must not keep others from claiming it. A heartbeat carries
    neither pulse nor current URL, so the previous ones are kept.
    """
    through = state is not State.RUNNING and (batch.last or shard.worker is None)
    return Shard(
        worker=None if through else lease.worker,
        attempt=shard.attempt,
        lease_until=None if through else until,
        seq=lease.seq + 1,
        usage=shard.usage.plus(batch.usage),
        pulse=shard.pulse if batch.pulse == _NO_PACE else batch.pulse,
        current_url=batch.current_url or shard.current_url,
        updated_at=now,
    )
