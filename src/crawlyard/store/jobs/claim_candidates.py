"""Which jobs a worker may claim, and the first of them while owners are passed over."""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    SmallInteger,
    String,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.priority import Priority
from crawlyard.store.jobs.job_rows import STANDING
from crawlyard.store.jobs.queue_position import UNNEEDY, met
from crawlyard.store.jobs.shards import untouched
from crawlyard.store.tables.base import CleanText, Instant
from crawlyard.store.tables.jobs import CLAIM_ORDER, HELD, PENDING, PRESENT, READY, jobs, shards

NEAR = 200
"""Jobs at the head of the queue that are looked at before the owners are asked one by one."""

_PLACE = (jobs.c.level, jobs.c.turn, jobs.c.queued_at, jobs.c.id)

LEVELS = sorted(Priority, reverse=True)


class ClaimKind(NamedTuple):
    """Which conditions a claim has; what they compare with is given to the query."""

    only: bool  # one job alone
    least: Priority
    needs: bool  # there are jobs that need tags which the worker has
    out: bool  # there are users whose quota is used up
    waited: bool = False  # since an instant at least


def asked_by(
    conn: Connection, asker: Asker, now: datetime, out: Collection[str]
) -> tuple[ClaimKind, Mapping[str, object]]:
    """Return which conditions *asker* makes, owners in *out* passed over, and their values."""
    needs = met(conn, asker.tags)
    kind = ClaimKind(asker.only is not None, asker.least, bool(needs), bool(out))
    return kind, {"now": now, "only": asker.only, "needs": needs, "out": list(out)}


def on_offer(kind: ClaimKind) -> list[ColumnElement[bool]]:
    """Return the conditions that a job may be claimed, as `core.queue.takes` says."""
    now = bindparam("now", type_=Instant)
    free = or_(~HELD, shards.c.lease_until <= now)
    asked = [PENDING, PRESENT, jobs.c.due_at <= now, free, untouched(now)]
    if kind.waited:
        waited = bindparam("waited", type_=Instant)
        asked += [jobs.c.since <= waited, jobs.c.due_at <= waited]
    if kind.out:
        asked.append(jobs.c.owner.not_in(_out()))
    if kind.only:
        return [*asked, jobs.c.id == bindparam("only", type_=String)]
    if kind.least > Priority.LOW:
        asked.append(_least(kind))
    if kind.needs:
        had = jobs.c.needs.in_(bindparam("needs", type_=CleanText, expanding=True))
        return [*asked, or_(UNNEEDY, had)]
    return [*asked, UNNEEDY]


def first_of_others(conn: Connection, kind: ClaimKind, given: Mapping[str, object]) -> int | None:
    """Return the key of the job that is first in line while owners are passed over.

    The jobs of those may be a hundred thousand, and of a higher level than all the rest: no
    claim may walk them all. So only the head of the queue is looked through. If it is all
    theirs, each other owner is asked for his first job, level by level.
    """
    found: int | None = conn.scalar(near(kind), given)
    for level in LEVELS:
        if found is not None or level < kind.least:
            break
        heads = conn.scalars(_heads(kind), {**given, "level": int(level)}).all()
        # by their keys: in one statement with them, Postgres would read all jobs
        mine = jobs.c.no.in_([no for no in heads if no is not None])
        found = conn.scalar(select(jobs.c.no).where(mine).order_by(*CLAIM_ORDER).limit(1))
    return found


@cache
def near(kind: ClaimKind) -> Select[int]:
    """Return a query for the first job that may be claimed among those at the head of the queue."""
    there = _marked(kind)
    if kind.least > Priority.LOW:
        there &= _least(kind)
    # deleted or not: of SQLite's indexes, only those of the order are left to choose from
    ahead = select(jobs.c.no, *_PLACE).where(there).order_by(*CLAIM_ORDER).limit(NEAR).subquery()
    level, *rest = (ahead.c[column.name] for column in _PLACE)
    return (
        select(ahead.c.no)
        .select_from(STANDING.join(ahead, ahead.c.no == jobs.c.no))
        .where(*on_offer(kind))
        .order_by(level.desc(), *rest)
        .limit(1)
    )


@cache
def _heads(kind: ClaimKind) -> Select[Any]:
    """Return a query for the first job of each owner in a level, ``None`` where there is none."""
    owners = _owners()
    own = (
        select(jobs.c.no)
        .select_from(STANDING)
        .where(
            *_of_owner(kind),
            *on_offer(kind._replace(out=False)),
            jobs.c.level == bindparam("level", type_=SmallInteger),
            jobs.c.owner == owners.c.owner,
        )
        .order_by(*CLAIM_ORDER[1:])
        .limit(1)
        .correlate(owners)
        .scalar_subquery()
    )
    return select(own).where(owners.c.owner.not_in(_out()))


def _owners() -> CTE:
    """Return the owners of jobs that wait: from one to the next in an index, however many jobs."""
    other = jobs.alias("other")
    waits = other.c.state == literal_column("'pending'")
    first: Select[Any] = select(func.min(jobs.c.owner).label("owner")).where(PENDING)
    found = first.cte("owners", recursive=True)
    after = select(func.min(other.c.owner)).where(waits, other.c.owner > found.c.owner)
    return found.union_all(select(after.scalar_subquery()).where(found.c.owner.is_not(None)))


def _marked(kind: ClaimKind) -> ColumnElement[bool]:
    # a worker without a free slot marks no job as due: `preempt` looks at all that wait
    return PENDING if kind.waited else READY


def _of_owner(kind: ClaimKind) -> list[ColumnElement[bool]]:
    # spelled so that no database goes along the whole queue for the jobs of one owner
    ready = jobs.c.ready.op("+")(literal_column("0")) == literal_column("1")
    return [PENDING] if kind.waited else [PENDING, ready]


def _least(kind: ClaimKind) -> ColumnElement[bool]:
    return jobs.c.level >= literal_column(str(int(kind.least)))


def _out() -> BindParameter[Any]:
    return bindparam("out", type_=CleanText, expanding=True)
