"""Claim candidates: the jobs a worker may claim, and the first one when some owners are skipped."""

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
"""Number of jobs at the head of the queue to scan before querying the owners one by one."""

_PLACE = (jobs.c.level, jobs.c.turn, jobs.c.queued_at, jobs.c.id)

LEVELS = sorted(Priority, reverse=True)


class ClaimKind(NamedTuple):
    """The conditions of a claim. The values they compare with are query parameters."""

    only: bool  # restricted to one job
    least: Priority
    needs: bool  # some pending jobs need tags, and the worker has them
    out: bool  # some users have used up their quota
    waited: bool = False  # restricted to jobs that have waited since a given instant


def asked_by(
    conn: Connection, asker: Asker, now: datetime, out: Collection[str]
) -> tuple[ClaimKind, Mapping[str, object]]:
    """Return the conditions of a claim by *asker* that skips owners in *out*, and their values."""
    needs = met(conn, asker.tags)
    kind = ClaimKind(asker.only is not None, asker.least, bool(needs), bool(out))
    return kind, {"now": now, "only": asker.only, "needs": needs, "out": list(out)}


def on_offer(kind: ClaimKind) -> list[ColumnElement[bool]]:
    """Return the SQL conditions for claimable jobs, in agreement with `core.jobs.queue.takes`."""
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
    """Return the key of the first job in the queue whose owner isn't skipped.

    The skipped owners may have a hundred thousand jobs, all at a higher level than the rest, and
    no claim may walk them all. So only the head of the queue is scanned. If it holds nothing but
    their jobs, the first job of each other owner is looked up, level by level.
    """
    found: int | None = conn.scalar(near(kind), given)
    for level in LEVELS:
        if found is not None or level < kind.least:
            break
        heads = conn.scalars(_heads(kind), {**given, "level": level.rank}).all()
        # A second statement, by key: in a single statement Postgres would read all jobs.
        mine = jobs.c.no.in_([no for no in heads if no is not None])
        found = conn.scalar(select(jobs.c.no).where(mine).order_by(*CLAIM_ORDER).limit(1))
    return found


@cache
def near(kind: ClaimKind) -> Select[int]:
    """Return a query for the first claimable job among the `NEAR` jobs at the head of the queue."""
    there = _marked(kind)
    if kind.least > Priority.LOW:
        there &= _least(kind)
    # No condition on deletion: it leaves SQLite only the indexes of the claim order to choose from.
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
    """Return a query for each owner's first claimable job in a level, ``None`` if there is none."""
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
    """Return the owners of pending jobs.

    A recursive query hops from owner to owner in an index, however many jobs each has.
    """
    other = jobs.alias("other")
    waits = other.c.state == literal_column("'pending'")
    first: Select[Any] = select(func.min(jobs.c.owner).label("owner")).where(PENDING)
    found = first.cte("owners", recursive=True)
    after = select(func.min(other.c.owner)).where(waits, other.c.owner > found.c.owner)
    return found.union_all(select(after.scalar_subquery()).where(found.c.owner.is_not(None)))


def _marked(kind: ClaimKind) -> ColumnElement[bool]:
    # `preempt` looks at all pending jobs: a worker without a free slot marks no job as due
    return PENDING if kind.waited else READY


def _of_owner(kind: ClaimKind) -> list[ColumnElement[bool]]:
    # Written as `ready + 0` so that no database walks the whole queue for one owner's jobs.
    ready = jobs.c.ready.op("+")(literal_column("0")) == literal_column("1")
    return [PENDING] if kind.waited else [PENDING, ready]


def _least(kind: ClaimKind) -> ColumnElement[bool]:
    return jobs.c.level >= literal_column(str(kind.least.rank))


def _out() -> BindParameter[Any]:
    return bindparam("out", type_=CleanText, expanding=True)
