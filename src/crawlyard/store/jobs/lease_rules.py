"""What a lease is worth and what a checkpoint does: the rules that all stores share."""

from datetime import datetime
from enum import Enum, auto

from msgspec.structs import replace

from crawlyard.core.jobs.checkpoint import Batch, Lease, Order, Shard
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.pulse import Pulse

_NO_PACE = Pulse()


class Worth(Enum):
    """What a batch that comes under a lease deserves."""

    WRITE = auto()
    ANSWER = auto()  # it was written before, and its holder did not hear of it
    REFUSE = auto()  # a later attempt has the job, or the job is gone


def worth(lease: Lease, shard: Shard | None) -> Worth:
    """Return what to do with a batch that comes under *lease*; ``None``: the job is gone.

    The attempt alone is the fence: a lease that lapsed or was freed is as good as
    new until the next attempt begins, so that nothing in flight is thrown away.
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
    """Return what the holder of *lease* is to do about a job as it is stored.

    *yields*: the shard was given up for an urgent job. *free*: nobody holds the job. If it
    does not run either, it was taken back from a worker that was stopped for longer than its
    lease. Other workers may claim it now, so the old holder must not finish its requests first.
    """
    if attempt != lease.attempt or (free and state is not State.RUNNING):
        return Order.LOST
    if yields or state is not State.RUNNING:
        return Order.STOP
    return Order.GO_ON if version == lease.version else Order.CHANGED


def held(shard: Shard, now: datetime) -> bool:
    """Tell whether somebody's lease keeps others out at *now*."""
    return shard.worker is not None and shard.lease_until is not None and shard.lease_until > now


def leased(shard: Shard, worker: str, until: datetime) -> Shard:
    """Return the shard under its next attempt, held by *worker*."""
    return replace(shard, worker=worker, attempt=shard.attempt + 1, lease_until=until)


def freed(shard: Shard) -> Shard:
    """Return the shard with nobody's lease on it; its last holder may still write."""
    return replace(shard, worker=None, lease_until=None)


def fenced(shard: Shard) -> Shard:
    """Return the shard free and under an attempt of nobody: its last holder is shut out."""
    return replace(freed(shard), attempt=shard.attempt + 1)


def carried(
    shard: Shard, lease: Lease, batch: Batch, state: State, now: datetime, until: datetime
) -> Shard:
    """Return the shard after *batch*.

    The last batch frees the lease, but not that of a running job: `settle` does,
    together with its next state. Else a worker that dies between the two would
    leave a job that runs for ever with nobody's lease to lapse. A job that was taken back
    stays free: its old holder must not keep others from claiming it. A heartbeat brings
    neither pace nor URL: those before it stay.
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
