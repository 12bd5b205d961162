"""`DeliveryStore` on SQL.

Locks are taken in one order: the cursor, a webhook, its deliveries, the events.
"""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, update

from crawlyard.core.event import Event
from crawlyard.core.webhook import Delivery, DeliveryState, message_id
from crawlyard.errors import NotFound
from crawlyard.store.codec.base import Row
from crawlyard.store.codec.jobs import event_of
from crawlyard.store.codec.webhooks import delivery_of, delivery_row, webhook_of
from crawlyard.store.sql.bulk import insert_new
from crawlyard.store.sql.database import Database
from crawlyard.store.tables.jobs import events
from crawlyard.store.tables.webhooks import UNDELIVERED, cursors, deliveries, webhooks

_CURSOR = "webhooks"


@dataclass(frozen=True, slots=True)
class SqlDeliveries:
    """`DeliveryStore` on a database."""

    _database: Database

    async def fan_out(self, now: datetime, limit: int = 500) -> int:
        return await self._database.write(partial(_fan_out, now=now, limit=limit))

    async def claim(
        self, now: datetime, lease: timedelta, limit: int, room: int, taken: Mapping[str, int]
    ) -> list[Delivery]:
        return await self._database.write(
            partial(_claim, now=now, until=now + lease, limit=limit, room=room, taken=taken)
        )

    async def settle(self, delivery: Delivery, failed_at: datetime | None) -> None:
        await self._database.write(partial(_settle, delivery=delivery, failed_at=failed_at))

    async def get(self, delivery_id: str) -> Delivery:
        return await self._database.read(partial(_get, delivery_id=delivery_id))

    async def find(
        self, webhook_id: str, state: DeliveryState | None, before: int | None, limit: int
    ) -> list[Delivery]:
        asked = [deliveries.c.webhook_id == webhook_id]
        if state is not None:
            asked.append(deliveries.c.state == state.value)
        if before is not None:
            asked.append(deliveries.c.no < before)
        return await self._database.read(partial(_find, asked=asked, limit=limit))

    async def again(self, delivery_id: str, now: datetime) -> Delivery:
        return await self._database.write(partial(_again, delivery_id=delivery_id, now=now))

    async def next_at(self, without: Collection[str] = ()) -> datetime | None:
        return await self._database.read(partial(_next_at, without=sorted(without)))

    async def events(self, deliveries: Sequence[Delivery]) -> list[Event | None]:
        seqs = [delivery.seq for delivery in deliveries]
        return await self._database.read(partial(_events, seqs=seqs)) if seqs else []


def _fan_out(conn: Connection, now: datetime, limit: int) -> int:
    seen = _locked_cursor(conn)
    # In this order: whoever wrote one of these events saw it come after the webhooks
    # that are to hear of it, so they are seen below.
    last = conn.scalar(select(func.max(events.c.seq))) or 0
    if last <= seen:
        return 0
    # shared locks: a webhook that is being deleted must not get deliveries any more
    active = select(webhooks).where(webhooks.c.active).order_by(webhooks.c.id)
    endpoints = [
        (webhook_of(row), row["since_seq"])
        for row in conn.execute(active.with_for_update(read=True, key_share=True)).mappings()
    ]
    looked_at = _events_between(conn, seen, last, {w.owner for w, _ in endpoints}, limit)
    new = [
        _new_row(webhook.id, event, now)
        for event in looked_at
        for webhook, since in endpoints
        if event.seq > since and webhook.wants(event)
    ]
    insert_new(conn, deliveries, new)
    through = looked_at[-1].seq if len(looked_at) == limit else last
    conn.execute(update(cursors).where(cursors.c.name == _CURSOR).values(seq=through))
    return len(looked_at)


def _locked_cursor(conn: Connection) -> int:
    """Return the last event that was looked at; nobody else looks until the transaction ends."""
    mine = select(cursors.c.seq).where(cursors.c.name == _CURSOR).with_for_update()
    if conn.scalar(mine) is None:
        insert_new(conn, cursors, [{"name": _CURSOR, "seq": 0}])
    return int(conn.scalars(mine).one())


def _events_between(
    conn: Connection, seen: int, last: int, owners: Collection[str], limit: int
) -> list[Event]:
    if not owners:
        return []
    rows = conn.execute(
        select(events)
        .where(events.c.seq > seen, events.c.seq <= last, events.c.owner.in_(sorted(owners)))
        .order_by(events.c.seq)
        .limit(limit)
    )
    return [event_of(row) for row in rows.mappings()]


def _new_row(webhook_id: str, event: Event, now: datetime) -> dict[str, Any]:
    delivery = Delivery(
        no=0,  # given by the database
        id=message_id(webhook_id, event.seq),
        webhook_id=webhook_id,
        seq=event.seq,
        name=event.name,
        due_at=now,
        created_at=now,
    )
    return delivery_row(delivery)


def _claim(
    conn: Connection,
    now: datetime,
    until: datetime,
    limit: int,
    room: int,
    taken: Mapping[str, int],
) -> list[Delivery]:
    had = Counter(taken)
    claimed: list[Delivery] = []
    # one more round for each webhook of which there are more than it has room for
    while len(claimed) < limit:
        full = [webhook_id for webhook_id, count in had.items() if count >= room]
        found = conn.execute(_due(now, full, limit - len(claimed))).mappings().all()
        fitting = list(_fitting(found, had, room))
        mine = deliveries.c.no.in_([row["no"] for row in fitting])
        conn.execute(update(deliveries).where(mine).values(leased_until=until))
        claimed += [delivery_of(row) for row in fitting]
        if len(fitting) == len(found):
            break
    return claimed


def _due(now: datetime, without: Collection[str], limit: int) -> Select[Any]:
    # two claims at once: the second takes others
    free = or_(deliveries.c.leased_until.is_(None), deliveries.c.leased_until <= now)
    return (
        select(deliveries)
        .where(_waiting(without), deliveries.c.due_at <= now, free)
        .order_by(deliveries.c.due_at, deliveries.c.no)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def _waiting(without: Collection[str]) -> ColumnElement[bool]:
    """Return what holds for the deliveries that are still to be made."""
    inactive = select(webhooks.c.id).where(~webhooks.c.active)
    return and_(
        UNDELIVERED,
        deliveries.c.webhook_id.not_in(inactive),
        deliveries.c.webhook_id.not_in(sorted(without)),
    )


def _fitting(rows: Sequence[Row], had: Counter[str], room: int) -> Iterator[Row]:
    for row in rows:
        if had[row["webhook_id"]] < room:
            had[row["webhook_id"]] += 1
            yield row


def _settle(conn: Connection, delivery: Delivery, failed_at: datetime | None) -> None:
    mine = webhooks.c.id == delivery.webhook_id
    changed = webhooks.c.failing_since.is_(None)
    if failed_at is None:
        changed = webhooks.c.failing_since.is_not(None)
    conn.execute(select(webhooks.c.id).where(mine, changed).with_for_update(key_share=True))
    written = conn.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id, UNDELIVERED)
        .values(delivery_row(delivery) | {"leased_until": None})
    )
    if written.rowcount:
        conn.execute(update(webhooks).where(mine, changed).values(failing_since=failed_at))


def _get(conn: Connection, delivery_id: str, *, lock: bool = False) -> Delivery:
    mine = select(deliveries).where(deliveries.c.id == delivery_id)
    row = conn.execute(mine.with_for_update() if lock else mine).mappings().first()
    if row is None:
        raise NotFound(f"no delivery {delivery_id}")
    return delivery_of(row)


def _find(conn: Connection, asked: Sequence[ColumnElement[bool]], limit: int) -> list[Delivery]:
    found = select(deliveries).where(*asked).order_by(deliveries.c.no.desc()).limit(limit)
    return [delivery_of(row) for row in conn.execute(found).mappings()]


def _again(conn: Connection, delivery_id: str, now: datetime) -> Delivery:
    before = _get(conn, delivery_id, lock=True)
    after = replace(before, state=DeliveryState.PENDING, attempts=(), due_at=now, ended_at=None)
    conn.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(delivery_row(after) | {"leased_until": None})
    )
    return after


def _next_at(conn: Connection, without: Collection[str]) -> datetime | None:
    waiting = _waiting(without)
    free = select(deliveries.c.due_at).where(waiting, deliveries.c.leased_until.is_(None))
    held = select(func.min(deliveries.c.leased_until)).where(waiting)
    instants = (
        conn.scalar(free.order_by(deliveries.c.due_at).limit(1)),
        conn.scalar(held),
    )
    return min((at for at in instants if at is not None), default=None)


def _events(conn: Connection, seqs: Collection[int]) -> list[Event | None]:
    rows = conn.execute(select(events).where(events.c.seq.in_(seqs))).mappings()
    of_seq = {row["seq"]: event_of(row) for row in rows}
    return [of_seq.get(seq) for seq in seqs]
