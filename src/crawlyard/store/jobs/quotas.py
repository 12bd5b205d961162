"""Quotas at claim time: the users whose jobs are skipped because their quota is used up."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, select

from crawlyard.core.access.user import day_of, held_back, spent
from crawlyard.core.jobs.limits import Usage
from crawlyard.store.codec.records import quota_of
from crawlyard.store.db.database import is_postgres
from crawlyard.store.tables.access import LIMITED, days, users
from crawlyard.store.tables.jobs import PRESENT, RUNNING, jobs

# "CYqu". Any number works that no other advisory lock on the database uses.
_QUOTAS_LOCK = 0x43597175

ANY_LIMITED = select(users.c.id).where(LIMITED).limit(1)
"""Query for a user with a quota that claims must check."""

_USED = (days.c.pages, days.c.bytes, days.c.errors)


def users_held_back(conn: Connection, now: datetime) -> list[str]:
    """Return the users whose jobs must not start; holds until the transaction ends."""
    if conn.scalar(ANY_LIMITED) is None:
        return []
    if is_postgres(conn):
        # Otherwise two concurrent claims count the same running jobs, and both add one. The lock
        # costs little: claims wait for each other at their end anyway, to add their events.
        conn.execute(select(func.pg_advisory_xact_lock(_QUOTAS_LOCK)))
    return sorted(parts_held_back(conn, now))


def parts_held_back(conn: Connection, now: datetime) -> Mapping[str, str]:
    """Return, by user, the part of their quota that keeps their jobs from starting."""
    found = conn.execute(select(users.c.id, users.c.quota).where(LIMITED)).mappings()
    quotas = {row["id"]: quota_of(row) for row in found}
    if not quotas:
        return {}
    theirs = select(users.c.id).where(LIMITED)
    # of all owners: restricted to some, SQLite would read all jobs that these ever had
    owners = select(jobs.c.owner).where(RUNNING, PRESENT)
    fetched = select(days.c.owner, *_USED).where(
        days.c.day == day_of(now), days.c.owner.in_(theirs)
    )
    running = Counter(conn.scalars(owners))
    today = {row["owner"]: _usage(row) for row in conn.execute(fetched).mappings()}
    parts = {
        user_id: held_back(quota, running[user_id], today.get(user_id, Usage()))
        for user_id, quota in quotas.items()
    }
    return {user_id: part for user_id, part in parts.items() if part is not None}


def parts_spent(conn: Connection, now: datetime) -> Mapping[str, str]:
    """Return, by user, the part of their quota that is used up for the day."""
    used = (
        select(users.c.id, users.c.quota, *_USED)
        .join(days, (days.c.owner == users.c.id) & (days.c.day == day_of(now)))
        .where(LIMITED)
    )
    rows = conn.execute(used).mappings()
    parts = {row["id"]: spent(quota_of(row), _usage(row)) for row in rows}
    return {user_id: part for user_id, part in parts.items() if part is not None}


def _usage(row: RowMapping) -> Usage:
    return Usage(pages=row["pages"], bytes=row["bytes"], errors=row["errors"])
