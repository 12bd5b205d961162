"""Deletion of old events, webhook deliveries and schedule ticks."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, Connection, delete, func, or_, select, tuple_

from crawlyard.core.schedules.schedule import TickOutcome
from crawlyard.store.tables.jobs import events
from crawlyard.store.tables.schedules import ticks
from crawlyard.store.tables.webhooks import UNDELIVERED, cursors, deliveries, webhooks


def forget(conn: Connection, before: datetime, rows: int) -> int:
    """Delete up to *rows* deliveries, ticks and events older than *before*; return how many."""
    left = rows
    left -= _deliveries(conn, before, left)
    left -= _ticks(conn, before, left)
    left -= _events(conn, before, left)
    return rows - left


def _deliveries(conn: Connection, before: datetime, most: int) -> int:
    old = (
        select(deliveries.c.no)
        .where(deliveries.c.created_at < before, ~UNDELIVERED)
        .order_by(deliveries.c.created_at)
        .limit(most)
    )
    return _delete(conn, deliveries.c.no, gone=conn.scalars(old).all())


def _ticks(conn: Connection, before: datetime, most: int) -> int:
    key = tuple_(ticks.c.schedule_id, ticks.c.due_at)
    old = (
        select(ticks.c.schedule_id, ticks.c.due_at)
        .where(ticks.c.decided_at < before, ticks.c.outcome != TickOutcome.WAITING.value)
        .order_by(ticks.c.decided_at)
        .limit(most)
    )
    gone = [tuple(row) for row in conn.execute(old)]
    return conn.execute(delete(ticks).where(key.in_(gone))).rowcount if gone else 0


def _events(conn: Connection, before: datetime, most: int) -> int:
    waits = select(deliveries.c.seq).where(UNDELIVERED)
    newest = select(func.max(events.c.seq)).scalar_subquery()
    heard = select(webhooks.c.id).where(webhooks.c.active).exists()
    # while a webhook is active, events that were not fanned out yet stay
    seen = conn.scalar(select(cursors.c.seq)) or 0
    # Reads the first events by seq and deletes the old ones among them: events are numbered in
    # the order of time, which saves an index by time.
    first = (
        select(events.c.seq, events.c.at)
        .where(events.c.seq.not_in(waits), events.c.seq < newest, or_(~heard, events.c.seq <= seen))
        .order_by(events.c.seq)
        .limit(most)
    )
    return _delete(conn, events.c.seq, gone=[s for s, at in conn.execute(first) if at < before])


def _delete(conn: Connection, key: Column[int], gone: Sequence[int]) -> int:
    """Delete rows by their keys; return how many were still there."""
    return conn.execute(delete(key.table).where(key.in_(gone))).rowcount if gone else 0
