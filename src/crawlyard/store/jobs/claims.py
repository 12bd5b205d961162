"""Claims: the next pending job for a worker, and its lease."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from enum import Enum, auto
from functools import cache
from typing import Any, NamedTuple

from msgspec.structs import replace
from sqlalchemy import (
    CTE,
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    RowMapping,
    Select,
    SmallInteger,
    String,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)

from crawlyard.core.jobs.checkpoint import Asker, Claim, Lease
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.db.raw_sqlite import one_row
from crawlyard.store.jobs.job_rows import change, lock_rows, standing
from crawlyard.store.jobs.queue_position import (
    ANY_LIMITED,
    NEEDS_NO_TAGS,
    POSITION,
    find_met_needs,
    find_start_holds,
    may_start,
    read_limited_quotas,
)
from crawlyard.store.jobs.shard_rules import lease_to
from crawlyard.store.jobs.shards import has_no_leased_parts
from crawlyard.store.jobs.spread import begin, is_to_cut
from crawlyard.store.tables.base import CleanText, Instant
from crawlyard.store.tables.jobs import (
    CLAIM_ORDER,
    HELD,
    PENDING,
    PRESENT,
    READY,
    STANDING,
    UNREADY,
    jobs,
    shards,
)

NEAR = 200
"""Number of jobs at the head of the queue to scan before querying the owners one by one."""


_LEVELS = sorted(Priority, reverse=True)


class ClaimKind(NamedTuple):
    """The conditions of a claim. The values they compare with are query parameters."""

    only: bool  # restricted to one job
    least: Priority
    needs: bool  # some pending jobs need tags, and the worker has them
    out: bool  # some users have used up their quota
    waited: bool = False  # restricted to jobs that have waited since a given instant


def claim_conditions(
    conn: Connection, asker: Asker, now: datetime, out: Collection[str]
) -> tuple[ClaimKind, Mapping[str, object]]:
    """Return the conditions of a claim by *asker* that skips owners in *out*, and their values."""
    needs = find_met_needs(conn, asker.tags)
    kind = ClaimKind(asker.only is not None, asker.least, bool(needs), bool(out))
    return kind, {"now": now, "only": asker.only, "needs": needs, "out": list(out)}


def claimable_conditions(kind: ClaimKind) -> list[ColumnElement[bool]]:
    """Return the SQL conditions for claimable jobs, in agreement with `core.jobs.queue.takes`."""
    now = bindparam("now", type_=Instant)
    free = or_(~HELD, shards.c.lease_until <= now)
    filters = [PENDING, PRESENT, jobs.c.due_at <= now, free, has_no_leased_parts(now)]
    if kind.waited:
        waited = bindparam("waited", type_=Instant)
        filters += [jobs.c.since <= waited, jobs.c.due_at <= waited]
    if kind.out:
        filters.append(jobs.c.owner.not_in(_skipped_owners()))
    if kind.only:
        return [*filters, jobs.c.id == bindparam("only", type_=String)]
    if kind.least > Priority.LOW:
        filters.append(_least(kind))
    if kind.needs:
        has_needs = jobs.c.needs.in_(bindparam("needs", type_=CleanText, expanding=True))
        return [*filters, or_(NEEDS_NO_TAGS, has_needs)]
    return [*filters, NEEDS_NO_TAGS]


def first_of_other_owners(
    conn: Connection, kind: ClaimKind, parameters: Mapping[str, object]
) -> int | None:
    """Return the key of the first job in the queue whose owner isn't skipped.

    The skipped owners may have a hundred thousand jobs, all at a higher level than the rest, and
    no claim may walk them all. So only the head of the queue is scanned. If it holds nothing but
    their jobs, the first job of each other owner is looked up, level by level.
    """
    job_no: int | None = conn.scalar(first_near_head(kind), parameters)
    for level in _LEVELS:
        if job_no is not None or level < kind.least:
            break
        heads = conn.scalars(_heads(kind), {**parameters, "level": level.rank}).all()
        # A second statement, by key: in a single statement Postgres would read all jobs.
        mine = jobs.c.no.in_([no for no in heads if no is not None])
        job_no = conn.scalar(select(jobs.c.no).where(mine).order_by(*CLAIM_ORDER).limit(1))
    return job_no


@cache
def first_near_head(kind: ClaimKind) -> Select[int]:
    """Return a query for the first claimable job among the `NEAR` jobs at the head of the queue."""
    there = _marked_condition(kind)
    if kind.least > Priority.LOW:
        there &= _least(kind)
    # No condition on deletion: it leaves SQLite only the indexes of the claim order to choose from.
    ahead = select(jobs.c.no, *POSITION).where(there).order_by(*CLAIM_ORDER).limit(NEAR).subquery()
    level, *rest = (ahead.c[column.name] for column in POSITION)
    return (
        select(ahead.c.no)
        .select_from(STANDING.join(ahead, ahead.c.no == jobs.c.no))
        .where(*claimable_conditions(kind))
        .order_by(level.desc(), *rest)
        .limit(1)
    )


@cache
def _heads(kind: ClaimKind) -> Select[Any]:
    """Return a query for each owner's first claimable job in a level, ``None`` if there is none."""
    owners = _owners()
    own = (
        select(jobs.c.no)
        .select_from(STANDING)
        .where(
            *_of_owner(kind),
            *claimable_conditions(kind._replace(out=False)),
            jobs.c.level == bindparam("level", type_=SmallInteger),
            jobs.c.owner == owners.c.owner,
        )
        .order_by(*CLAIM_ORDER[1:])
        .limit(1)
        .correlate(owners)
        .scalar_subquery()
    )
    return select(own).where(owners.c.owner.not_in(_skipped_owners()))


def _owners() -> CTE:
    """Return the owners of pending jobs.

    A recursive query hops from owner to owner in an index, however many jobs each has.
    """
    other = jobs.alias("other")
    waits = other.c.state == literal_column("'pending'")
    first: Select[Any] = select(func.min(jobs.c.owner).label("owner")).where(PENDING)
    owners = first.cte("owners", recursive=True)
    after = select(func.min(other.c.owner)).where(waits, other.c.owner > owners.c.owner)
    return owners.union_all(select(after.scalar_subquery()).where(owners.c.owner.is_not(None)))


def _marked_condition(kind: ClaimKind) -> ColumnElement[bool]:
    # `preempt` looks at all pending jobs: a worker without a free slot marks no job as due
    return PENDING if kind.waited else READY


def _of_owner(kind: ClaimKind) -> list[ColumnElement[bool]]:
    # Written as `ready + 0` so that no database walks the whole queue for one owner's jobs.
    ready = jobs.c.ready.op("+")(literal_column("0")) == literal_column("1")
    return [PENDING] if kind.waited else [PENDING, ready]


def _least(kind: ClaimKind) -> ColumnElement[bool]:
    return jobs.c.level >= literal_column(str(kind.least.rank))


def _skipped_owners() -> BindParameter[Any]:
    return bindparam("out", type_=CleanText, expanding=True)


PORTION = 500
"""Number of jobs that one claim marks: marking 50,000 that become due at once takes seconds."""

_DUE_UNMARKED = (UNREADY, jobs.c.due_at <= bindparam("now", type_=Instant))
# ORDER BY makes Postgres use the index even when it expects many rows.
ANY_UNMARKED = select(jobs.c.no).where(*_DUE_UNMARKED).order_by(jobs.c.due_at).limit(1)
"""Query for a job that is due but not marked; almost always there is none."""

_DUE = (
    select(jobs.c.no)
    .where(*_DUE_UNMARKED, jobs.c.level == bindparam("of_level", type_=SmallInteger))
    .order_by(jobs.c.due_at)
    .limit(bindparam("rows", type_=Integer))
    # the transaction that has locked a row changes or marks it itself
    .with_for_update(skip_locked=True, key_share=True)
)
# Postgres may run the inner query more than once and mark more jobs, which does no harm.
_MARK_DUE = update(jobs).where(jobs.c.no.in_(_DUE)).values(ready=1)
_SOONEST = select(
    select(jobs.c.no).where(READY).exists(),
    select(jobs.c.due_at).where(UNREADY).order_by(jobs.c.due_at).limit(1).scalar_subquery(),
)


def next_due(conn: Connection) -> tuple[bool, datetime | None]:
    """Return whether a pending job is marked as due, and when the first unmarked job is due."""
    marked, first = conn.execute(_SOONEST).one()
    return bool(marked), first


def mark_due(conn: Connection, now: datetime) -> Priority | None:
    """Mark pending jobs that are due at *now*, up to `PORTION`.

    The highest level comes first, and within a level the jobs that became due first. Return the
    level that may have more due jobs (lower levels have not been searched), ``None`` if all due
    jobs are marked.
    """
    remaining = PORTION
    for level in _LEVELS:
        parameters = {"now": now, "of_level": level.rank, "rows": remaining}
        remaining -= conn.execute(_MARK_DUE, parameters).rowcount
        if remaining <= 0:
            return level
    return None


class ClaimAgain(Enum):
    """The result of a claim that must look at the due jobs once more: the caller claims again."""

    AGAIN = auto()


class Uncut(NamedTuple):
    """The result of a claim whose job gets shards: the caller calls `claim_cut`."""

    job_id: str


class Changed(Exception):
    """A job was claimed or changed while its shards were prepared."""


def claim(
    conn: Connection, asker: Asker, now: datetime, until: datetime, *, last: bool = False
) -> Claim | ClaimAgain | Uncut | None:
    """Lease the first job in the queue for *asker* until *until*.

    Each call marks one portion of the due jobs. While *asker* can take no marked job and the
    same level may hold more due jobs, nothing is leased, so that others can write before the
    next call. The *last* call leases the first job that it finds.
    """
    # Two workers never win the same job: SQLite has one writer at a time, and Postgres
    # skips the rows that another claim has locked. Lock order, to avoid deadlocks: the job, then
    # its owner.
    state = one_row(conn, FIRST_LOOK, {"now": now})
    quotas = read_limited_quotas(conn) if state.limited else {}
    out = find_start_holds(conn, now, quotas)
    kind, parameters = claim_conditions(conn, asker, now, out)
    unmarked_level = mark_due(conn, now) if state.ripe and not kind.only else None
    past = kind.out and not kind.only
    row = _first_past_skipped(conn, kind, parameters) if past else _head(conn, kind, parameters)
    if (
        unmarked_level is not None
        and not last
        and (row is None or row["level"] < unmarked_level.rank)
    ):
        return ClaimAgain.AGAIN
    if row is None:
        return None
    if row["owner"] in quotas and not may_start(conn, row["owner"], now):
        return None if last else ClaimAgain.AGAIN  # a concurrent claim has used up the quota
    job = job_of(row)
    return Uncut(job.id) if is_to_cut(row, job) else take(conn, row, job, asker, now, until)


def claim_cut(
    conn: Connection, job_id: str, asker: Asker, now: datetime, until: datetime
) -> Claim | ClaimAgain:
    """Cut a job into shards and claim it, as `claim` does for other jobs.

    The shards are prepared before the row of the job is locked, as that takes a while.

    Raises:
        Changed: the job was claimed or changed meanwhile; the shards must be rolled back.
    """
    quotas = read_limited_quotas(conn)
    out = find_start_holds(conn, now, quotas)
    kind, parameters = claim_conditions(conn, replace(asker, only=job_id), now, out)
    row = conn.execute(_first(kind), parameters).mappings().first()
    if row is None:
        return ClaimAgain.AGAIN

    def lock() -> None:
        current = conn.execute(_unless_locked(), {"no": row["no"]}).mappings().first()
        if current is None or tuple(current.values()) != tuple(row.values()):
            raise Changed
        if row["owner"] in quotas and not may_start(conn, row["owner"], now):
            raise Changed

    return take(conn, row, job_of(row), asker, now, until, lock)


# EXISTS would drop the ORDER BY and take 25 ms on Postgres with 100,000 jobs due tomorrow.
FIRST_LOOK = select(
    ANY_LIMITED.exists().label("limited"), ANY_UNMARKED.scalar_subquery().label("ripe")
)
"""The first query of a claim: are there quotas to check, and jobs to mark as due?"""


def _head(conn: Connection, kind: ClaimKind, parameters: Mapping[str, object]) -> RowMapping | None:
    return conn.execute(_lock_head(kind), parameters).mappings().first()


def _first_past_skipped(
    conn: Connection, kind: ClaimKind, parameters: Mapping[str, object]
) -> RowMapping | None:
    while (no := first_of_other_owners(conn, kind, parameters)) is not None:
        row = conn.execute(_lock_if_claimable(kind), {**parameters, "no": no}).mappings().first()
        if row is not None:
            return row
        # the transaction that had locked the row has changed it
    return None


@cache
def _lock_head(kind: ClaimKind) -> Select[Any]:
    # cached for each kind: building the query took a third of the time of a claim
    return lock_rows(_first(kind), skip=True)


@cache
def _first(kind: ClaimKind) -> Select[Any]:
    marked = PENDING if kind.only else READY
    return standing(marked, *claimable_conditions(kind)).order_by(*CLAIM_ORDER).limit(1)


@cache
def _lock_if_claimable(kind: ClaimKind) -> Select[Any]:
    return lock_rows(
        standing(jobs.c.no == bindparam("no", type_=BigInteger), *claimable_conditions(kind))
    )


@cache
def _unless_locked() -> Select[Any]:
    return lock_rows(standing(jobs.c.no == bindparam("no", type_=BigInteger)), skip=True)


def take(
    conn: Connection,
    row: RowMapping,
    waiting: Job,
    asker: Asker,
    now: datetime,
    until: datetime,
    lock: Callable[[], None] | None = None,
) -> Claim:
    """Lease the *waiting* job of *row* to *asker* until *until*.

    The row is locked, or *lock* locks it, once the shards of the job are prepared.
    """
    no, whole = row["no"], shard_of(row)
    if is_to_cut(row, waiting):
        part = begin(conn, row, waiting, asker, now, until, lock)
        if isinstance(part, Claim):
            return part
        whole = part
    job, event = waiting.apply_move(Move.CLAIM, now, actor=f"worker:{asker.worker}")
    shard = lease_to(whole, asker.worker, until)
    change(conn, job, event, before=waiting, shard=(no, shard))
    lease = Lease(
        job_id=job.id,
        job_no=no,
        worker=asker.worker,
        attempt=shard.attempt,
        seq=shard.seq,
        version=job.version,
    )
    return Claim(lease=lease, job=job, shard=shard)
