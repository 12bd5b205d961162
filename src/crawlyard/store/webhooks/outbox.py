"""Outbox helpers: lock a webhook, and give up or delete its deliveries."""

from datetime import datetime
from functools import partial

from sqlalchemy import Connection, delete, select, update

from crawlyard.core.webhooks.webhook import DeliveryState, Webhook
from crawlyard.store.codec.records import WEBHOOKS
from crawlyard.store.db.database import Database
from crawlyard.store.tables.webhooks import UNDELIVERED, deliveries, webhooks

AT_ONCE = 1000
"""Number of deliveries that one transaction gives up or deletes: 10 ms on SQLite."""


def locked(conn: Connection, webhook_id: str, *, to_delete: bool = False) -> Webhook | None:
    """Return a webhook, locked until the transaction ends; ``None`` if it is gone.

    A transaction that also changes its deliveries locks the webhook first. Only with *to_delete*
    does the lock prevent new deliveries.
    """
    mine = select(webhooks).where(webhooks.c.id == webhook_id)
    return WEBHOOKS.first(conn, mine.with_for_update(key_share=not to_delete))


def give_up(conn: Connection, webhook_id: str, at: datetime) -> bool:
    """Mark up to `AT_ONCE` waiting deliveries as failed; return whether there may be more."""
    waiting = select(deliveries.c.no).where(deliveries.c.webhook_id == webhook_id, UNDELIVERED)
    given_up = conn.execute(
        update(deliveries)
        .where(deliveries.c.no.in_(waiting.order_by(deliveries.c.no).limit(AT_ONCE)))
        .values(state=DeliveryState.FAILED.value, ended_at=at, leased_until=None)
    )
    return given_up.rowcount == AT_ONCE


def drop(conn: Connection, webhook_id: str) -> bool:
    """Delete up to `AT_ONCE` deliveries of a webhook; return whether there may be more."""
    own = select(deliveries.c.no).where(deliveries.c.webhook_id == webhook_id)
    first = own.order_by(deliveries.c.no).limit(AT_ONCE)
    dropped = conn.execute(delete(deliveries).where(deliveries.c.no.in_(first)))
    return dropped.rowcount == AT_ONCE


async def give_up_all(database: Database, webhook_id: str, at: datetime) -> None:
    """Mark all waiting deliveries of a switched-off webhook as failed, in small transactions."""
    step = partial(_give_up_if_off, webhook_id=webhook_id, at=at)
    while await database.write(step):
        pass


def _give_up_if_off(conn: Connection, webhook_id: str, at: datetime) -> bool:
    """Give up waiting deliveries of a webhook if it is off; return whether there may be more."""
    webhook = locked(conn, webhook_id)
    # if it was switched on meanwhile, that transaction has given up the rest
    off = webhook is not None and not webhook.active
    return off and give_up(conn, webhook_id, at)
