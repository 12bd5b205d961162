"""Shard claims: a worker joins a running job by leasing one of its free shards."""

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
"""Number of running jobs with a free shard that one statement reads: usually the first fits."""


async def join(
    database: Database, asker: Asker, now: datetime, lease: timedelta, *, in_turn: bool
) -> Claim | None:
    """Lease a free shard of a running job; see `SpreadStore.join`."""
    # Usually there is nothing to join: find that out without blocking writers.
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
    """Return whether a job that is spread over shards is running."""
    return conn.scalar(_ANY_SPREAD) is not None


def _open(
    conn: Connection, asker: Asker, now: datetime, *, in_turn: bool, passed: int
) -> tuple[list[int], int | None]:
    """Return the running jobs with a free shard that *asker* may take, in claim order.

    Reads `JOBS_AT_ONCE` jobs after the first *passed* ones. Also return the next value for
    *passed*, ``None`` if there are no more jobs.
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
        statement = statement.where(jobs.c.level >= asker.least.rank)
    rows = conn.execute(statement).all()
    head = _head(conn, asker, now) if rows and in_turn else None
    before = [row for row in rows if head is None or _key(row) < head]
    found = [r.no for r in before if (asker.only or _has(asker, r)) and _may(conn, r, asker, now)]
    return found, passed + JOBS_AT_ONCE if len(before) == JOBS_AT_ONCE else None


_PLACE = (jobs.c.level, jobs.c.turn, jobs.c.queued_at, jobs.c.id)


def _key(row: Row[*tuple[Any, ...]]) -> tuple[int, int, datetime, str]:
    return (-row.level, row.turn, row.queued_at, row.id)


def _head(conn: Connection, asker: Asker, now: datetime) -> tuple[int, int, datetime, str] | None:
    """Return the queue position of the first job that *asker* could claim instead."""
    mine = runnable(conn, asker.tags) if asker.only is None else jobs.c.id == asker.only
    due = select(*_PLACE).where(PRESENT, jobs.c.due_at <= now, mine)
    # READY and UNREADY each have an index; due jobs not marked yet are seldom more than one row
    firsts = (due.where(marked).order_by(*CLAIM_ORDER).limit(1) for marked in (READY, UNREADY))
    rows = [row for first in firsts if (row := conn.execute(first).first()) is not None]
    return min(map(_key, rows), default=None)


def _has(asker: Asker, row: Row[*tuple[Any, ...]]) -> bool:
    return can_run(asker.tags, needs_of(row.needs))


def _may(conn: Connection, row: Row[*tuple[Any, ...]], asker: Asker, now: datetime) -> bool:
    """Return whether the owner's quota allows it and a free shard has waiting targets."""
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
        tell_open(conn, row, parts)  # wake another worker: this one takes no second shard yet
    return claim


def _first(
    conn: Connection, job: Job, parts: Parts, worker: str, now: datetime, until: datetime
) -> Claim | None:
    """Lease the first free shard that has waiting targets; ``None`` if there is none."""
    number = first_waiting(conn, parts.no, takeable(parts, worker, now), parts.of)
    if number is None:
        return None
    claim = taken(parts, number, job, worker, until)
    write_parts(conn, parts)
    return claim
