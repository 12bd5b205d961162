"""Webhook delivery: at least once per event; receivers do not delay each other."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

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
from crawlyard.services.webhooks.formats import FORMATS, OutgoingMessage
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


class DeliveryOptions(Struct, frozen=True, kw_only=True):
    """Limits on concurrent deliveries, the lease of each, and the base of links in messages."""

    room: DeliveryRoom = DEFAULT_ROOM
    lease: timedelta = 2 * TIMEOUT  # longer than a request and its response take
    public_url: str = ""  # of the dashboard
    secret_key: str = ""  # of the instance, which encrypts the URLs of channels
    mail: "mail_post.MailServer | None" = None  # None: mail is not set up


DEFAULTS = DeliveryOptions()


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
        if quiet_until is not None:
            await self._postpone(current, quiet_until)
            return
        # the grant for its addresses may have been withdrawn since it was saved
        closed = await self._policy.withheld(webhook.by_grant)
        guard = Guard(() if closed else webhook.allow_addresses)
        try:
            attempt, retry_after = await self._attempt(webhook, current, guard)
        except NotContacted as error:
            _log.warning("delivery %s waits: %s", current[0][0].id, error)
            await self._postpone(current, self._clock.now() + _NOT_YET)
            return
        held_until = None
        if retry_after is not None and not attempt.ok:
            held_until = self._clock.now() + min(retry_after, LONGEST_HOLD)
        elif rules is not None and attempt.ok:
            held_until = self._clock.now() + timedelta(seconds=rules.digest_s)
        chance = self._chance()
        for delivery, _ in current:
            after = delivery.record_attempt(attempt, chance=chance, retry_after=retry_after)
            off = await settle(delivery, after, held_until)
            if off is not None:
                _log.warning("webhook %s was switched off: %s", webhook.id, off.data["reason"])

    async def _postpone(self, entries: Sequence[tuple[Delivery, Event]], due_at: datetime) -> None:
        for delivery, _ in entries:
            await self._store.deliveries.settle(delivery, replace(delivery, due_at=due_at))

    async def _attempt(
        self, webhook: Webhook, entries: Sequence[tuple[Delivery, Event]], guard: Guard
    ) -> tuple[DeliveryAttempt, timedelta | None]:
        """Send a message once; return the attempt, and how long the receiver asked to wait.

        Raises:
            NotContacted: the message was not sent.
        """
        at, started = self._clock.now(), self._clock.monotonic()
        status, excerpt, error, wait = None, "", "", None
        delivery, event = entries[0]
        try:
            outgoing = OutgoingMessage(
                webhook=webhook,
                delivery=delivery,
                event=event,
                now=at,
                wall=self._clock.wall(),
                public_url=self._options.public_url,
                entries=() if webhook.rules is None else await self._with_names(entries),
            )
            answer = await self._send(outgoing, guard)
            status, excerpt, error = answer.status, answer.excerpt, _complaint(answer.status)
            asked_s = retry_after_s(answer.retry_after, self._clock.wall())
            wait = None if asked_s is None else timedelta(seconds=asked_s)
        except NotContacted:
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

    async def _send(self, outgoing: OutgoingMessage, guard: Guard) -> PostResponse:
        webhook, url = outgoing.webhook, outgoing.webhook.url
        if webhook.format is MessageFormat.MAIL:
            server, recipient = self._options.mail, url.removeprefix(MAILTO)
            if server is None:
                raise Invalid("smtp_url", "mail is not set up on this server")
            message = mail.mail_message(outgoing, server.sender, recipient)
            return await server.send(recipient, message)
        if webhook.sealed is not None:
            url = (await self._sealer.open(webhook.sealed)).decode()
        content = FORMATS[webhook.format](outgoing)
        return await self._poster.post(url, content.headers, content.body, guard)

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
