"""`WebhookStore` on SQL."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from crawlyard.core.event import Event
from crawlyard.core.webhook import DeliveryState, Webhook
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base.webhooks import WebhookQuery
from crawlyard.store.codec.webhooks import webhook_of, webhook_row
from crawlyard.store.sql.bulk import insert_new
from crawlyard.store.sql.database import Database
from crawlyard.store.sql.standing import tell
from crawlyard.store.tables.jobs import events
from crawlyard.store.tables.webhooks import UNDELIVERED, deliveries, webhooks


@dataclass(frozen=True, slots=True)
class SqlWebhooks:
    """`WebhookStore` on a database."""

    _database: Database

    async def add(self, webhook: Webhook, event: Event) -> None:
        await self._database.write(partial(_add, webhook=webhook, event=event))

    async def get(self, webhook_id: str) -> Webhook:
        return await self._database.read(partial(_get, webhook_id=webhook_id))

    async def save(self, webhook: Webhook, event: Event) -> None:
        await self._database.write(partial(_save, webhook=webhook, event=event))

    async def find(self, query: WebhookQuery, limit: int) -> list[Webhook]:
        return await self._database.read(partial(_find, query=query, limit=limit))

    async def delete(self, webhook_id: str, version: int, event: Event) -> None:
        await self._database.write(
            partial(_delete, webhook_id=webhook_id, version=version, event=event)
        )


def _add(conn: Connection, webhook: Webhook, event: Event) -> None:
    if not insert_new(conn, webhooks, [webhook_row(webhook) | {"since_seq": 0}]):
        raise Conflict(f"there is a webhook {webhook.id} already")
    tell(conn, [event])
    _from_now_on(conn, webhook.id)


def _from_now_on(conn: Connection, webhook_id: str) -> None:
    """Let a webhook hear what is told after this transaction's own event.

    Nobody else tells of anything before this transaction has ended: whoever sees a
    later event sees the webhook as well.
    """
    last = select(func.max(events.c.seq)).scalar_subquery()
    conn.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(since_seq=last))


def _get(conn: Connection, webhook_id: str) -> Webhook:
    row = conn.execute(select(webhooks).where(webhooks.c.id == webhook_id)).mappings().first()
    if row is None:
        raise NotFound(f"no webhook {webhook_id}")
    return webhook_of(row)


def _save(conn: Connection, webhook: Webhook, event: Event) -> None:
    was_active = _locked(conn, webhook.id, webhook.version - 1)
    conn.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(webhook_row(webhook)))
    if not webhook.active:
        conn.execute(
            update(deliveries)
            .where(deliveries.c.webhook_id == webhook.id, UNDELIVERED)
            .values(
                state=DeliveryState.FAILED.value, ended_at=webhook.updated_at, leased_until=None
            )
        )
    tell(conn, [event])
    if webhook.active and not was_active:
        _from_now_on(conn, webhook.id)


def _find(conn: Connection, query: WebhookQuery, limit: int) -> list[Webhook]:
    asked: list[ColumnElement[bool]] = []
    if query.owner is not None:
        asked.append(webhooks.c.owner == query.owner)
    if query.job_id is not None:
        asked.append(func.coalesce(webhooks.c.job_id, "") == query.job_id)
    found = select(webhooks).where(*asked).order_by(webhooks.c.id.desc()).limit(limit)
    return [webhook_of(row) for row in conn.execute(found).mappings()]


def _delete(conn: Connection, webhook_id: str, version: int, event: Event) -> None:
    _locked(conn, webhook_id, version)
    conn.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
    conn.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
    tell(conn, [event])


def _locked(conn: Connection, webhook_id: str, version: int) -> bool:
    """Lock a webhook before its deliveries, and tell whether it is active.

    Raises:
        Conflict: the stored version is another, or it is gone.
    """
    same = (webhooks.c.id == webhook_id, webhooks.c.version == version)
    row = conn.execute(select(webhooks.c.active).where(*same).with_for_update()).first()
    if row is None:
        raise Conflict(f"webhook {webhook_id} is not at version {version} any more")
    return bool(row.active)
