"""Webhook delivery: at least once per event; receivers do not delay each other."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.job import Standing
from crawlyard.core.parse import hosts_in
from crawlyard.core.schedules.timetable import zone_of
from crawlyard.core.webhooks.delivery_limits import DEFAULT_ROOM, DeliveryRoom, Traffic
from crawlyard.core.webhooks.summary import NotifiedEvent
from crawlyard.core.webhooks.webhook import (
    LONGEST_HOLD,
    MAILTO,
    Delivery,
    DeliveryAttempt,
    MessageFormat,
    Webhook,
)
from crawlyard.engine.http.fetch import FetchFailed, NotContacted, retry_after_s
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.webhook_post import TIMEOUT, Poster, PostResponse
from crawlyard.errors import Invalid, NotFound, StoreUnavailable
from crawlyard.lazy import lazily
from crawlyard.services.access.cookies import Sealer
from crawlyard.services.access.policy import Policy
from crawlyard.services.webhooks.formats import (
    FORMATS,
    PAGE_ENCODERS,
    OutgoingMessage,
    OutgoingPage,
)
from crawlyard.store.queries import Claimed
from crawlyard.store.store import Store

# few instances send mail
with lazily():
    from crawlyard.services.webhooks import mail
if TYPE_CHECKING:
    from crawlyard.engine.http import mail_post

_POLL = timedelta(seconds=1)  # other processes write without waking this one
_NOT_YET = timedelta(seconds=5)  # the delay of a message that there was no room to send
_log = logging.getLogger(__name__)


DocumentReader: TypeAlias = Callable[[str, str, int], Awaitable[Mapping[str, Any] | None]]
"""Returns a page as a document, given its owner, its job and its id; ``None``: it is gone."""

_MOST_DOCUMENTS = 16
"""Documents in memory: with messages of 5 MB, these are some 200 MB."""

_PAGES_EVERY_S = 1.0
"""Shortest interval between searches for new pages while messages are in flight."""


class DeliveryOptions(Struct, frozen=True, kw_only=True):
    """Limits on concurrent deliveries, the lease of each, and the base of links in messages."""

    room: DeliveryRoom = DEFAULT_ROOM
    lease: timedelta = 2 * TIMEOUT  # longer than a request and its response take
    public_url: str = ""  # of the dashboard
    secret_key: str = ""  # of the instance, which encrypts the URLs of channels
    mail: "mail_post.MailServer | None" = None  # None: mail is not set up


DEFAULTS = DeliveryOptions()

Send: TypeAlias = Callable[[Guard], Awaitable[PostResponse]]
"""Sends a message once."""


class Deliverer:
    """Turns new events into deliveries, and sends those that are due.

    Any number may run on one store: each delivery is leased to one of them. If one
    dies, another resends what it had in flight, with the same ids, once the leases have
    expired.
    """

    def __init__(
        self,
        store: Store,
        poster: Poster,
        clock: Clock,
        options: DeliveryOptions = DEFAULTS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._policy = Policy(store)
        self._poster = poster
        self._clock = clock
        self._options = options
        self._chance = chance
        self._under_way: dict[asyncio.Task[None], Webhook] = {}
        self._ended = asyncio.Event()
        self._served: dict[str, int] = {}
        self._sealer = Sealer(store, options.secret_key)
        self._last_seq = -1  # seq of the last event that was fanned out
        self.documents: DocumentReader | None = None  # None: pages wait for another deliverer
        self._documents = asyncio.Semaphore(_MOST_DOCUMENTS)
        self._paged_at = -_PAGES_EVERY_S
        self._mark = 0, frozenset[str]()  # a newest page, and the transactions under way then

    async def run(self, *, drain: bool = False) -> None:
        """Deliver until cancelled; deliveries in flight then are sent again later.

        With *drain*, return once nothing is due and nothing is in flight.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    started, rest = await self._look(group)
                except StoreUnavailable as error:
                    _log.warning("the store is unavailable, webhooks wait: %s", error)
                    started, rest = True, _POLL
                if drain and not started and not self._under_way:
                    return
                if rest > timedelta(0):
                    await self._rest(rest)

    async def _look(self, group: asyncio.TaskGroup) -> tuple[bool, timedelta]:
        """Start what is due; return whether anything was started, and how long to rest."""
        await self._fan_out()
        if self.documents is not None:
            await self._fan_out_pages()
        now = self._clock.now()
        traffic = Traffic(self._options.room, self._under_way.values(), self._served)
        due_at = await self._store.deliveries.next_at(now, traffic)
        if due_at is None:
            return False, _POLL
        if due_at > now:
            return False, min(_POLL, due_at - now)
        return await self._start(group, now, traffic)

    async def _start(
        self, group: asyncio.TaskGroup, now: datetime, traffic: Traffic
    ) -> tuple[bool, timedelta]:
        store = self._store.deliveries
        claimed = await store.claim(now, self._options.lease, traffic)
        events = await store.events([delivery for each in claimed for delivery in each.deliveries])
        remaining = iter(events)
        for each in claimed:
            entries = [(delivery, next(remaining)) for delivery in each.deliveries]
            task = group.create_task(
                self._deliver_claimed(each, entries), name=f"delivery {each.delivery.id}"
            )
            self._under_way[task] = each.webhook
            task.add_done_callback(self._finish)
        return bool(claimed), timedelta(0) if claimed else _POLL

    async def _fan_out(self) -> None:
        last = await self._store.events.last()
        if last != self._last_seq:
            while await self._store.deliveries.fan_out(self._clock.now()):
                pass
            self._last_seq = last

    async def _fan_out_pages(self) -> None:
        """Create deliveries of new pages; on Postgres, once no older page can appear."""
        started, store = self._clock.monotonic(), self._store.page_deliveries
        if self._under_way and started - self._paged_at < _PAGES_EVERY_S:
            return
        if not await store.expected():
            return
        self._paged_at = started
        newest, writers = await store.newest(), await self._store.page_index.writers()
        settled = 0 if writers else newest
        marked, before = self._mark
        if writers and not before & writers:
            settled, self._mark = marked, (newest, writers)
        await store.fan_out(self._clock.now(), settled)

    async def _rest(self, at_most: timedelta) -> None:
        """Return once a delivery in flight has ended, or after *at_most*."""
        waits = (
            asyncio.ensure_future(self._clock.sleep(at_most)),
            asyncio.ensure_future(self._ended.wait()),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._ended.clear()

    def _finish(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._ended.set()

    async def _deliver_claimed(
        self, claimed: Claimed, entries: Sequence[tuple[Delivery, Event | None]]
    ) -> None:
        delivery = claimed.delivery
        try:
            await self._deliver(claimed.webhook, entries)
        except StoreUnavailable as error:
            _log.warning("delivery %s is sent again later: %s", delivery.id, error)
        except Exception:  # noqa: BLE001 - one delivery must not end the others
            _log.exception("delivery %s is sent again later", delivery.id)

    async def _deliver(
        self, webhook: Webhook, entries: Sequence[tuple[Delivery, Event | None]]
    ) -> None:
        """Send one message about *entries*, which are several only for a channel."""
        lead = entries[0][0]
        if lead.page_id is not None:
            await self._send_attempt(webhook, [lead], partial(self._send_page, webhook, lead))
            return
        settle, now = self._store.deliveries.settle, self._clock.now()
        outdated = [delivery for delivery, event in entries if event is None]
        for delivery in outdated:
            await settle(delivery, delivery.give_up(now))
        current = [(delivery, event) for delivery, event in entries if event is not None]
        if not current:
            return
        is_test = current[0][1].name is EventName.WEBHOOK_TEST
        rules = None if is_test else webhook.rules
        quiet_until = None if rules is None else rules.quiet_until(now, zone_of(rules.zone))
        sent = [delivery for delivery, _ in current]
        if quiet_until is not None:
            await self._postpone(sent, quiet_until)
            return
        digest_s = None if rules is None else rules.digest_s
        send = partial(self._send_event, webhook, current)
        await self._send_attempt(webhook, sent, send, digest_s)

    async def _send_attempt(
        self,
        webhook: Webhook,
        sent: Sequence[Delivery],
        send: Send,
        digest_s: float | None = None,
    ) -> None:
        """Send the message about *sent* once, and store the outcome.

        After a success, the next message waits for *digest_s*.
        """
        # the grant for its addresses may have been withdrawn since it was saved
        closed = await self._policy.withheld(webhook.by_grant)
        guard = Guard(() if closed else webhook.allow_addresses)
        settle = self._store.deliveries.settle
        try:
            attempt, retry_after = await self._attempt(sent[0], partial(send, guard))
        except NotContacted as error:
            _log.warning("delivery %s waits: %s", sent[0].id, error)
            await self._postpone(sent, self._clock.now() + _NOT_YET)
            return
        except NotFound:  # a page that was deleted with its job
            await settle(sent[0], sent[0].give_up(self._clock.now()))
            return
        held_until = None
        if retry_after is not None and not attempt.ok:
            held_until = self._clock.now() + min(retry_after, LONGEST_HOLD)
        elif digest_s is not None and attempt.ok:
            held_until = self._clock.now() + timedelta(seconds=digest_s)
        chance = self._chance()
        for delivery in sent:
            after = delivery.record_attempt(attempt, chance=chance, retry_after=retry_after)
            off = await settle(delivery, after, held_until)
            if off is not None:
                _log.warning("webhook %s was switched off: %s", webhook.id, off.data["reason"])

    async def _postpone(self, waiting: Sequence[Delivery], due_at: datetime) -> None:
        for delivery in waiting:
            await self._store.deliveries.settle(delivery, replace(delivery, due_at=due_at))

    async def _attempt(
        self, delivery: Delivery, send: Callable[[], Awaitable[PostResponse]]
    ) -> tuple[DeliveryAttempt, timedelta | None]:
        """Send a message once; return the attempt, and how long the receiver asked to wait.

        Raises:
            NotContacted: the message was not sent.
            NotFound: the page is gone.
        """
        at, started = self._clock.now(), self._clock.monotonic()
        status, excerpt, error, wait = None, "", "", None
        try:
            answer = await send()
            status, excerpt, error = answer.status, answer.excerpt, _complaint(answer.status)
            asked_s = retry_after_s(answer.retry_after, self._clock.wall())
            wait = None if asked_s is None else timedelta(seconds=asked_s)
        except (NotContacted, NotFound, StoreUnavailable):
            raise
        except FetchFailed as failure:
            error = failure.detail
        except Invalid as invalid:  # a URL or an address that an older version accepted
            error = str(invalid)
        except Exception:  # noqa: BLE001 - one delivery must not block the others
            _log.exception("delivery %s could not be sent", delivery.id)
            error = "internal error; see the server's log"
        latency = timedelta(seconds=self._clock.monotonic() - started)
        attempt = DeliveryAttempt(
            at=at, latency=latency, status=status, excerpt=excerpt, error=error
        )
        return attempt, wait

    async def _send_event(
        self, webhook: Webhook, entries: Sequence[tuple[Delivery, Event]], guard: Guard
    ) -> PostResponse:
        delivery, event = entries[0]
        outgoing = OutgoingMessage(
            webhook=webhook,
            delivery=delivery,
            event=event,
            now=self._clock.now(),
            wall=self._clock.wall(),
            public_url=self._options.public_url,
            entries=() if webhook.rules is None else await self._with_names(entries),
        )
        url = webhook.url
        if webhook.format is MessageFormat.MAIL:
            server, recipient = self._options.mail, url.removeprefix(MAILTO)
            if server is None:
                raise Invalid("smtp_url", "mail is not set up on this server")
            message = mail.mail_message(outgoing, server.sender, recipient)
            return await server.send(recipient, message)
        if webhook.sealed is not None:
            url = (await self._sealer.open(webhook.sealed)).decode()
        content = FORMATS[webhook.format](outgoing)
        headers = {**webhook.headers, **content.headers}
        return await self._poster.post(url, headers, content.body, guard)

    async def _send_page(self, webhook: Webhook, delivery: Delivery, guard: Guard) -> PostResponse:
        """Send a page as a document.

        Raises:
            NotContacted: pages are read elsewhere, or as many as fit into memory are being sent.
            NotFound: the page is gone.
        """
        if self.documents is None:
            raise NotContacted("this process reads no documents")
        try:
            async with asyncio.timeout(_NOT_YET.total_seconds()):
                await self._documents.acquire()
        except TimeoutError:
            raise NotContacted(f"{_MOST_DOCUMENTS} documents are being sent") from None
        try:
            page_id, job_id = delivery.page_id or 0, webhook.job_id or ""
            document = await self.documents(webhook.owner, job_id, page_id)
            if document is None:
                raise NotFound(f"no page {page_id}")
            outgoing = OutgoingPage(
                webhook=webhook,
                delivery=delivery,
                document=document,
                now=self._clock.now(),
                wall=self._clock.wall(),
            )
            content = PAGE_ENCODERS[webhook.format](outgoing)
            headers = {**webhook.headers, **content.headers}
            return await self._poster.post(webhook.url, headers, content.body, guard)
        finally:
            self._documents.release()

    async def _with_names(
        self, entries: Sequence[tuple[Delivery, Event]]
    ) -> Sequence[NotifiedEvent]:
        """Return events with the names of their schedules and the hosts of their jobs."""
        jobs = await self._store.jobs.get_many({event.subject for _, event in entries})
        schedules = {str(event.data.get("schedule_id") or "") for _, event in entries}
        names: dict[str, str] = {}
        for schedule_id in schedules - {""}:
            with suppress(NotFound):  # it was deleted
                names[schedule_id] = (await self._store.schedules.get(schedule_id)).name
        return [
            NotifiedEvent(
                event=event,
                recurrence=delivery.recurrence,
                name=names.get(str(event.data.get("schedule_id")), ""),
                host=_host_of(jobs.get(event.subject)),
            )
            for delivery, event in entries
        ]


def _host_of(standing: Standing | None) -> str:
    hosts = hosts_in(standing.job.spec.urls[:1]) if standing is not None else ()
    return (*hosts, "")[0]


def _complaint(status: int) -> str:
    """Return the error for a response with *status*; empty if there is none."""
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"answered {status}; redirects are not followed"
    return f"answered {status}"
