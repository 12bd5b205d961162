"""What both webhooks and deliveries do with a webhook's row, and with what waits for it."""

from datetime import datetime
from functools import partial

from sqlalchemy import Connection, delete, select, update

from crawlyard.core.webhooks.webhook import DeliveryState, Webhook
from crawlyard.store.codec.webhooks import webhook_of
from crawlyard.store.db.database import Database
from crawlyard.store.tables.webhooks import UNDELIVERED, deliveries, webhooks

AT_ONCE = 1000
"""Deliveries that one transaction gives up or deletes: 10 ms on SQLite."""


def locked(conn: Connection, webhook_id: str, *, to_delete: bool = False) -> Webhook | None:
    """Return a webhook, which nobody else changes until the transaction ends.

    Whoever changes its deliveries as well locks it first. Only *to_delete* it keeps new
    ones from being made.
    """
    mine = select(webhooks).where(webhooks.c.id == webhook_id)
    row = conn.execute(mine.with_for_update(key_share=not to_delete)).mappings().first()
    return None if row is None else webhook_of(row)


def give_up(conn: Connection, webhook_id: str, at: datetime) -> bool:
    """Let deliveries that wait for a webhook have failed; tell whether there may be more."""
    waiting = select(deliveries.c.no).where(deliveries.c.webhook_id == webhook_id, UNDELIVERED)
    given_up = conn.execute(
        update(deliveries)
        .where(deliveries.c.no.in_(waiting.order_by(deliveries.c.no).limit(AT_ONCE)))
        .values(state=DeliveryState.FAILED.value, ended_at=at, leased_until=None)
    )
    return given_up.rowcount == AT_ONCE


def drop(conn: Connection, webhook_id: str) -> bool:
    """Delete deliveries of a webhook; tell whether there may be more."""
    own = select(deliveries.c.no).where(deliveries.c.webhook_id == webhook_id)
    first = own.order_by(deliveries.c.no).limit(AT_ONCE)
    dropped = conn.execute(delete(deliveries).where(deliveries.c.no.in_(first)))
    return dropped.rowcount == AT_ONCE


async def give_up_all(database: Database, webhook_id: str, at: datetime) -> None:
    """Let all that waits for a webhook that is switched off have failed, in small steps."""
    step = partial(_give_up_if_off, webhook_id=webhook_id, at=at)
    while await database.write(step):
        pass


def _give_up_if_off(conn: Connection, webhook_id: str, at: datetime) -> bool:
    """Give up some of what waits for a webhook; tell whether there may be more."""
    webhook = locked(conn, webhook_id)
    # switched on meanwhile: whoever did that has given up the rest
    off = webhook is not None and not webhook.active
    return off and give_up(conn, webhook_id, at)
