"""Checkpoints of shards: like `record`, and each tops up the shard's portion of the job's limits.

The shards of a spread job lock the job's row one after the other: their total usage
is exact, and a URL found by two of them is counted once.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import JSON, ColumnElement, Connection, Text, cast, func, update

from crawlyard.core.crawl.page import TargetState
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Lease, Order
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.spread import Share, bucket_of
from crawlyard.core.wakeup import Wakeup
from crawlyard.store.codec.jobs import limits_of, page_row, target_row
from crawlyard.store.crawl.record import (
    Entry,
    Packed,
    RecordedBatch,
    end_row,
    ends_of,
    found_row,
    write_pages,
)
from crawlyard.store.db.bulk_rows import insert_new, update_rows
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.wakeups import gather_due
from crawlyard.store.jobs.lease_rules import Worth, order_of, worth
from crawlyard.store.jobs.shard_rules import Parts, carried, renewed, untold
from crawlyard.store.jobs.shards import (
    FOR_JOINING,
    dry_shards,
    first_waiting,
    locked_parts,
    shard_due,
    waiting_shards,
    waits,
    write_parts,
)
from crawlyard.store.tables.jobs import WAITING, frontier, jobs


class _Job(Struct, frozen=True):
    """The part of a spread job that a checkpoint needs."""

    owner: str
    state: State
    version: int
    losses: int
    limits: Limits
    parts: Parts
    shard: Wakeup  # for a free shard of it


def record_parts(
    conn: Connection, entries: Sequence[Entry], given: Packed, now: datetime, until: datetime
) -> RecordedBatch:
    """Write batches of shards; see `FrontierStore.record`."""
    # all workers lock in the same order
    found = {no: _job(conn, no) for no in sorted({lease.job_no for lease, _ in entries})}
    written = RecordedBatch([], [], [], [])
    for lease, batch in entries:
        job = found[lease.job_no]
        mine = job.parts.by.get(lease.shard) if job else None
        verdict = worth(lease, mine)
        if job is None or mine is None or verdict is Worth.REFUSE:
            usage = job.parts.total.usage if job else Usage()
            written.answers.append(Checkpoint(order=Order.LOST, lease=lease, usage=usage))
            continue
        if verdict is Worth.WRITE:
            told = untold(batch.events, job.parts.total.pulse.milestone)
            _write(conn, job, lease, batch, given, now)
            renewed(job.parts, lease, batch, job.state, now, until)
            written.entries.append((lease, batch))
            written.used.append((job.owner, batch.usage))
            written.events.extend(told)
        share = _share(conn, job, lease, batch)
        order = order_of(lease, mine.attempt, job.state, job.version, yields=mine.yields)
        after = replace(lease, seq=job.parts.by[lease.shard].seq, version=job.version)
        usage = job.parts.total.usage
        written.answers.append(Checkpoint(order=order, lease=after, usage=usage, share=share))
    for job in found.values():
        if job is not None:
            write_parts(conn, job.parts)
    return written


def _job(conn: Connection, no: int) -> _Job | None:
    named = (jobs.c.owner, jobs.c.state, jobs.c.version, jobs.c.losses)
    columns = (*named, *FOR_JOINING, _limits(conn))
    found = locked_parts(conn, no, *columns)
    if found is None:
        return None
    row, parts = found
    return _Job(
        owner=row["owner"],
        state=State(row["state"]),
        version=row["version"],
        losses=row["losses"],
        limits=limits_of(row["limits"]),
        parts=parts,
        shard=shard_due(row),
    )


def _limits(conn: Connection) -> ColumnElement[str]:
    """Return the expression for the limits in a job's spec, as text; the spec may be megabytes."""
    if is_postgres(conn):
        return cast(cast(jobs.c.spec, JSON)["limits"], Text).label("limits")
    return func.json_extract(jobs.c.spec, "$.limits").label("limits")


def _write(
    conn: Connection, job: _Job, lease: Lease, batch: Batch, given: Packed, now: datetime
) -> None:
    """Write targets and pages, and apply the batch to the job's totals and to the shard."""
    no, ends = lease.job_no, ends_of(batch.outcomes)
    fresh = [
        found_row(no, target, ends.get(target.fp)) | {"bucket": bucket_of(target.host)}
        for target in batch.found
    ]
    shut = [target_row(no, s.target, TargetState.SKIPPED, s.rule) for s in batch.skipped]
    dry = dry_shards(conn, job.parts, batch.found) if job.state is State.RUNNING else set()
    found = insert_new(conn, frontier, fresh)
    if dry and found and dry & waiting_shards(conn, no, job.parts.of):
        gather_due(conn, job.shard)
    skipped = insert_new(conn, frontier, shut)
    new = {target.fp for target in batch.found} if found == len(fresh) else set()
    closed = [{"fp": fp} | end_row(no, end) for fp, end in ends.items() if fp not in new]
    if update_rows(conn, frontier, closed, ("job_no", "fp"), only=WAITING) < len(closed):
        rest = [target_row(no, end.target, end.state, end.rule) for end in ends.values()]
        insert_new(conn, frontier, rest)
    kept = [page_row(no, o.target, o.page) for o in batch.outcomes if o.page is not None]
    write_pages(conn, kept, given)
    carried(job.parts, lease, batch, found, skipped, now)
    if batch.pages and job.losses:
        conn.execute(update(jobs).where(jobs.c.no == no).values(losses=0))


def _share(conn: Connection, job: _Job, lease: Lease, batch: Batch) -> Share:
    """Return the share for the holder of a shard, with its next portion of the limits."""
    parts, no = job.parts, lease.job_no
    if parts.by[lease.shard].worker is None:
        return Share()
    share = parts.grant(lease.shard, job.limits)
    if batch.outcomes or batch.found:
        return share  # it has enough to do
    free = [n for n, shard in parts.in_use() if shard.worker is None]
    others = any(n != lease.shard for n, _ in parts.leased())
    stay = others and first_waiting(conn, no, free, parts.of) is None
    return replace(share, waiting=waits(conn, no), stay=stay)
