"""Webhook delivery: at least once per event; receivers do not delay each other."""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.events.event import Event
from crawlyard.core.webhooks.delivery_limits import DEFAULT_ROOM, DeliveryRoom, Traffic
from crawlyard.core.webhooks.webhook import (
    LONGEST_HOLD,
    Delivery,
    DeliveryAttempt,
    Webhook,
)
from crawlyard.engine.http.fetch import FetchFailed, NotContacted, retry_after_s
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.webhook_post import TIMEOUT, Poster
from crawlyard.errors import Invalid, StoreUnavailable
from crawlyard.services.access.policy import Policy
from crawlyard.services.webhooks.formats import FORMATS, OutgoingMessage
from crawlyard.store.queries import Claimed
from crawlyard.store.store import Store

_POLL = timedelta(seconds=1)  # other processes write without waking this one
_NOT_YET = timedelta(seconds=5)  # the delay of a message that there was no room to send
_log = logging.getLogger(__name__)


class DeliveryOptions(Struct, frozen=True, kw_only=True):
    """Limits on concurrent deliveries, the lease of each, and the base of links in messages."""

    room: DeliveryRoom = DEFAULT_ROOM
    lease: timedelta = 2 * TIMEOUT  # longer than a request and its response take
    public_url: str = ""  # of the dashboard


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
        events = await store.events([each.delivery for each in claimed])
        for each, event in zip(claimed, events, strict=True):
            task = group.create_task(
                self._deliver_claimed(each, event), name=f"delivery {each.delivery.id}"
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

    async def _deliver_claimed(self, claimed: Claimed, event: Event | None) -> None:
        delivery = claimed.delivery
        try:
            await self._deliver(delivery, claimed.webhook, event)
        except StoreUnavailable as error:
            _log.warning("delivery %s is sent again later: %s", delivery.id, error)
        except Exception:  # noqa: BLE001 - one delivery must not end the others
            _log.exception("delivery %s is sent again later", delivery.id)

    async def _deliver(self, delivery: Delivery, webhook: Webhook, event: Event | None) -> None:
        settle = self._store.deliveries.settle
        if event is None:
            await settle(delivery, delivery.give_up(self._clock.now()))
            return
        # the grant for its addresses may have been withdrawn since it was saved
        closed = await self._policy.withheld(webhook.by_grant)
        guard = Guard(() if closed else webhook.allow_addresses)
        try:
            attempt, retry_after = await self._attempt(webhook, delivery, event, guard)
        except NotContacted as error:
            _log.warning("delivery %s waits: %s", delivery.id, error)
            await settle(delivery, replace(delivery, due_at=self._clock.now() + _NOT_YET))
            return
        after = delivery.record_attempt(attempt, chance=self._chance(), retry_after=retry_after)
        held_until = None
        if retry_after is not None and not attempt.ok:
            held_until = self._clock.now() + min(retry_after, LONGEST_HOLD)
        off = await settle(delivery, after, held_until)
        if off is not None:
            _log.warning("webhook %s was switched off: %s", webhook.id, off.data["reason"])

    async def _attempt(
        self, webhook: Webhook, delivery: Delivery, event: Event, guard: Guard
    ) -> tuple[DeliveryAttempt, timedelta | None]:
        """Send a message once; return the attempt, and how long the receiver asked to wait.

        Raises:
            NotContacted: the message was not sent.
        """
        at, started = self._clock.now(), self._clock.monotonic()
        status, excerpt, error, wait = None, "", "", None
        try:
            outgoing = OutgoingMessage(
                webhook=webhook,
                delivery=delivery,
                event=event,
                now=at,
                wall=self._clock.wall(),
                public_url=self._options.public_url,
            )
            content = FORMATS[webhook.format](outgoing)
            answer = await self._poster.post(webhook.url, content.headers, content.body, guard)
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


def _complaint(status: int) -> str:
    """Return the error for a response with *status*; empty if there is none."""
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"answered {status}; redirects are not followed"
    return f"answered {status}"
