"""Demand: slots that due work is waiting for."""

from datetime import datetime

from sqlalchemy import Connection, String, case, func, literal, select

from crawlyard.store.jobs.leases import UNLEASED
from crawlyard.store.jobs.queue_position import NEEDS_NO_TAGS, find_spent_parts, find_start_room
from crawlyard.store.jobs.shards import count_free_shards
from crawlyard.store.tables.jobs import (
    HELD,
    PRESENT,
    READY,
    RUNNING,
    STANDING,
    UNREADY,
    jobs,
    shards,
)


def count_wanted_slots(conn: Connection, now: datetime) -> int:
    """Return how many slots due work is waiting for; see `QueueStore.wanted_slots`."""
    spent = sorted(find_spent_parts(conn, now))
    free_shards = count_free_shards(conn, NEEDS_NO_TAGS, jobs.c.owner.not_in(spent))
    return _count_due(conn, now) + free_shards + _count_lost(conn, now)


def _count_due(conn: Connection, now: datetime) -> int:
    """Return how many pending jobs may start now."""
    room = find_start_room(conn, now)
    owner = case((jobs.c.owner.in_(sorted(room)), jobs.c.owner), else_=literal("", String))
    # two parts, each with its index: neither reads the jobs that are due later
    ready, unready = (
        select(owner.label("owner")).where(part, PRESENT, NEEDS_NO_TAGS, jobs.c.due_at <= now)
        for part in (READY, UNREADY)
    )
    due = ready.union_all(unready).subquery()
    counts = conn.execute(select(due.c.owner, func.count()).group_by(due.c.owner))
    at_most = {user_id: most for user_id, most in room.items() if most is not None}
    return sum(min(count, at_most.get(user_id, count)) for user_id, count in counts)


def _count_lost(conn: Connection, now: datetime) -> int:
    """Return how many running jobs, or shards of these, have lost their worker."""
    running = (RUNNING, PRESENT, NEEDS_NO_TAGS)
    lapsed = select(shards.c.job_no).join(jobs, jobs.c.no == shards.c.job_no)
    lapsed = lapsed.where(HELD, shards.c.lease_until <= now, *running)
    unleased = select(jobs.c.no).select_from(STANDING).where(UNLEASED, *running)
    lost = lapsed.union_all(unleased).subquery()
    return conn.scalar(select(func.count()).select_from(lost)) or 0
