"""Deliveries of the pages of a job: created while it runs, and the event of its end after them.

A webhook has a cursor into the pages of its job. A crawl writes nothing for it.
"""

from datetime import datetime
from functools import partial

from msgspec import Struct
from sqlalchemy import Connection, Select, func, select, update

from crawlyard.core.events.event import Event
from crawlyard.core.jobs.lifecycle import ENDED
from crawlyard.core.webhooks.webhook import PAGE, Delivery, Webhook, message_id
from crawlyard.store.codec.records import DELIVERIES, EVENTS, WEBHOOKS
from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.events.numbering import number
from crawlyard.store.tables.jobs import PRESENT, events, jobs, pages
from crawlyard.store.tables.webhooks import (
    EXPECTS_PAGES,
    UNDELIVERED,
    cursors,
    deliveries,
    webhooks,
)
from crawlyard.store.webhooks.deliveries import END_EVENTS, lock_webhook

PAGES_AHEAD = 500
"""Pending deliveries of one webhook, above which its further pages wait without rows."""


class PageDeliveryStore(StorePart):
    """Deliveries of the pages of jobs to their webhooks."""

    async def expected(self) -> bool:
        """Return whether any webhook waits for pages; one short query, cached until a commit."""
        return await self._database.read_cached(_is_any_waiting)

    @reads
    def newest(self, conn: Connection) -> int:
        """Return the id of the newest page."""
        return conn.scalar(select(func.max(pages.c.id))) or 0

    async def fan_out(self, now: datetime, settled: int) -> int:
        """Create deliveries, due at *now*, of the next pages; return how many.

        Pages above *settled* wait while their job runs: others with lower ids may be committed
        after them. When a job has ended and all its pages were answered or given up, the event of
        its end gets its delivery. The webhook expects more only once the job is started again.
        """
        due = await self._database.read(partial(_find_due, settled=settled))
        created = 0
        for webhook_id in due:
            work = partial(_fan_out, webhook_id=webhook_id, now=now, settled=settled)
            created += await self._database.write(work)
        return created


_WAITING = select(webhooks).where(EXPECTS_PAGES, webhooks.c.active)


def _is_any_waiting(conn: Connection) -> bool:
    return conn.execute(_WAITING.limit(1)).first() is not None


def _find_due(conn: Connection, settled: int) -> list[str]:
    """Return the ids of the webhooks for which `_fan_out` has something to write."""
    waiting = WEBHOOKS.all(conn, _WAITING.order_by(webhooks.c.id))
    return [webhook.id for webhook in waiting if not _next_of(conn, webhook, settled).is_empty]


class _Next(Struct, frozen=True, kw_only=True):
    """The next pages of a webhook, and whether it has had all of them."""

    page_ids: tuple[int, ...] = ()
    is_over: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.page_ids and not self.is_over


def _next_of(conn: Connection, webhook: Webhook, settled: int) -> _Next:
    state = select(jobs.c.no, jobs.c.state).where(jobs.c.id == webhook.job_id, PRESENT)
    job = conn.execute(state).first()
    if job is None:  # deleted, and its webhooks will be
        return _Next()
    pending = select(func.count()).where(deliveries.c.webhook_id == webhook.id, UNDELIVERED)
    room = PAGES_AHEAD - conn.scalars(pending).one()
    ended = job.state in ENDED
    query = _pages_after(job.no, webhook.page_cursor or 0, max(0, room))
    if not ended:
        query = query.where(pages.c.id <= settled)
    page_ids = tuple(conn.scalars(query))
    return _Next(page_ids=page_ids, is_over=ended and not page_ids and room == PAGES_AHEAD)


def _pages_after(job_no: int, cursor: int, limit: int) -> Select[int]:
    """Return a query for the ids of pages that have an answer."""
    own = (pages.c.job_no == job_no, pages.c.id > cursor, pages.c.status.is_not(None))
    return select(pages.c.id).where(*own).order_by(pages.c.id).limit(limit)


def _fan_out(conn: Connection, webhook_id: str, now: datetime, settled: int) -> int:
    webhook = lock_webhook(conn, webhook_id)
    if webhook is None or not webhook.active:
        return 0
    cursor = webhook.page_cursor
    if cursor is None or cursor < 0:  # another deliverer was faster
        return 0
    following = _next_of(conn, webhook, settled)
    if following.is_empty:
        return 0
    new = [_delivery(webhook, -page_id, PAGE, now) for page_id in following.page_ids]
    cursor = following.page_ids[-1] if following.page_ids else ~cursor
    if following.is_over:
        number(conn)  # the event of the end may not be numbered yet
        end = _end_of(conn, webhook)
        if end is not None and end.seq > conn.scalars(select(cursors.c.seq)).one():
            return 0  # `DeliveryStore.fan_out` must process that event first: it resets the cursor
        if end is not None and webhook.wants(end):
            new.append(_delivery(webhook, end.seq, end.name, now))
    insert_new(conn, deliveries, [DELIVERIES.row(delivery) for delivery in new])
    conn.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(page_cursor=cursor))
    return len(new)


def _end_of(conn: Connection, webhook: Webhook) -> Event | None:
    """Return the event of the last end of its job, unless it was deleted."""
    ends = select(events).where(events.c.subject == webhook.job_id, events.c.name.in_(END_EVENTS))
    return EVENTS.first(conn, ends.order_by(events.c.seq.desc()).limit(1))


def _delivery(webhook: Webhook, seq: int, name: str, now: datetime) -> Delivery:
    return Delivery(
        no=0,  # given by the database
        id=message_id(webhook.id, seq),
        webhook_id=webhook.id,
        seq=seq,
        name=name,
        due_at=now,
        created_at=now,
    )
