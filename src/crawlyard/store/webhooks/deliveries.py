"""Delivery store: fan-out of events to webhooks, and the outcome of each delivery.

Lock order, to avoid deadlocks: the cursor, a webhook, its deliveries.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import zip_longest
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    or_,
    select,
    union_all,
    update,
)

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.core.webhooks.notifications import (
    GATHERED,
    MOST_IN_DIGEST,
    Recurrence,
    recur,
)
from crawlyard.core.webhooks.webhook import (
    Delivery,
    DeliveryState,
    Subscribers,
    Webhook,
    message_id,
)
from crawlyard.errors import Conflict
from crawlyard.store.codec.base import to_json
from crawlyard.store.codec.records import DELIVERIES, EVENTS, WEBHOOKS
from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.database import Database, StorePart, reads, writes
from crawlyard.store.db.rows import equal
from crawlyard.store.events.numbering import number
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.queries import Claimed
from crawlyard.store.tables.jobs import events
from crawlyard.store.tables.webhooks import UNDELIVERED, cursors, deliveries, webhooks

END_EVENTS = frozenset({EventName.COMPLETED, EventName.FAILED, EventName.CANCELLED})
"""Events that a webhook with pages receives after the last page."""

_CURSOR = "webhooks"
_AT_A_TIME = 200  # webhooks in one query: SQLite joins at most 500 SELECTs


class DeliveryStore(StorePart):
    """Webhook deliveries, pending and finished."""

    async def fan_out(self, now: datetime, limit: int = 500) -> int:
        """Create deliveries, due at *now*, for the next unprocessed events.

        One transaction processes at most *limit* events. Each event is processed once, no matter
        how many callers there are; an active webhook gets each event that it `wants` once. Return
        the number of processed events; events that concern no active webhook are skipped.
        """
        # not in the transaction below: other callers that number events would wait for its commit
        last = await self._database.read_cached(number)
        return await self._database.write(partial(_fan_out, now=now, last=last, limit=limit))

    @writes
    def claim(
        self, conn: Connection, now: datetime, lease: timedelta, traffic: Traffic
    ) -> list[Claimed]:
        """Lease due deliveries as far as *traffic* has capacity.

        Webhooks take turns, so that a burst of one does not hold up another; of each, the earliest
        come first. Only deliveries of active webhooks that their receiver has not put on hold. They
        are counted in *traffic*. Two callers never get the same delivery until its lease expires.
        """
        claimed: list[Claimed] = []
        # another round if some deliveries did not fit, to use the remaining capacity
        while traffic.free:
            hooks = {each.id: each for each in _webhooks_with_due(conn, now, traffic)}
            due = _find_due(conn, now, list(hooks), traffic.free)
            fitting = [
                Claimed(delivery=delivery, webhook=hooks[delivery.webhook_id])
                for delivery in due
                if traffic.take(hooks[delivery.webhook_id])
            ]
            mine = deliveries.c.no.in_([each.delivery.no for each in fitting])
            conn.execute(update(deliveries).where(mine).values(leased_until=now + lease))
            claimed += fitting
            if len(fitting) == len(due):
                break
        return [_with_digest(conn, each, now, now + lease) for each in claimed]

    async def settle(
        self, claimed: Delivery, after: Delivery, held_until: datetime | None = None
    ) -> Event | None:
        """Store the outcome of a *claimed* delivery, release it, and update its webhook.

        If that switches the webhook off, as decided by `Webhook.heard`, return the event that was
        written for it. Nothing is written if the delivery is no longer as it was claimed:
        another caller settled it, it was queued again, or it is gone.
        """
        work = partial(_settle, claimed=claimed, after=after, held_until=held_until)
        event = await self._database.write(work)
        if event is not None:
            await give_up_all(self._database, claimed.webhook_id, event.at)
        return event

    @reads
    def get(self, conn: Connection, delivery_id: str) -> Delivery:
        """Return a delivery.

        Raises:
            NotFound: no delivery has that id.
        """
        return _get(conn, delivery_id)

    @reads
    def find(
        self,
        conn: Connection,
        webhook_id: str,
        state: DeliveryState | None,
        before: int | None,
        limit: int,
    ) -> list[Delivery]:
        """Return at most *limit* deliveries with a key below *before*, newest first.

        *state* ``None`` means all states, *before* ``None`` the newest deliveries.
        """
        filters = equal(
            (deliveries.c.webhook_id, webhook_id), (deliveries.c.state, state and state.value)
        )
        if before is not None:
            filters.append(deliveries.c.no < before)
        matching = select(deliveries).where(*filters).order_by(deliveries.c.no.desc()).limit(limit)
        return DELIVERIES.all(conn, matching)

    @writes
    def again(self, conn: Connection, delivery_id: str, now: datetime) -> Delivery:
        """Make a delivery due again at *now*, in any state; its attempts start from zero.

        A hold requested by its receiver is lifted.

        Raises:
            NotFound: no delivery has that id.
            Conflict: the webhook is switched off.
        """
        webhook = lock_webhook(conn, _get(conn, delivery_id).webhook_id)
        before = _get(conn, delivery_id, lock=True)
        if webhook is None or not webhook.active:
            raise Conflict(f"webhook {before.webhook_id} is switched off")
        after = replace(before, state=DeliveryState.PENDING, attempts=(), due_at=now, ended_at=None)
        conn.execute(
            update(deliveries)
            .where(deliveries.c.id == delivery_id)
            .values(DELIVERIES.row(after) | {"leased_until": None})
        )
        conn.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(held_until=None))
        return after

    async def next_at(self, now: datetime, traffic: Traffic) -> datetime | None:
        # Called every second, usually with nothing to deliver: then at most one short query runs.
        """Return when `claim` will find a delivery again, ``None`` if none waits.

        The instant may be in the past. Deliveries beyond the capacity of *traffic* are left out.
        """
        if not await self._database.read_cached(_is_any_undelivered):
            return None
        return await self._database.read(partial(_next_at, now=now, traffic=traffic))

    @reads
    def events(self, conn: Connection, sent: Sequence[Delivery]) -> list[Event | None]:
        """Return the event of each delivery, ``None`` if it was deleted by retention."""
        seqs = [delivery.seq for delivery in sent]
        sent_events = EVENTS.all(conn, select(events).where(events.c.seq.in_(seqs)))
        of_seq = {event.seq: event for event in sent_events}
        return [of_seq.get(seq) for seq in seqs]


def _fan_out(conn: Connection, now: datetime, last: int, limit: int) -> int:
    """Create deliveries of the unprocessed events up to *last*; return how many were processed."""
    cursor = _lock_cursor(conn)
    if last <= cursor:
        return 0
    # Read the events first: webhooks that an event is meant for were committed before it, so
    # the query of webhooks below sees them.
    looked_at = _events_between(conn, cursor, last, limit)
    concerned = _find_concerned(conn, looked_at)
    _expect_pages_again(conn, [webhook for webhook, _ in concerned], looked_at)
    audience = Subscribers(concerned)
    pairs = [
        (webhook, event)
        for event in looked_at
        for webhook in audience.of(event)
        if webhook.page_cursor is None or event.name not in END_EVENTS  # follows the last page
    ]
    insert_new(conn, deliveries, _new_rows(conn, pairs, now))
    through = looked_at[-1].seq if len(looked_at) == limit else last
    conn.execute(update(cursors).where(cursors.c.name == _CURSOR).values(seq=through))
    return len(looked_at)


def _expect_pages_again(
    conn: Connection, concerned: Sequence[Webhook], happened: Sequence[Event]
) -> None:
    """Continue the pages of jobs that were resumed after their end, such as at a raised limit."""
    names = END_EVENTS | {EventName.STARTED}
    jobs = {event.subject for event in happened if event.name in names}
    for webhook in concerned:
        cursor = webhook.page_cursor
        if webhook.job_id in jobs and cursor is not None and cursor < 0:
            mine = update(webhooks).where(webhooks.c.id == webhook.id)
            conn.execute(mine.values(page_cursor=~cursor))


def _lock_cursor(conn: Connection) -> int:
    """Lock the fan-out cursor until the transaction ends; return the seq of the last event done."""
    mine = select(cursors.c.seq).where(cursors.c.name == _CURSOR).with_for_update()
    if conn.scalar(mine) is None:
        insert_new(conn, cursors, [{"name": _CURSOR, "seq": 0}])
    return int(conn.scalars(mine).one())


def _events_between(conn: Connection, after: int, last: int, limit: int) -> list[Event]:
    """Return the events after *after* up to *last* that concern an active webhook."""
    concerned = or_(
        and_(webhooks.c.job_id.is_(None), webhooks.c.owner == events.c.owner),
        webhooks.c.job_id == events.c.subject,
        webhooks.c.group_id == events.c.subject,
        webhooks.c.id == events.c.subject,
    )
    has_webhook = select(webhooks.c.id).where(webhooks.c.active, concerned).exists()
    query = select(events).where(events.c.seq > after, events.c.seq <= last, has_webhook)
    return EVENTS.all(conn, query.order_by(events.c.seq).limit(limit))


def _find_concerned(conn: Connection, happened: Sequence[Event]) -> list[tuple[Webhook, int]]:
    """Return the active webhooks that any of these events concerns, each with its `since_seq`."""
    owners, subjects = ({e.owner for e in happened}, {e.subject for e in happened})
    concerned = or_(
        and_(webhooks.c.job_id.is_(None), webhooks.c.owner.in_(sorted(owners))),
        webhooks.c.job_id.in_(sorted(subjects)),
        webhooks.c.group_id.in_(sorted(subjects)),
        webhooks.c.id.in_(sorted(subjects)),
    )
    # shared locks, so that a webhook being deleted gets no new deliveries
    query = select(webhooks).where(webhooks.c.active, concerned).order_by(webhooks.c.id)
    rows = conn.execute(query.with_for_update(read=True, key_share=True)).mappings()
    return [(WEBHOOKS.record(row), row["since_seq"]) for row in rows]


def _new_rows(
    conn: Connection, pairs: Sequence[tuple[Webhook, Event]], now: datetime
) -> list[dict[str, Any]]:
    """Return the deliveries of events to webhooks, and count the failures of channels."""
    rows: list[dict[str, Any]] = []
    failing: dict[str, Mapping[str, int]] = {}
    for webhook, event in pairs:
        due_at, recurrence = now, Recurrence.FIRST
        if webhook.rules is not None and event.name is not EventName.WEBHOOK_TEST:
            before = failing.get(webhook.id, webhook.failing)
            failing[webhook.id], sent = recur(before, event)
            if sent is None:
                continue
            due_at, recurrence = now + GATHERED, sent
        delivery = Delivery(
            no=0,  # given by the database
            id=message_id(webhook.id, event.seq),
            webhook_id=webhook.id,
            seq=event.seq,
            name=event.name,
            due_at=due_at,
            created_at=now,
            recurrence=recurrence,
        )
        rows.append(DELIVERIES.row(delivery))
    for webhook in {webhook.id: webhook for webhook, _ in pairs}.values():
        counts = failing.get(webhook.id, webhook.failing)
        if counts is not webhook.failing:
            mine = update(webhooks).where(webhooks.c.id == webhook.id)
            conn.execute(mine.values(failing=to_json(counts)))
    return rows


_SENT = deliveries.join(webhooks, webhooks.c.id == deliveries.c.webhook_id)


def _webhooks_with_due(conn: Connection, now: datetime, traffic: Traffic) -> list[Webhook]:
    """Return the webhooks with due deliveries, in the order of their turns.

    A recursive query hops from webhook to webhook in an index, however many deliveries each has.
    """
    first = select(func.min(deliveries.c.webhook_id).label("id")).where(UNDELIVERED)
    webhook_ids = first.cte("found", recursive=True)
    after = select(func.min(deliveries.c.webhook_id))
    after = after.where(UNDELIVERED, deliveries.c.webhook_id > webhook_ids.c.id)
    webhook_ids = webhook_ids.union_all(
        select(after.scalar_subquery()).where(webhook_ids.c.id.is_not(None))
    )
    rested = or_(webhooks.c.held_until.is_(None), webhooks.c.held_until <= now)
    due = select(deliveries.c.no).where(deliveries.c.webhook_id == webhooks.c.id, *_is_due(now))
    query = select(webhooks).join(webhook_ids, webhook_ids.c.id == webhooks.c.id)
    hooks = WEBHOOKS.all(
        conn, query.where(*_may_be_sent(traffic), rested, due.exists()).order_by(webhooks.c.id)
    )
    return sorted(hooks, key=traffic.turn)[: min(traffic.free, _AT_A_TIME)]


def _find_due(conn: Connection, now: datetime, hooks: Sequence[str], most: int) -> list[Delivery]:
    """Return at most *most* due deliveries: the first of each webhook, then the second."""
    if not hooks:
        return []
    each = [
        select(deliveries.c.no)
        .where(deliveries.c.webhook_id == hook, *_is_due(now))
        .order_by(deliveries.c.due_at, deliveries.c.no)
        .limit(most // len(hooks))
        # of two concurrent claims, the second skips the locked rows and takes others
        .with_for_update(skip_locked=True)
        .subquery()
        for hook in hooks
    ]
    chosen = union_all(*(select(due_of_hook.c.no) for due_of_hook in each)).subquery()
    query = (
        select(deliveries)
        .where(deliveries.c.no.in_(select(chosen.c.no)))
        .order_by(deliveries.c.due_at, deliveries.c.no)
    )
    of: dict[str, list[Delivery]] = {hook: [] for hook in hooks}
    for delivery in DELIVERIES.all(conn, query):
        of[delivery.webhook_id].append(delivery)
    return [
        delivery for row in zip_longest(*of.values()) for delivery in row if delivery is not None
    ]


def _with_digest(conn: Connection, claimed: Claimed, now: datetime, until: datetime) -> Claimed:
    """Return a claimed delivery with those that go into the same message to its channel.

    These are new ones, even if they are not due yet, and those whose next attempt is due.
    """
    lead, webhook = claimed.delivery, claimed.webhook
    if webhook.rules is None or lead.name == EventName.WEBHOOK_TEST:
        return claimed
    _, due, free = _is_due(now)
    query = (
        select(deliveries)
        .where(deliveries.c.webhook_id == webhook.id, UNDELIVERED, free)
        .where(deliveries.c.no != lead.no, deliveries.c.name != EventName.WEBHOOK_TEST.value)
        .where(or_(due, deliveries.c.attempts == "[]"))
        .order_by(deliveries.c.no)
        .limit(MOST_IN_DIGEST - 1)
    )
    more = DELIVERIES.all(conn, query.with_for_update(skip_locked=True))
    same = deliveries.c.no.in_([each.no for each in more])
    conn.execute(update(deliveries).where(same).values(leased_until=until))
    return Claimed(delivery=lead, webhook=webhook, more=tuple(more))


def _is_due(now: datetime) -> Sequence[ColumnElement[bool]]:
    free = or_(deliveries.c.leased_until.is_(None), deliveries.c.leased_until <= now)
    return UNDELIVERED, deliveries.c.due_at <= now, free


def _waiting(traffic: Traffic) -> ColumnElement[bool]:
    """Return the condition for undelivered deliveries that *traffic* has capacity for."""
    return and_(UNDELIVERED, *_may_be_sent(traffic))


def _may_be_sent(traffic: Traffic) -> Sequence[ColumnElement[bool]]:
    one_at_a_time = or_(webhooks.c.failing_since.is_not(None), webhooks.c.rules.is_not(None))
    kept_waiting = and_(one_at_a_time, webhooks.c.id.in_(traffic.busy))
    return (
        webhooks.c.active,
        webhooks.c.owner.not_in(traffic.owners),
        webhooks.c.receiver.not_in(traffic.receivers),
        ~kept_waiting,
    )


def _settle(
    conn: Connection, claimed: Delivery, after: Delivery, held_until: datetime | None
) -> Event | None:
    webhook = lock_webhook(conn, claimed.webhook_id)
    mine = select(deliveries).where(deliveries.c.id == claimed.id)
    if webhook is None or DELIVERIES.first(conn, mine.with_for_update()) != claimed:
        return None
    conn.execute(
        update(deliveries)
        .where(deliveries.c.id == claimed.id)
        .values(DELIVERIES.row(after) | {"leased_until": None})
    )
    if len(after.attempts) == len(claimed.attempts):
        return None
    updated, event = webhook.record_attempt(after, held_until)
    if updated != webhook:
        changed = update(webhooks).where(webhooks.c.id == webhook.id)
        conn.execute(changed.values(WEBHOOKS.row(updated)))
    if event is not None:
        give_up(conn, webhook.id, event.at)
        add_events(conn, [event])
    return event


def _get(conn: Connection, delivery_id: str, *, lock: bool = False) -> Delivery:
    mine = select(deliveries).where(deliveries.c.id == delivery_id)
    mine = mine.with_for_update() if lock else mine
    return DELIVERIES.get(conn, mine, f"delivery {delivery_id}")


_ANY_UNDELIVERED = select(deliveries.c.no).where(UNDELIVERED).limit(1)


def _is_any_undelivered(conn: Connection) -> bool:
    return conn.scalar(_ANY_UNDELIVERED) is not None


def _next_at(conn: Connection, now: datetime, traffic: Traffic) -> datetime | None:
    if not traffic.free:
        return None
    waiting, is_held = _waiting(traffic), webhooks.c.held_until > now
    free = select(deliveries.c.due_at).select_from(_SENT)
    free = free.where(waiting, deliveries.c.leased_until.is_(None), ~func.coalesce(is_held, False))
    leased = select(func.min(deliveries.c.leased_until)).select_from(_SENT).where(waiting)
    rests = select(func.min(webhooks.c.held_until)).select_from(_SENT).where(waiting, is_held)
    instants = (
        conn.scalar(free.order_by(deliveries.c.due_at).limit(1)),
        conn.scalar(leased),
        conn.scalar(rests),
    )
    return min((at for at in instants if at is not None), default=None)


AT_ONCE = 1000
"""Number of deliveries that one transaction gives up or deletes: 10 ms on SQLite."""


def lock_webhook(conn: Connection, webhook_id: str, *, to_delete: bool = False) -> Webhook | None:
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
    webhook = lock_webhook(conn, webhook_id)
    # if it was switched on meanwhile, that transaction has given up the rest
    off = webhook is not None and not webhook.active
    return off and give_up(conn, webhook_id, at)
