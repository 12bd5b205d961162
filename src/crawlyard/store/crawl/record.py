"""Checkpoints: batches of jobs and shards, written in one transaction.

This is the hot path: all whole jobs of a call share each statement. A batch of 200 pages and 1,000
links takes 15 ms on SQLite and 25 ms on Postgres, a heartbeat of 100 jobs 6 ms and 8 ms.

The shards of a spread job lock the job's row one after the other: their total usage is exact, and
a URL found by two of them is counted once. Each checkpoint tops up the shard's portion of the
job's limits.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
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
from crawlyard.core.event import Event
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Lease, Order, Shard
from crawlyard.core.jobs.job import LOSSES_KEPT
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.queue import Wakeup
from crawlyard.core.jobs.spread import Share, bucket_of
from crawlyard.store.access.usage import add_usage
from crawlyard.store.codec.jobs import (
    compressed,
    job_of,
    limits_of,
    page_row,
    shard_of,
    target_row,
)
from crawlyard.store.crawl.cookies import write_cookies
from crawlyard.store.crawl.journal import write_journal
from crawlyard.store.db.bulk_rows import insert_new, put_rows, update_rows
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.wakeups import gather_due
from crawlyard.store.jobs import shard_rules
from crawlyard.store.jobs.job_rows import STANDING, locked, standing, tell
from crawlyard.store.jobs.shard_rules import Parts, Worth, order_of, worth
from crawlyard.store.jobs.shards import (
    FOR_JOINING,
    dry_shards,
    first_waiting,
    parts_of,
    shard_due,
    waiting_shards,
    waits,
    write_parts,
)
from crawlyard.store.tables.jobs import (
    PRESENT,
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

Packed = Mapping[tuple[int, int], Mapping[str, bytes]]
"""Compressed bodies by the key of the job and the fp of the target, and `TARGETS` as they are."""

_OF_JOB = (jobs.c.no, jobs.c.owner, jobs.c.state, jobs.c.version, jobs.c.losses, jobs.c.spread)


class _Job(Struct):
    """The part of a job that a checkpoint needs: its spec, maybe megabytes, is not read."""

    owner: str
    state: State
    version: int
    losses: int
    parts: Parts  # with the shards besides 0 only if one of them has a batch
    limits: Limits  # likewise
    free_shard: Wakeup

    def shard(self, number: int) -> Shard | None:
        """Return a shard; number 0 is the shard of the job as a whole."""
        return self.parts.by.get(number) if number else self.parts.total


def packed(entries: Sequence[Entry]) -> Packed:
    """Return the compressed bodies of all pages."""
    return {
        (lease.job_no, outcome.target.fp): {
            kind.value: compressed(data) for kind, data in outcome.bodies.items()
        }
        | ({TARGETS: outcome.targets} if outcome.targets else {})
        for lease, batch in entries
        for outcome in batch.outcomes
        if outcome.bodies
    }


def record(
    conn: Connection, entries: Sequence[Entry], given: Packed, now: datetime, until: datetime
) -> list[Checkpoint]:
    """Write batches of several jobs and shards; see `FrontierStore.record`."""
    found = _locked_jobs(conn, entries)
    answers: list[Checkpoint] = []
    written: list[Entry] = []
    told: list[Event] = []
    for lease, batch in entries:
        job = found.get(lease.job_no)
        mine = job.shard(lease.shard) if job else None
        verdict = worth(lease, mine)
        if job is None or mine is None or verdict is Worth.REFUSE:
            usage = job.parts.total.usage if job else Usage()
            answers.append(Checkpoint(order=Order.LOST, lease=lease, usage=usage))
            continue
        if verdict is Worth.WRITE:
            written.append((lease, batch))
            told += _carry(conn, job, lease, batch, given, now, until)
        answers.append(_answer(conn, job, lease, batch, mine))
    _write(conn, [entry for entry in written if not entry[0].shard], given)
    _write_jobs(conn, found, written)
    _write_lastmods(conn, written)
    write_cookies(conn, written)
    write_journal(conn, written)
    answers = _with_jobs(conn, answers)
    used = [(found[lease.job_no].owner, batch.usage) for lease, batch in written]
    add_usage(conn, _by_owner(used), day_of(now))
    tell(conn, told)
    return answers


# Built once: building it at each checkpoint takes four times as long as running it.
_LOCKED = locked(
    select(*_OF_JOB, *FOR_JOINING, *shards.c)
    .select_from(STANDING)
    .where(PRESENT, jobs.c.no.in_(bindparam("numbers", expanding=True)))
    .order_by(jobs.c.no)  # all workers lock in the same order
)


def _locked_jobs(conn: Connection, entries: Sequence[Entry]) -> dict[int, _Job]:
    numbers = sorted({lease.job_no for lease, _ in entries})
    found = {
        row["no"]: _Job(
            owner=row["owner"],
            state=State(row["state"]),
            version=row["version"],
            losses=row["losses"],
            parts=Parts(no=row["no"], total=shard_of(row), of=row["spread"]),
            limits=Limits(),
            free_shard=shard_due(row),
        )
        for row in conn.execute(_LOCKED, {"numbers": numbers}).mappings()
    }
    for no in sorted({lease.job_no for lease, _ in entries if lease.shard} & found.keys()):
        job = found[no]
        job.parts = parts_of(conn, no, job.parts.of)
        job.limits = limits_of(conn.scalar(select(_limits(conn)).where(jobs.c.no == no)) or "")
    return found


def _limits(conn: Connection) -> ColumnElement[str]:
    """Return the expression for the limits in a job's spec, as text; the spec may be megabytes."""
    if is_postgres(conn):
        return cast(cast(jobs.c.spec, JSON)["limits"], Text)
    return func.json_extract(jobs.c.spec, "$.limits")


def _carry(
    conn: Connection,
    job: _Job,
    lease: Lease,
    batch: Batch,
    given: Packed,
    now: datetime,
    until: datetime,
) -> Sequence[Event]:
    """Apply a batch to the job's totals and to a shard, and return the events to tell.

    That of a shard is written here, since its totals depend on what is new to the store.
    """
    parts = job.parts
    if not lease.shard:
        shard = shard_rules.carried(parts.total, lease, batch, job.state, now, until)
        parts.put(0, shard)
        return batch.events
    told = shard_rules.untold(batch.events, parts.total.pulse.milestone)
    dry = dry_shards(conn, parts, batch.found) if job.state is State.RUNNING else set()
    found, skipped = _write(conn, [(lease, batch)], given, dealt=True)
    if dry and found and dry & waiting_shards(conn, parts.no, parts.of):
        gather_due(conn, job.free_shard)
    shard_rules.carry(parts, lease, batch, found, skipped, now)
    shard_rules.renewed(parts, lease, batch, job.state, now, until)
    return told


def _answer(conn: Connection, job: _Job, lease: Lease, batch: Batch, before: Shard) -> Checkpoint:
    """Return the answer to a batch; *before* is its shard as it was stored."""
    share = _share(conn, job, lease, batch) if lease.shard else None
    order = order_of(
        lease, before.attempt, before.worker, job.state, job.version, yields=before.yields
    )
    after = job.shard(lease.shard) or before
    renewed = replace(lease, seq=after.seq, version=job.version)
    return Checkpoint(order=order, lease=renewed, usage=job.parts.total.usage, share=share)


def _share(conn: Connection, job: _Job, lease: Lease, batch: Batch) -> Share:
    """Return the share for the holder of a shard, with its next portion of the limits."""
    parts, no = job.parts, lease.job_no
    if parts.by[lease.shard].worker is None:
        return Share()
    share = parts.grant(lease.shard, job.limits)
    if batch.outcomes or batch.found:
        return share  # it has enough to do
    others = any(n != lease.shard for n, _ in parts.leased())
    stay = others and first_waiting(conn, no, parts.free(), parts.of) is None
    return replace(share, waiting=waits(conn, no), stay=stay)


def _write(
    conn: Connection, written: Sequence[Entry], given: Packed, *, dealt: bool = False
) -> tuple[int, int]:
    """Write targets and pages; return how many found and skipped targets were new to the store.

    With *dealt*, the targets of a spread job are assigned to its shards.
    """

    def row_of(no: int, target: Target, state: TargetState, rule: str) -> dict[str, Any]:
        row = target_row(no, target, state, rule)
        return row | {"bucket": bucket_of(target.host)} if dealt else row

    fresh: list[dict[str, Any]] = []
    shut: list[dict[str, Any]] = []
    closed: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []  # ends of fresh targets
    kept: list[dict[str, Any]] = []
    for lease, batch in written:
        no, ends = lease.job_no, _ends_of(batch.outcomes)
        new = {target.fp for target in batch.found}
        for target in batch.found:
            row = row_of(no, target, TargetState.WAITING, "")
            if (end := ends.get(target.fp)) is not None:
                row |= _end_row(no, end)
            fresh.append(row)
        shut += [row_of(no, s.target, TargetState.SKIPPED, s.rule) for s in batch.skipped]
        for fp, end in ends.items():
            (late if fp in new else closed).append(_end_row(no, end) | {"fp": fp})
        kept += [
            page_row(no, o.target, o.page, o.body_of) for o in batch.outcomes if o.page is not None
        ]
    found, skipped = insert_new(conn, frontier, fresh), insert_new(conn, frontier, shut)
    if found < len(fresh):
        closed += late  # some were known, so their outcomes were not inserted
    if update_rows(conn, frontier, closed, ("job_no", "fp"), only=WAITING) < len(closed):
        # some targets were never reported as found, or were closed before and stay unchanged
        rest = [
            row_of(lease.job_no, end.target, end.state, end.rule)
            for lease, batch in written
            for end in _ends_of(batch.outcomes).values()
        ]
        insert_new(conn, frontier, rest)
    _write_pages(conn, kept, given)
    return found, skipped


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


def _write_pages(conn: Connection, kept: Sequence[dict[str, Any]], given: Packed) -> None:
    """Write page records, and their bodies from *given*."""
    if not given:
        insert_new(conn, pages, kept)
        return
    newest = conn.scalar(select(func.max(pages.c.id))) or 0
    insert_new(conn, pages, kept)
    numbers = {row["job_no"] for row in kept}
    inserted = conn.execute(
        select(pages.c.id, pages.c.job_no, pages.c.fp).where(
            pages.c.job_no.in_(sorted(numbers)), pages.c.id > newest
        )
    )
    rows = [
        {"page_id": page_id, "kind": kind, "data": data}
        for page_id, no, fp in inserted
        for kind, data in given.get((no, fp), {}).items()
    ]
    if rows:
        conn.execute(insert(bodies), rows)


def _write_jobs(conn: Connection, found: Mapping[int, _Job], written: Sequence[Entry]) -> None:
    """Write the shards of jobs, and reduce the losses of jobs with new pages."""
    write_parts(conn, *(job.parts for job in found.values()))
    proven = {
        lease.job_no
        for lease, batch in written
        if batch.pages and found[lease.job_no].losses > LOSSES_KEPT
    }
    if proven:
        conn.execute(update(jobs).where(jobs.c.no.in_(sorted(proven))).values(losses=LOSSES_KEPT))


def _write_lastmods(conn: Connection, written: Sequence[Entry]) -> None:
    """Write how dates in sitemaps proved; hosts of a spread job belong to one shard each."""
    rows = [
        {"job_no": lease.job_no, "host": host, "told": found.told, "missed": found.missed}
        for lease, batch in written
        for host, found in batch.lastmods.items()
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
    asked = {a.lease.job_no for a in answers if a.order in {Order.CHANGED, Order.STOP}}
    if not asked:
        return list(answers)
    rows = conn.execute(standing(jobs.c.no.in_(sorted(asked)))).mappings()
    read = {row["no"]: job_of(row) for row in rows}
    return [
        a if a.order in {Order.GO_ON, Order.LOST} else replace(a, job=read[a.lease.job_no])
        for a in answers
    ]
