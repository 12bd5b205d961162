"""`SpreadStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.checkpoint import Asker, Batch, Claim, Lease, Shard
from crawlyard.core.due import Due, due_of
from crawlyard.core.event import Event
from crawlyard.core.filter import hosts_in
from crawlyard.core.job import Job
from crawlyard.core.leaving import Decide, Leaving
from crawlyard.core.lifecycle import Move, State
from crawlyard.core.limits import Usage, breach
from crawlyard.core.page import ErrorKind, Target, TargetState
from crawlyard.core.queue import PriorityQueue, claim_key, takes
from crawlyard.core.quota import day_of, spent
from crawlyard.core.spread import Extent, Share, Spread, shard_of, shards_for
from crawlyard.errors import Conflict
from crawlyard.store.leasing import fenced, held
from crawlyard.store.memory.shelf import Known, Record, Shelf
from crawlyard.store.sharing import (
    Parts,
    after_loss,
    back,
    carried,
    cut,
    lost,
    renewed,
    resting,
    takeable,
    taken,
    to_yield,
)


class MemorySpread(Struct, frozen=True):
    """`SpreadStore` in memory."""

    _shelf: Shelf

    async def join(
        self, asker: Asker, now: datetime, lease: timedelta, *, in_turn: bool
    ) -> Claim | None:
        records = [r for r in self._shelf.there() if r.of and r.job.state is State.RUNNING]
        mine = [r for r in records if takes(asker, r.job) and self._has_pages_left(r.job, now)]
        pending = PriorityQueue(r.job for r in self._shelf.there() if takes(asker, r.job))
        head = pending.next(now) if in_turn else None
        for record in sorted(mine, key=lambda r: claim_key(r.job)):
            if head is not None and claim_key(head) < claim_key(record.job):
                return None
            parts = parts_of(record)
            number = first_waiting(record, takeable(parts, asker.worker, now))
            if number is not None:
                claim = taken(parts, number, record.job, asker.worker, now + lease)
                keep(record, parts)
                if claim is not None:
                    tell_open(self._shelf, record)
                    return claim
        return None

    def _has_pages_left(self, job: Job, now: datetime) -> bool:
        # the job runs already: how many may run at once is no question here
        used = self._shelf.days.get((job.owner, day_of(now)), Usage())
        return spent(self._shelf.users[job.owner].quota, used) is None

    async def leave(
        self, lease: Lease, now: datetime, until: datetime, decide: Decide, *, further: bool
    ) -> Claim | None:
        record = self._mine(lease)
        if record is None:
            return None
        parts = parts_of(record)
        if parts.by[lease.shard].worker is None:
            return None
        yields = parts.by[lease.shard].yields
        parts.put(lease.shard, back(parts.by[lease.shard], now))
        claim: Claim | None = None
        if record.job.state is State.RUNNING:
            if further and not yields and breach(record.job.limits, parts.total.usage) is None:
                free = [n for n, shard in parts.in_use() if shard.worker is None]
                number = first_waiting(record, free)
                if number is not None:
                    claim = taken(parts, number, record.job, lease.worker, until)
            if claim is None and not any(parts.leased()):
                self._end(record, parts, decide, yields=yields)
        keep(record, parts)
        tell_open(self._shelf, record, [lease.shard])
        return claim

    def _end(self, record: Record, parts: Parts, decide: Decide, *, yields: bool) -> None:
        waiting, usage = any(_waits(record)), parts.total.usage
        left = Leaving(job=record.job, usage=usage, waiting=waiting, yields=yields)
        verdict = decide(left)
        self._shelf.changed(verdict.job, *verdict.events)
        if verdict.again:
            record.reopen(verdict.again)
            parts.total = record.shard

    async def lose(
        self, lease: Lease, now: datetime, decide: Callable[[Job], tuple[Job, Event]]
    ) -> Job | None:
        record = self._mine(lease)
        if record is None or record.parts[lease.shard].worker is None:
            return None
        return take(self._shelf, record, [lease.shard], now, decide)

    async def load(
        self, lease: Lease, limit: int, *, depth_first: bool, without: Collection[str] = ()
    ) -> list[Target]:
        record = self._shelf.of_no(lease.job_no)
        waiting = sorted(
            (
                k
                for k in (_waits(record) if record is not None else ())
                if shard_of(k.target.host, lease.of) == lease.shard and k.target.host not in without
            ),
            key=lambda k: (k.target.depth, k.id),
            reverse=depth_first,
        )
        return [known.target for known in waiting[:limit]]

    async def joinable(self, now: datetime, besides: str | None = None) -> Collection[Due]:
        found = set()
        for record in (r for r in self._shelf.there() if r.of and r.job.state is State.RUNNING):
            parts = parts_of(record)
            wanted = parts.free() if besides is None else resting(parts, besides, now)
            if first_waiting(record, wanted) is not None:
                found.add(replace(due_of(record.job), at=now, shard=True))
        return found

    async def shards(self, job_id: str) -> Mapping[int, Shard]:
        record = self._shelf.find(job_id)
        return {} if record is None else dict(parts_of(record).in_use())

    def _mine(self, lease: Lease) -> Record | None:
        record = self._shelf.find(lease.job_id)
        mine = record.parts.get(lease.shard) if record is not None else None
        return record if mine is not None and mine.attempt == lease.attempt else None


def begin(
    shelf: Shelf, record: Record, asker: Asker, now: datetime, until: datetime
) -> Claim | None:
    """Claim a pending job that is to be spread, as `store.sql.spread.begin` does."""
    job = record.job
    if not (record.of or isinstance(job.spec.spread, Spread) or job.spec.spread > 1):
        return None
    parts = parts_of(record)
    for number, shard in parts.leased():
        parts.put(number, lost(shard, now))
    cut(parts, _wanted(record, parts), now)
    keep(record, parts)
    claim: Claim | None = None
    if parts.of:
        numbers = range(1, parts.of + 1)
        moved, event = job.moved(Move.CLAIM, now, actor=f"worker:{asker.worker}")
        parts.put(0, fenced(parts.total))
        number = first_waiting(record, numbers) or numbers[0]
        claim = taken(parts, number, moved, asker.worker, until)
        if claim is not None:
            shelf.changed(moved, event)
    parts.of = parts.of if claim is not None else 0
    keep(record, parts)
    tell_open(shelf, record)
    return claim


def _wanted(record: Record, parts: Parts) -> int:
    waiting = list(_waits(record))
    hosts = {known.target.host for known in waiting} or set(hosts_in(record.job.spec.urls))
    extent = Extent(
        hosts=len(hosts), waiting=len(waiting) or len(hosts), rate=parts.total.pulse.rate
    )
    return shards_for(record.job.spec.spread, extent)


def settle_part(
    shelf: Shelf, lease: Lease, job: Job, events: Sequence[Event], again: Collection[ErrorKind]
) -> None:
    """Save the job of a shard and give that back; see `LeaseStore.settle`."""
    record = shelf.find(lease.job_id)
    mine = record.parts.get(lease.shard) if record is not None else None
    if record is None or mine is None or mine.attempt != lease.attempt:
        raise Conflict(f"the lease of {lease.worker} on job {lease.job_id} is no longer good")
    shelf.changed(job, *events)
    if again:
        record.reopen(again)
    record.parts[lease.shard] = back(mine, None)
    tell_open(shelf, record, [lease.shard])


def free_part(shelf: Shelf, lease: Lease) -> None:
    """Let the lease of a shard go, if it is ours."""
    record = shelf.find(lease.job_id)
    mine = record.parts.get(lease.shard) if record is not None else None
    if record is not None and mine is not None and mine.attempt == lease.attempt:
        record.parts[lease.shard] = back(mine, None)
        tell_open(shelf, record, [lease.shard])


def give_up_part(record: Record, worker: str, now: datetime) -> int:
    """Let *worker* give up one of several shards under way; return which, 0 for all of the job."""
    parts = parts_of(record)
    number = to_yield(parts, worker) or 0
    if number:
        parts.put(number, replace(parts.by[number], freed_at=now))
        keep(record, parts)
    return number


def take_parts_back(
    shelf: Shelf,
    now: datetime,
    dead: Collection[str],
    decide: Callable[[Job], tuple[Job, Event]],
) -> list[Job]:
    """Free the shards of lost workers; return the jobs that nobody has a shard of any more."""
    taken_back = []
    for record in list(shelf.there()):
        gone = [
            n
            for n, shard in parts_of(record).leased()
            if not held(shard, now) or shard.worker in dead
        ]
        if gone and (job := take(shelf, record, gone, now, decide)) is not None:
            taken_back.append(job)
    return taken_back


def take(
    shelf: Shelf,
    record: Record,
    numbers: Sequence[int],
    now: datetime,
    decide: Callable[[Job], tuple[Job, Event]],
) -> Job | None:
    """Take shards from their holders; return the job if it was saved."""
    parts = parts_of(record)
    for number in numbers:
        parts.put(number, lost(parts.by[number], now))
    after: tuple[Job, Event] | None = None
    if record.job.state is State.RUNNING:
        after = after_loss(parts, numbers, record.job, decide)
        if after is not None:
            shelf.changed(*after)
    keep(record, parts)
    tell_open(shelf, record, numbers)
    return None if after is None else after[0]


def carry(
    record: Record,
    lease: Lease,
    batch: Batch,
    counts: tuple[int, int],
    now: datetime,
    until: datetime,
) -> None:
    """Carry the job and a shard over *batch*; *counts*: URLs found, and skipped, that are new."""
    parts = parts_of(record)
    carried(parts, lease, batch, *counts, now)
    renewed(parts, lease, batch, record.job.state, now, until)
    keep(record, parts)


def share_of(record: Record, lease: Lease, batch: Batch) -> Share:
    """Return what the holder of a shard is told, with its next portion of the limits."""
    parts = parts_of(record)
    if parts.by[lease.shard].worker is None:
        return Share()
    share = parts.grant(lease.shard, record.job.limits)
    keep(record, parts)
    if batch.outcomes or batch.found:
        return share
    free = [n for n, shard in parts.in_use() if shard.worker is None]
    others = any(n != lease.shard for n, _ in parts.leased())
    stay = others and first_waiting(record, free) is None
    return replace(share, waiting=any(_waits(record)), stay=stay)


def parts_of(record: Record) -> Parts:
    """Return the shards of a job."""
    return Parts(no=record.no, total=record.shard, by=dict(record.parts), of=record.of)


def keep(record: Record, parts: Parts) -> None:
    """Write the shards of a job back."""
    record.shard, record.parts, record.of = parts.total, dict(parts.by), parts.of


def tell_open(shelf: Shelf, record: Record, numbers: Collection[int] | None = None) -> None:
    """Let those hear who may join, if something waits in a free shard of a job that goes on.

    Of *numbers* alone, if they are given.
    """
    parts = parts_of(record)
    free = [n for n in parts.free() if numbers is None or n in numbers]
    goes_on = record.job.state is State.RUNNING and any(parts.leased())
    if goes_on and first_waiting(record, free) is not None and shelf.opened is not None:
        shelf.opened()


def dry_shards(record: Record, found: Sequence[Target]) -> list[int]:
    """Return the free shards of a running job that *found* brings the first targets to."""
    if not record.of or record.job.state is not State.RUNNING:
        return []
    hit = {shard_of(target.host, record.of) for target in found}
    free = [n for n in parts_of(record).free() if n in hit]
    return [n for n in free if first_waiting(record, [n]) is None]


def first_waiting(record: Record, numbers: Sequence[int]) -> int | None:
    """Return the first of some shards in which something waits, ``None`` for none."""
    if not numbers:
        return None
    there = {shard_of(known.target.host, record.of) for known in _waits(record)}
    return next((n for n in numbers if n in there), None)


def _waits(record: Record) -> list[Known]:
    return [k for k in record.frontier.values() if k.state is TargetState.WAITING]
