"""Checkpoints: batches of jobs and shards, written in one transaction.

This is the hot path: all whole jobs of a call share each statement. A batch of 200 pages and 1,000
links takes 15 ms on SQLite and 25 ms on Postgres, a heartbeat of 100 jobs 6 ms and 8 ms.

A checkpoint of a shard locks nothing that others wait for: it writes the row of the shard, if that
is still as it was read. Totals of the job and portions of its limits are written under a lock on
its shard 0, which a checkpoint takes only if it is free.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Text,
    bindparam,
    cast,
    func,
    insert,
    select,
    update,
)

from crawlyard.core.access.user import day_of
from crawlyard.core.crawl.page import Outcome, Target, TargetState
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Lease, Order
from crawlyard.core.jobs.job import LOSSES_KEPT, Shard
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.queue import Wakeup
from crawlyard.core.jobs.spread import Share, bucket_of
from crawlyard.store.access.usage import add_usage
from crawlyard.store.codec.jobs import (
    compress_each,
    job_of,
    limits_of,
    page_row,
    target_row,
)
from crawlyard.store.crawl.cookies import write_cookies
from crawlyard.store.crawl.journal import (
    UNNUMBERED,
    append_lines,
    number_lines,
    write_courses,
    write_journal,
)
from crawlyard.store.db.bulk_rows import insert_keyed, insert_new, put_rows, update_rows
from crawlyard.store.db.connection import gather_due
from crawlyard.store.db.database import is_postgres
from crawlyard.store.jobs import shard_rules
from crawlyard.store.jobs.job_rows import add_events, lock_rows, settle_pages, standing
from crawlyard.store.jobs.shard_rules import Parts, Worth, assess, order_of
from crawlyard.store.jobs.shards import (
    JOIN_COLUMNS,
    decode_parts,
    find_waiting_shards,
    first_waiting_shard,
    has_waiting,
    lock_totals,
    newly_filled_shards,
    read_parts,
    shard_wakeup,
    write_parts,
)
from crawlyard.store.tables.jobs import (
    PRESENT,
    STANDING,
    TARGETS,
    WAITING,
    bodies,
    frontier,
    jobs,
    lastmods,
    pages,
    shards,
)

Entry = tuple[Lease, Batch]

PackedBodies = Mapping[tuple[int, int], Mapping[str, bytes]]
"""Compressed bodies by the key of the job and the fp of the target, and `TARGETS` as they are."""

_OF_JOB = (
    *(jobs.c.no, jobs.c.owner, jobs.c.state, jobs.c.version, jobs.c.losses, jobs.c.spread),
    jobs.c.settled_pages,
)


class _Job(Struct):
    """The part of a job that a checkpoint needs: its spec, maybe megabytes, is not read."""

    owner: str
    state: State
    version: int
    losses: int
    settled_pages: int
    parts: Parts  # with the shards besides 0 only if such a shard has a batch
    limits: Limits  # likewise
    unnumbered: bool  # its shards have log lines without numbers
    free_shard: Wakeup


class _Entry(Struct):
    """A batch with the decision about it."""

    lease: Lease
    batch: Batch
    job: _Job | None  # None: the job is gone
    before: Shard | None  # as it was read
    worth: Worth


def compress_bodies(entries: Sequence[Entry]) -> PackedBodies:
    """Return the compressed bodies of all pages."""
    compress = compress_each()
    return {
        (lease.job_no, outcome.target.fp): {
            kind.value: compress(data) for kind, data in outcome.bodies.items()
        }
        | ({TARGETS: outcome.targets} if outcome.targets else {})
        for lease, batch in entries
        for outcome in batch.outcomes
        if outcome.bodies
    }


def record(
    conn: Connection,
    entries: Sequence[Entry],
    packed_bodies: PackedBodies,
    now: datetime,
    until: datetime,
) -> list[Checkpoint]:
    """Write batches of several jobs and shards; see `FrontierStore.record`."""
    assessed = _assess(conn, entries)
    written = [each for each in assessed if each.worth is Worth.WRITE]
    whole = [each for each in written if not each.lease.shard]
    parts = [each for each in written if each.lease.shard]
    batches = [(each.lease, each.batch) for each in written]
    events = [event for each in whole for event in each.batch.events]
    for each in whole:
        _carry(each, now, until)
    _write(conn, [(each.lease, each.batch) for each in whole], packed_bodies)
    _reduce_losses(conn, written)
    _write_lastmods(conn, batches)
    write_cookies(conn, batches)
    write_journal(conn, [(each.lease, each.batch) for each in whole])
    append_lines(conn, [(each.lease, each.batch) for each in parts])
    used = [(each.job.owner, each.batch.usage) for each in written if each.job]
    add_usage(conn, _by_owner(used), day_of(now))
    for each in parts:
        _carry_part(conn, each, packed_bodies, now, until)
    events += _add_up(conn, parts, now)
    answers = _with_jobs(conn, [_answer(conn, each) for each in assessed])
    jobs_written = {each.lease.job_no: each.job for each in written if each.job}
    write_parts(conn, *(job.parts for _, job in sorted(jobs_written.items())))
    for job in (each.job for each in whole):
        if job is not None and job.state is not State.RUNNING:
            settle_pages(conn, job.parts.job_no, job.settled_pages, job.parts.total.usage.pages)
    add_events(conn, events)
    return answers


# Built once: building it at each checkpoint takes four times as long as running it.
_LOCKED = lock_rows(
    select(*_OF_JOB, *JOIN_COLUMNS, *shards.c)
    .select_from(STANDING)
    .where(PRESENT, jobs.c.no.in_(bindparam("numbers", expanding=True)))
    .order_by(jobs.c.no)  # all workers lock in the same order
)


def _assess(conn: Connection, entries: Sequence[Entry]) -> list[_Entry]:
    """Decide about each batch. The rows of whole jobs are locked, others only read."""
    whole = {lease.job_no for lease, _ in entries if not lease.shard}
    cut = {lease.job_no for lease, _ in entries if lease.shard} - whole
    rows: list[RowMapping] = []
    if whole:
        rows += conn.execute(_LOCKED, {"numbers": sorted(whole)}).mappings()
    if cut:
        rows += conn.execute(_spread_jobs(is_postgres(conn)), {"numbers": sorted(cut)}).mappings()
    jobs_by_no = {
        no: _job_in(no, list(own), spread=no in cut)
        for no, own in groupby(rows, key=itemgetter("no"))
    }
    assessed = []
    for lease, batch in entries:
        job = jobs_by_no.get(lease.job_no)
        mine = job.parts.get(lease.shard) if job else None
        assessed.append(_Entry(lease, batch, job, mine, assess(lease, mine)))
    return assessed


def _job_in(no: int, rows: Sequence[RowMapping], *, spread: bool) -> _Job:
    row = rows[0]
    return _Job(
        owner=row["owner"],
        state=State(row["state"]),
        version=row["version"],
        losses=row["losses"],
        settled_pages=row["settled_pages"],
        parts=decode_parts(no, rows, row["spread"]),
        limits=limits_of(row["limits"] or "") if spread else Limits(),
        unnumbered=bool(spread and row["unnumbered"]),
        free_shard=shard_wakeup(row),
    )


@cache
def _spread_jobs(on_postgres: bool) -> Select[Any]:  # noqa: FBT001 - a key of the cache
    """Return a query for jobs with all their shards, without locks.

    If a shard is changed meanwhile, the transaction begins again: see `write_parts`.
    """
    return (
        select(*_OF_JOB, *JOIN_COLUMNS, _limits(on_postgres).label("limits"), UNNUMBERED, *shards.c)
        .select_from(jobs.join(shards, shards.c.job_no == jobs.c.no))
        .where(PRESENT, jobs.c.no.in_(bindparam("numbers", expanding=True)))
        .order_by(jobs.c.no)
    )


def _limits(on_postgres: bool) -> ColumnElement[str]:  # noqa: FBT001
    """Return the expression for the limits in a job's spec, as text; the spec may be megabytes."""
    if on_postgres:
        return cast(cast(jobs.c.spec, JSON)["limits"], Text)
    return func.json_extract(jobs.c.spec, "$.limits")


def _carry(entry: _Entry, now: datetime, until: datetime) -> None:
    """Apply a batch to its whole job."""
    if (job := entry.job) is not None:
        total, state = job.parts.total, job.state
        shard = shard_rules.apply_batch(total, entry.lease, entry.batch, state, now, until)
        job.parts.set(0, shard)


def _carry_part(
    conn: Connection, entry: _Entry, packed_bodies: PackedBodies, now: datetime, until: datetime
) -> None:
    """Write a batch of a shard, whose usage depends on what is new to the store."""
    job, lease, batch = entry.job, entry.lease, entry.batch
    if job is None:
        return
    parts = job.parts
    dry = (
        newly_filled_shards(conn, parts, batch.found, lease.starts)
        if job.state is State.RUNNING
        else set()
    )
    new_found, skipped = _write(conn, [(lease, batch)], packed_bodies, dealt=True)
    if dry and new_found and dry & find_waiting_shards(conn, parts.job_no, parts.count):
        gather_due(conn, job.free_shard)
    shard_rules.apply_part_batch(parts, lease, batch, new_found, skipped, now)
    shard_rules.renew(parts, lease, batch, job.state, now, until)


def _add_up(conn: Connection, entries: Sequence[_Entry], now: datetime) -> list[Event]:
    """Add up the totals of spread jobs, if they are not locked, and grant portions of limits.

    If they are locked, a later checkpoint does so. Return the events to add: of each milestone,
    that of the first shard that passes it.
    """
    events = [
        event
        for each in entries
        for event in each.batch.events
        if not shard_rules.is_milestone(event)
    ]
    for _, own in groupby(sorted(entries, key=_no), key=_no):
        mine = list(own)
        job = mine[0].job
        if job is None or not any(_wants_totals(job, each) for each in mine):
            continue
        if not lock_totals(conn, job.parts.job_no):
            continue
        fresh = read_parts(conn, job.parts.job_no, job.parts.count)  # read once they are locked
        for number in job.parts.touched:
            fresh.set(number, job.parts.shards[number])
            fresh.stored[number] = job.parts.stored[number]
        job.parts = fresh
        if job.unnumbered or any(each.batch.log for each in mine):
            number_lines(conn, fresh.job_no)
        write_courses(conn, [(each.lease, each.batch) for each in mine])
        for each in mine:
            events += shard_rules.new_milestones(each.batch.events, fresh.total.pulse.milestone)
            shard_rules.follow(fresh, each.batch, now)
            if fresh.shards[each.lease.shard].worker is not None:
                fresh.grant(each.lease.shard, job.limits)
    return events


def _no(entry: _Entry) -> int:
    return entry.lease.job_no


def _wants_totals(job: _Job, entry: _Entry) -> bool:
    """Return whether a checkpoint of a shard should lock the totals of its job, if it can."""
    lease, batch = entry.lease, entry.batch
    return (
        batch.last
        or shard_rules.adds_up(job.parts, lease)
        or job.parts.is_short(lease.shard, job.limits)
        or any(shard_rules.is_milestone(event) for event in batch.events)
    )


def _answer(conn: Connection, entry: _Entry) -> Checkpoint:

    job, lease, before = entry.job, entry.lease, entry.before
    if job is None or before is None or entry.worth is Worth.REFUSE:
        usage = job.parts.usage() if job else Usage()
        return Checkpoint(order=Order.LOST, lease=lease, usage=usage)
    order = order_of(
        lease, before.attempt, before.worker, job.state, job.version, yields=before.yields
    )
    parts = job.parts
    after = parts.get(lease.shard) or before
    return Checkpoint(
        order=order,
        lease=replace(lease, seq=after.seq, version=job.version),
        usage=parts.usage() if lease.shard else parts.total.usage,
        share=_share(conn, job, lease, entry.batch) if lease.shard else None,
        milestone=parts.total.pulse.milestone,
    )


def _share(conn: Connection, job: _Job, lease: Lease, batch: Batch) -> Share:
    """Return the share for the holder of a shard."""
    parts, no = job.parts, lease.job_no
    if parts.shards[lease.shard].worker is None:
        return Share()
    share = parts.share(lease.shard, job.limits)
    if batch.outcomes or batch.found:
        return share  # it has enough to do
    has_others = any(n != lease.shard for n, _ in parts.iterate_leased())
    stay = has_others and first_waiting_shard(conn, no, parts.free(), parts.count) is None
    return replace(share, waiting=has_waiting(conn, no), stay=stay)


def _write(
    conn: Connection, written: Sequence[Entry], packed_bodies: PackedBodies, *, dealt: bool = False
) -> tuple[int, int]:
    """Write targets and pages; return how many found and skipped targets were new to the store.

    With *dealt*, the targets of a spread job are assigned to its shards.
    """

    def row_of(lease: Lease, target: Target, state: TargetState, rule: str) -> dict[str, Any]:
        row = target_row(lease.job_no, target, state, rule)
        return row | {"bucket": bucket_of(target.host, lease.starts)} if dealt else row

    fresh: list[dict[str, Any]] = []
    shut: list[dict[str, Any]] = []
    closed: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []  # ends of fresh targets
    page_rows: list[dict[str, Any]] = []
    for lease, batch in written:
        no, ends = lease.job_no, _ends_of(batch.outcomes)
        new = {target.fp for target in batch.found}
        for target in batch.found:
            row = row_of(lease, target, TargetState.WAITING, "")
            if (end := ends.get(target.fp)) is not None:
                row |= _end_row(no, end)
            fresh.append(row)
        shut += [row_of(lease, s.target, TargetState.SKIPPED, s.rule) for s in batch.skipped]
        for fp, end in ends.items():
            (late if fp in new else closed).append(_end_row(no, end) | {"fp": fp})
        page_rows += [
            page_row(no, o.target, o.page, o.body_of) for o in batch.outcomes if o.page is not None
        ]
    _write_pages(conn, page_rows, packed_bodies)
    changed = update_rows(conn, frontier, closed, ("job_no", "fp"), only=WAITING)
    if dealt:  # in one order: of two shards that find the same URLs, none waits for the other twice
        fresh.sort(key=itemgetter("fp"))
        shut.sort(key=itemgetter("fp"))
    new_found, skipped = insert_new(conn, frontier, fresh), insert_new(conn, frontier, shut)
    if new_found < len(fresh):  # some were known, so their outcomes were not inserted
        changed += update_rows(conn, frontier, late, ("job_no", "fp"), only=WAITING)
        closed += late
    if changed < len(closed):
        # some targets were never reported as found, or were closed before and stay unchanged
        rest = [
            row_of(lease, end.target, end.state, end.rule)
            for lease, batch in written
            for end in _ends_of(batch.outcomes).values()
        ]
        insert_new(conn, frontier, rest)
    return new_found, skipped


def _ends_of(outcomes: Sequence[Outcome]) -> dict[int, Outcome]:
    """Return the final outcome of each target: a failed attempt may be followed by another."""
    ends: dict[int, Outcome] = {}
    for outcome in outcomes:
        before = ends.get(outcome.target.fp)
        if before is None or before.state is TargetState.WAITING:
            ends[outcome.target.fp] = outcome
    return ends


def _end_row(no: int, outcome: Outcome) -> dict[str, Any]:
    """Return the columns of a target that its *outcome* changes, and the key of its job."""
    return {
        "job_no": no,
        "state": int(outcome.state),
        "tries": outcome.target.tries,
        "due_at": outcome.target.due_at,
        "rule": outcome.rule,
    }


def _write_pages(
    conn: Connection, page_rows: Sequence[dict[str, Any]], packed_bodies: PackedBodies
) -> None:
    """Write page records, and their bodies from *packed_bodies*."""
    if not packed_bodies or not page_rows:
        insert_new(conn, pages, page_rows)
        return
    inserted: Iterable[Sequence[Any]]
    if is_postgres(conn):
        inserted = insert_keyed(conn, pages, page_rows, ("id", "job_no", "fp"))
    else:
        newest = conn.scalar(select(func.max(pages.c.id))) or 0
        insert_new(conn, pages, page_rows)
        numbers = {row["job_no"] for row in page_rows}
        inserted = conn.execute(
            select(pages.c.id, pages.c.job_no, pages.c.fp).where(
                pages.c.job_no.in_(sorted(numbers)), pages.c.id > newest
            )
        )
    rows = [
        {"page_id": page_id, "kind": kind, "data": data}
        for page_id, no, fp in inserted
        for kind, data in packed_bodies.get((no, fp), {}).items()
    ]
    if rows and is_postgres(conn):
        conn.execute(insert(bodies), rows)  # arrays of bytes would take twice their size as text
    else:
        insert_new(conn, bodies, rows)


def _reduce_losses(conn: Connection, written: Sequence[_Entry]) -> None:
    """Reduce the losses of jobs that have stored a page."""
    proven = {
        each.lease.job_no
        for each in written
        if each.job and each.job.losses > LOSSES_KEPT and each.batch.pages
    }
    if proven:
        lost = (jobs.c.no.in_(sorted(proven)), jobs.c.losses > LOSSES_KEPT)
        conn.execute(update(jobs).where(*lost).values(losses=LOSSES_KEPT))


def _write_lastmods(conn: Connection, written: Sequence[Entry]) -> None:
    """Write the reliability of dates in sitemaps; each host belongs to one shard."""
    rows = [
        {"job_no": lease.job_no, "host": host, "told": lastmod.told, "missed": lastmod.missed}
        for lease, batch in written
        for host, lastmod in batch.lastmods.items()
    ]
    put_rows(conn, lastmods, sorted(rows, key=lambda row: (row["job_no"], row["host"])))


def _by_owner(used: Sequence[tuple[str, Usage]]) -> Mapping[str, Usage]:
    sums: dict[str, Usage] = defaultdict(Usage)
    for owner, usage in used:
        if usage.pages or usage.bytes or usage.errors:
            sums[owner] = sums[owner].plus(usage)
    return sums


def _with_jobs(conn: Connection, answers: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return the answers, with the job added to those that order the holder to reload it."""
    reloads = {a.lease.job_no for a in answers if a.order in {Order.CHANGED, Order.STOP}}
    if not reloads:
        return list(answers)
    rows = conn.execute(standing(jobs.c.no.in_(sorted(reloads)))).mappings()
    read = {row["no"]: job_of(row) for row in rows}
    return [
        a if a.order in {Order.GO_ON, Order.LOST} else replace(a, job=read[a.lease.job_no])
        for a in answers
    ]
