"""A worker that joins a running job: which shards are free, and whose turn is before them."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, exists, select

from crawlyard.core.jobs.checkpoint import Asker, Claim
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.queue import can_run
from crawlyard.store.codec.jobs import job_of, needs_of
from crawlyard.store.db.database import Database
from crawlyard.store.jobs.queue_position import runnable
from crawlyard.store.jobs.quotas import parts_spent
from crawlyard.store.jobs.shard_rules import Parts, takeable, taken
from crawlyard.store.jobs.shard_wakeups import tell_open
from crawlyard.store.jobs.shards import PART, first_waiting, locked_parts, parts_of, write_parts
from crawlyard.store.tables.jobs import (
    CLAIM_ORDER,
    HELD,
    PRESENT,
    READY,
    RUNNING,
    UNREADY,
    jobs,
    shards,
)

JOBS_AT_ONCE = 20
"""Running jobs with a free shard that one statement brings: mostly the first of them will do."""


async def join(
    database: Database, asker: Asker, now: datetime, lease: timedelta, *, in_turn: bool
) -> Claim | None:
    """Lease a free shard of a running job; see `SpreadStore.join`."""
    # mostly there is nothing: that is found out without keeping others from writing
    if not await database.known(is_any_spread):
        return None
    passed: int | None = 0
    while passed is not None:
        look = partial(_open, asker=asker, now=now, in_turn=in_turn, passed=passed)
        found, passed = await database.read(look)
        for no in found:
            work = partial(_join, no=no, asker=asker, now=now, until=now + lease)
            if (claim := await database.write(work)) is not None:
                return claim
    return None


_ANY_SPREAD = select(jobs.c.no).where(RUNNING, PRESENT, jobs.c.spread > 0).limit(1)


def is_any_spread(conn: Connection) -> bool:
    """Tell whether a job runs that is spread."""
    return conn.scalar(_ANY_SPREAD) is not None


def _open(
    conn: Connection, asker: Asker, now: datetime, *, in_turn: bool, passed: int
) -> tuple[list[int], int | None]:
    """Return the running jobs with a free shard that *asker* may take, in the order of claims.

    Those among a few after as many as were *passed*, and how many are passed with them;
    ``None``: there are no more.
    """
    free = exists().where(
        shards.c.job_no == jobs.c.no, PART, shards.c.shard <= jobs.c.spread, ~HELD
    )
    statement = (
        select(jobs.c.no, jobs.c.owner, jobs.c.needs, *_PLACE)
        .where(RUNNING, PRESENT, jobs.c.spread > 0, free)
        .order_by(*CLAIM_ORDER)
        .limit(JOBS_AT_ONCE)
        .offset(passed)
    )
    if asker.only is not None:
        statement = statement.where(jobs.c.id == asker.only)
    else:
        statement = statement.where(jobs.c.level >= int(asker.least))
    rows = conn.execute(statement).all()
    head = _head(conn, asker, now) if rows and in_turn else None
    before = [row for row in rows if head is None or _key(row) < head]
    found = [r.no for r in before if (asker.only or _has(asker, r)) and _may(conn, r, asker, now)]
    return found, passed + JOBS_AT_ONCE if len(before) == JOBS_AT_ONCE else None


_PLACE = (jobs.c.level, jobs.c.turn, jobs.c.queued_at, jobs.c.id)


def _key(row: Row[*tuple[Any, ...]]) -> tuple[int, int, datetime, str]:
    return (-row.level, row.turn, row.queued_at, row.id)


def _head(conn: Connection, asker: Asker, now: datetime) -> tuple[int, int, datetime, str] | None:
    """Return the place of the first job that *asker* could claim instead."""
    mine = runnable(conn, asker.tags) if asker.only is None else jobs.c.id == asker.only
    due = select(*_PLACE).where(PRESENT, jobs.c.due_at <= now, mine)
    # each has an index of its own: what no claim has seen to be due is seldom more than a row
    firsts = (due.where(marked).order_by(*CLAIM_ORDER).limit(1) for marked in (READY, UNREADY))
    rows = [row for first in firsts if (row := conn.execute(first).first()) is not None]
    return min(map(_key, rows), default=None)


def _has(asker: Asker, row: Row[*tuple[Any, ...]]) -> bool:
    return can_run(asker.tags, needs_of(row.needs))


def _may(conn: Connection, row: Row[*tuple[Any, ...]], asker: Asker, now: datetime) -> bool:
    """Tell whether the owner's quota allows it, and something waits in a shard that is free."""
    if row.owner in parts_spent(conn, now):
        return False
    of = conn.scalar(select(jobs.c.spread).where(jobs.c.no == row.no)) or 0
    parts = parts_of(conn, row.no, of)
    return first_waiting(conn, row.no, takeable(parts, asker.worker, now), of) is not None


def _join(conn: Connection, no: int, asker: Asker, now: datetime, until: datetime) -> Claim | None:
    found = locked_parts(conn, no)
    if found is None or State(found[0]["state"]) is not State.RUNNING:
        return None
    row, parts = found
    claim = _first(conn, job_of(row), parts, asker.worker, now, until)
    if claim is not None:
        tell_open(conn, row, parts)  # one for each: who joins goes on to no other yet
    return claim


def _first(
    conn: Connection, job: Job, parts: Parts, worker: str, now: datetime, until: datetime
) -> Claim | None:
    """Lease the first free shard that has something waiting."""
    number = first_waiting(conn, parts.no, takeable(parts, worker, now), parts.of)
    if number is None:
        return None
    claim = taken(parts, number, job, worker, until)
    write_parts(conn, parts)
    return claim
