"""Marking of jobs that have become due since they were written, so that claims find them.

Due jobs can't be indexed directly, as that depends on the current time. With a hundred thousand
jobs due tomorrow, a claim that skipped each of them took 270 ms on SQLite and 40 ms on Postgres.
"""

from datetime import datetime

from sqlalchemy import Connection, Integer, SmallInteger, bindparam, select, update

from crawlyard.core.jobs.priority import Priority
from crawlyard.store.tables.base import Instant
from crawlyard.store.tables.jobs import READY, UNREADY, jobs

PORTION = 500
"""Number of jobs that one claim marks: marking 50,000 that become due at once takes seconds."""

_LEVELS = sorted(Priority, reverse=True)
_RIPE = (UNREADY, jobs.c.due_at <= bindparam("now", type_=Instant))
# ORDER BY makes Postgres use the index even when it expects many rows.
ANY_RIPE = select(jobs.c.no).where(*_RIPE).order_by(jobs.c.due_at).limit(1)
"""Query for a job that is due but not marked; almost always there is none."""

_DUE = (
    select(jobs.c.no)
    .where(*_RIPE, jobs.c.level == bindparam("of_level", type_=SmallInteger))
    .order_by(jobs.c.due_at)
    .limit(bindparam("rows", type_=Integer))
    # the transaction that has locked a row changes or marks it itself
    .with_for_update(skip_locked=True, key_share=True)
)
# Postgres may run the inner query more than once and mark more jobs, which does no harm.
_RIPEN = update(jobs).where(jobs.c.no.in_(_DUE)).values(ready=1)
_SOONEST = select(
    select(jobs.c.no).where(READY).exists(),
    select(jobs.c.due_at).where(UNREADY).order_by(jobs.c.due_at).limit(1).scalar_subquery(),
)


def soonest(conn: Connection) -> tuple[bool, datetime | None]:
    """Return whether a pending job is marked as due, and when the first of the others is due."""
    marked, first = conn.execute(_SOONEST).one()
    return bool(marked), first


def ripen(conn: Connection, now: datetime) -> Priority | None:
    """Mark pending jobs that are due at *now*, up to `PORTION`.

    The highest level comes first, and within a level the jobs that became due first. Return the
    level that may have more due jobs (lower levels have not been searched), ``None`` if all due
    jobs are marked.
    """
    room = PORTION
    for level in _LEVELS:
        given = {"now": now, "of_level": level.rank, "rows": room}
        room -= conn.execute(_RIPEN, given).rowcount
        if room <= 0:
            return level
    return None
