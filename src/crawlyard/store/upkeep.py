"""Upkeep: find what has expired and free its space in small transactions."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    and_,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    type_coerce,
)

from crawlyard.core.jobs.job import Job
from crawlyard.core.purge_result import PurgeResult
from crawlyard.core.schedules.schedule import TickOutcome
from crawlyard.errors import StoreFull
from crawlyard.store.access.usage import add_up_usage
from crawlyard.store.codec.jobs import job_of
from crawlyard.store.crawl.purge import fold, purge
from crawlyard.store.db.database import StorePart, is_postgres, reads, write_freeing_space
from crawlyard.store.events.numbering import number
from crawlyard.store.jobs.counts import is_consistent, repair, sum_up
from crawlyard.store.tables.base import Instant
from crawlyard.store.tables.jobs import AUDITED, ENDED, HELD_BACK, PRESENT, events, jobs
from crawlyard.store.tables.schedules import ticks
from crawlyard.store.tables.webhooks import UNDELIVERED, cursors, deliveries, webhooks

_LOCK_WAITS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class UpkeepStore(StorePart):
    """Finds what has expired and frees its space in small transactions."""

    @reads
    def server_time(self, conn: Connection) -> datetime:
        """Read the clock of the database server (Postgres only)."""
        server_now: datetime = conn.scalars(select(func.clock_timestamp())).one()
        return server_now

    @reads
    def lock_waits(self, conn: Connection) -> int | None:
        """Return the number of sessions that wait for a lock, ``None`` on SQLite."""
        return conn.scalar(_LOCK_WAITS) if is_postgres(conn) else None

    @reads
    def find_expired(
        self, conn: Connection, now: datetime, retention: timedelta | None, limit: int
    ) -> list[Job]:
        """Return at most *limit* ended jobs whose retention is over, earliest ended first.

        *retention* applies to jobs whose spec has none; ``None`` keeps those forever.
        """
        # both as microseconds: SQLAlchemy has no type for an instant plus a duration
        ended_at, retention_us = (
            type_coerce(c, BigInteger) for c in (jobs.c.ended_at, jobs.c.retention)
        )
        is_over = ended_at + retention_us <= literal(now, Instant)
        is_expired = and_(jobs.c.retention.is_not(None), is_over)
        if retention is not None:
            by_default = and_(jobs.c.retention.is_(None), jobs.c.ended_at <= now - retention)
            is_expired = or_(is_expired, by_default)
        expired = select(jobs).where(ENDED, jobs.c.ended_at <= now, is_expired)
        rows = conn.execute(expired.order_by(jobs.c.ended_at, jobs.c.id).limit(limit)).mappings()
        return [job_of(row) for row in rows]

    @reads
    def find_paused(
        self, conn: Connection, before: datetime, limit: int, after: Job | None = None
    ) -> list[Job]:
        """Return at most *limit* jobs paused at or before *before*, earliest first.

        With *after*, only jobs that follow that one in this order.
        """
        since, id_ = jobs.c.since, jobs.c.id
        paused = select(jobs).where(HELD_BACK, PRESENT, since <= before)
        if after is not None:
            behind = or_(since > after.since, id_ > after.id)
            paused = paused.where(since >= after.since, behind)
        rows = conn.execute(paused.order_by(since, id_).limit(limit)).mappings()
        return [job_of(row) for row in rows]

    async def forget(
        self, before: datetime, rows: int = 1000, *, audited_before: datetime | None = None
    ) -> int:
        """Delete up to *rows* events, deliveries and ticks older than *before*; return how many.

        Events of the audit log are kept if they are not older than *audited_before* as well.
        Kept are deliveries that still wait and their events, ticks that wait for their run and,
        while a webhook is active, events that `DeliveryStore.fan_out` has not processed. The newest
        event is always kept: readers continue from its seq.
        """
        await self._database.read_cached(number)  # so that unread events are deleted as well
        work = partial(_forget, before=before, rows=rows, audited=audited_before or before)
        return await write_freeing_space(self._database, work)

    async def tidy(self) -> None:
        """Sum up usage and job counts, and correct these if other SQL changed jobs."""
        for steps in (sum_up, add_up_usage):
            while await self._database.write(steps):
                pass
        # checked in a read: on SQLite, a write transaction would block writers for a second
        if not await self._database.read(is_consistent):
            await self._database.write(repair)

    async def purge(self, rows: int = 1000) -> PurgeResult:
        """Delete up to *rows* rows of deleted jobs, or return free space to the disk.

        Fewer rows are deleted if they are large. Return what was freed: empty when all is done.
        The webhooks of a job are deleted with it. Its events stay: readers that continue
        from their last seq may not have read them yet.
        """
        smaller = partial(purge, rows=max(1, rows // 10))  # which needs less of the log
        freed = await write_freeing_space(
            self._database, partial(purge, rows=rows), on_full=smaller
        )
        if not freed and (file := await self._database.read(_file)) is not None:
            with suppress(StoreFull):  # the reserve is for deletions
                await self._database.compute(partial(fold, file))
        return freed

    async def keep_reserve(self) -> None:
        """Create the reserve of a SQLite file, unless it exists or the disk lacks space for it."""
        if (reserve := self._database.reserve) is not None:
            await self._database.compute(reserve.make)

    @reads
    def size(self, conn: Connection) -> int:
        """Return the size of the database in bytes, for SQLite with its write-ahead log."""
        if is_postgres(conn):
            return conn.scalar(select(func.pg_database_size(func.current_database()))) or 0
        file = _file(conn)
        if file is None:
            size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            return int(conn.exec_driver_sql(size).scalar_one())
        parts = (file, file.with_name(f"{file.name}-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())


def _file(conn: Connection) -> Path | None:
    """Return the file of a SQLite database, ``None`` for one in memory or on Postgres."""
    if is_postgres(conn):
        return None
    named = "SELECT file FROM pragma_database_list WHERE name = 'main'"
    file = conn.exec_driver_sql(named).scalar_one()
    return Path(file) if file else None


def _forget(conn: Connection, before: datetime, rows: int, audited: datetime) -> int:
    remaining = rows
    remaining -= _deliveries(conn, before, remaining)
    remaining -= _ticks(conn, before, remaining)
    remaining -= _events(conn, before, remaining, audited)
    return rows - remaining


def _deliveries(conn: Connection, before: datetime, most: int) -> int:
    old = (
        select(deliveries.c.no)
        .where(deliveries.c.created_at < before, ~UNDELIVERED)
        .order_by(deliveries.c.created_at)
        .limit(most)
    )
    return _delete(conn, deliveries.c.no, keys=conn.scalars(old).all())


def _ticks(conn: Connection, before: datetime, most: int) -> int:
    key = tuple_(ticks.c.schedule_id, ticks.c.due_at)
    old = (
        select(ticks.c.schedule_id, ticks.c.due_at)
        .where(ticks.c.decided_at < before, ticks.c.outcome != TickOutcome.WAITING.value)
        .order_by(ticks.c.decided_at)
        .limit(most)
    )
    keys = [tuple(row) for row in conn.execute(old)]
    return conn.execute(delete(ticks).where(key.in_(keys))).rowcount if keys else 0


def _events(conn: Connection, before: datetime, most: int, audited: datetime) -> int:
    waits = select(deliveries.c.seq).where(UNDELIVERED)
    newest = select(func.max(events.c.seq)).scalar_subquery()
    has_active_webhook = select(webhooks.c.id).where(webhooks.c.active).exists()
    # while a webhook is active, events that were not fanned out yet stay
    processed_seq = conn.scalar(select(cursors.c.seq)) or 0
    # Reads the first events by seq and deletes the old ones among them: events are numbered in
    # the order of time, which saves an index by time.
    first = (
        select(events.c.seq, events.c.at)
        .where(
            events.c.seq.not_in(waits),
            events.c.seq < newest,
            or_(~AUDITED, events.c.at < audited),
            or_(~has_active_webhook, events.c.seq <= processed_seq),
        )
        .order_by(events.c.seq)
        .limit(most)
    )
    return _delete(conn, events.c.seq, keys=[s for s, at in conn.execute(first) if at < before])


def _delete(conn: Connection, key: Column[int], keys: Sequence[int]) -> int:
    """Delete rows by their keys; return how many were still there."""
    return conn.execute(delete(key.table).where(key.in_(keys))).rowcount if keys else 0
