"""Webhook store: add, read, list, save and delete webhooks."""

from collections.abc import Mapping
from functools import partial

from sqlalchemy import Connection, delete, func, literal_column, or_, select, update

from crawlyard.core.events.event import Event
from crawlyard.core.webhooks.webhook import DeliveryState, Webhook
from crawlyard.errors import Conflict
from crawlyard.store.codec.records import WEBHOOKS
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import add_row, equal
from crawlyard.store.events.numbering import number
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.queries import WebhookQuery
from crawlyard.store.tables.webhooks import deliveries, webhooks
from crawlyard.store.webhooks.deliveries import drop, give_up, give_up_all, lock_webhook


class WebhookStore(StorePart):
    """Webhooks: the endpoints that events are delivered to."""

    @writes
    def add(self, conn: Connection, webhook: Webhook, event: Event) -> None:
        """Add a new webhook and the event; it gets the events that are written after that one.

        Raises:
            Conflict: the id is taken, or its owner has a channel of that name.
        """
        label = "a notification channel" if webhook.name else "a webhook"
        add_row(conn, webhooks, WEBHOOKS.row(webhook) | {"since_seq": 0}, label)
        add_events(conn, [event])
        _from_now_on(conn, webhook.id)

    @reads
    def get(self, conn: Connection, webhook_id: str) -> Webhook:
        """Return a webhook.

        Raises:
            NotFound: no webhook has that id.
        """
        query = select(webhooks).where(webhooks.c.id == webhook_id)
        return WEBHOOKS.get(conn, query, f"webhook {webhook_id}")

    async def save(self, webhook: Webhook, event: Event) -> None:
        """Replace version ``webhook.version - 1`` and add the event.

        The failure state that `DeliveryStore.settle` writes is kept; it is reset only when the
        webhook is switched on. A hold requested by its receiver is lifted.

        If the webhook is switched off, its waiting deliveries are marked as failed. If it is
        switched on, it gets the events that are written from then on. If many deliveries wait,
        they are marked in further transactions; if those are interrupted, the next save marks the
        rest.

        Raises:
            Conflict: the stored version is another, or the webhook is gone.
        """
        if await self._database.write(partial(_save, webhook=webhook, event=event)):
            await give_up_all(self._database, webhook.id, webhook.updated_at)

    @reads
    def find(self, conn: Connection, query: WebhookQuery, limit: int) -> list[Webhook]:
        """Return at most *limit* webhooks that match *query*, newest first."""
        filters = equal((webhooks.c.owner, query.owner), (webhooks.c.name, query.name))
        if query.channels is not None:
            named = webhooks.c.name != literal_column("''")
            filters.append(named if query.channels else ~named)
        if query.job_id is not None:
            none, of_job = webhooks.c.job_id.is_(None), webhooks.c.job_id == query.job_id
            filters.append(of_job if query.job_id else none)
        if query.id_part:
            part = query.id_part.lower()
            begins = webhooks.c.id.startswith(part, autoescape=True)
            filters.append(or_(begins, webhooks.c.id.endswith(part, autoescape=True)))
        if query.before is not None:
            filters.append(webhooks.c.id < query.before)
        matching = select(webhooks).where(*filters).order_by(webhooks.c.id.desc()).limit(limit)
        return WEBHOOKS.all(conn, matching)

    async def deliveries(self, webhook_id: str) -> Mapping[DeliveryState, int]:
        """Return the number of deliveries of a webhook in each state, without zeros."""
        counted = (
            select(deliveries.c.state, func.count())
            .where(deliveries.c.webhook_id == webhook_id)
            .group_by(deliveries.c.state)
        )
        rows = await self._database.read(lambda conn: conn.execute(counted).all())
        return {DeliveryState(state): count for state, count in rows}

    async def delete(self, webhook_id: str, version: int, event: Event) -> None:
        """Delete a webhook and its deliveries; if there are many, most go in earlier transactions.

        Raises:
            Conflict: the stored version is another, or the webhook is gone.
        """
        emptied = partial(_delete_deliveries, webhook_id=webhook_id, version=version)
        while await self._database.write(emptied):
            pass
        await self._database.write(
            partial(_delete, webhook_id=webhook_id, version=version, event=event)
        )


def _from_now_on(conn: Connection, webhook_id: str) -> None:
    """Let a webhook receive only the events that follow this transaction's own event.

    On Postgres, numbering them locks out others that do: an event that is not numbered yet gets
    its number after this transaction, and a reader that sees it also sees the webhook.
    """
    last = number(conn)
    conn.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(since_seq=last))


def _save(conn: Connection, webhook: Webhook, event: Event) -> bool:
    """Replace a webhook; return whether there may be more waiting deliveries to give up."""
    before = _at(conn, webhook.id, webhook.version - 1)
    begins = webhook.active and not before.active
    row = WEBHOOKS.row(webhook) | {"held_until": None}
    del row["page_cursor"]  # pages are delivered from there on when it is switched on
    for name in _SETTLED:
        if begins:
            row[name] = _RESET[name]
        else:
            del row[name]
    conn.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(row))
    more = False
    if begins:
        # deliveries that remain if switching it off was interrupted
        while give_up(conn, webhook.id, webhook.updated_at):
            pass
    elif not webhook.active:
        more = give_up(conn, webhook.id, webhook.updated_at)
    add_events(conn, [event])
    if begins:
        _from_now_on(conn, webhook.id)
    return more


_RESET = {"failing_since": None, "failures": 0, "failing": "{}"}
_SETTLED = tuple(_RESET)  # written by `settle` and `fan_out`, which don't change the version


def _delete_deliveries(conn: Connection, webhook_id: str, version: int) -> bool:
    """Delete some deliveries of a webhook; return whether there may be more."""
    _at(conn, webhook_id, version)
    return drop(conn, webhook_id)


def _delete(conn: Connection, webhook_id: str, version: int, event: Event) -> None:
    _at(conn, webhook_id, version, to_delete=True)
    while drop(conn, webhook_id):  # those added since `_delete_deliveries`
        pass
    conn.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
    add_events(conn, [event])


def _at(conn: Connection, webhook_id: str, version: int, *, to_delete: bool = False) -> Webhook:
    """Return a webhook at a version, locked until the transaction ends.

    Raises:
        Conflict: the stored version is another, or the webhook is gone.
    """
    webhook = lock_webhook(conn, webhook_id, to_delete=to_delete)
    if webhook is None or webhook.version != version:
        raise Conflict(f"webhook {webhook_id} is not at version {version} any more")
    return webhook
