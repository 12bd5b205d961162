"""Delivers events to webhooks: at least once each, and no receiver holds up another."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from crawlyard.clock import Clock
from crawlyard.core.event import Event, EventName
from crawlyard.core.webhook import (
    LONGEST_HOLD,
    Attempt,
    Delivery,
    DeliveryState,
    Webhook,
    encoded,
    message,
    why_off,
)
from crawlyard.engine.fetch import FetchFailed
from crawlyard.engine.guard import Guard
from crawlyard.engine.post import TIMEOUT, Poster
from crawlyard.engine.visit import retry_after_s
from crawlyard.errors import Conflict, Invalid, NotFound, StoreUnavailable
from crawlyard.services.signing import signed
from crawlyard.store.base import Store

ACTOR = "webhooks"

_POLL = timedelta(seconds=1)  # for what other processes wrote: no wake-up tells of that
_TRIES = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOptions:
    """How much is under way at once."""

    in_all: int = 64
    to_one: int = 4  # to one webhook; to one whose last attempt failed, a single one
    lease: timedelta = 2 * TIMEOUT  # longer than a message and its answer take


DEFAULTS = DeliveryOptions()


class Deliverer:
    """Looks at new events, makes deliveries of them, and sends what is due.

    Any number may run on one store: each delivery is leased to one of them. What one
    has under way when it dies is sent again by another once its lease has lapsed,
    under the same id.
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
        self._poster = poster
        self._clock = clock
        self._options = options
        self._chance = chance
        self._under_way: dict[asyncio.Task[None], str] = {}  # and the ids of their webhooks
        self._ended = asyncio.Event()
        self._seen = -1  # the last event when all were looked at
        self._failing: set[str] = set()  # webhooks whose last attempt here failed
        self._held: dict[str, datetime] = {}  # webhooks that asked for a rest, and until when

    async def run(self, *, drain: bool = False) -> None:
        """Deliver until cancelled; what is under way then is sent again later.

        With *drain*, until nothing is due now and nothing is under way.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    started, rest = await self._look(group)
                except StoreUnavailable as error:
                    _log.warning("the store is away, webhooks wait: %s", error)
                    started, rest = True, _POLL
                if drain and not started and not self._under_way:
                    return
                if rest > timedelta(0):
                    await self._rest(rest)

    async def _look(self, group: asyncio.TaskGroup) -> tuple[bool, timedelta]:
        """Start what is due; tell whether that was anything, and how long to rest then."""
        await self._fan_out()
        now = self._clock.now()
        taken = self._taken(now)
        full = {w for w, count in taken.items() if count >= self._options.to_one}
        due_at = await self._store.deliveries.next_at(full)
        free = self._options.in_all - len(self._under_way)
        if due_at is None or not free:
            return False, _POLL
        if due_at > now:
            return False, min(_POLL, due_at - now)
        return await self._start(group, now, free, taken)

    async def _start(
        self, group: asyncio.TaskGroup, now: datetime, free: int, taken: Mapping[str, int]
    ) -> tuple[bool, timedelta]:
        options, store = self._options, self._store.deliveries
        claimed = await store.claim(now, options.lease, free, options.to_one, taken)
        events = await store.events(claimed)
        for delivery, event in zip(claimed, events, strict=True):
            task = group.create_task(self._one(delivery, event), name=f"delivery {delivery.id}")
            self._under_way[task] = delivery.webhook_id
            task.add_done_callback(self._done)
        return bool(claimed), timedelta(0) if claimed else _POLL

    async def _fan_out(self) -> None:
        last = await self._store.events.last()
        if last != self._seen:
            while await self._store.deliveries.fan_out(self._clock.now()):
                pass
            self._seen = last

    def _taken(self, now: datetime) -> Mapping[str, int]:
        """Return how much of its room each webhook has taken."""
        room = self._options.to_one
        taken = Counter(self._under_way.values())
        for webhook_id in self._failing:
            # until it answers again, one message at a time finds out whether it does
            taken[webhook_id] = room if taken[webhook_id] else room - 1
        self._held = {w: until for w, until in self._held.items() if until > now}
        return taken | dict.fromkeys(self._held, room)

    async def _rest(self, at_most: timedelta) -> None:
        """Return once something under way has ended, or after *at_most*."""
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

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._ended.set()

    async def _one(self, delivery: Delivery, event: Event | None) -> None:
        try:
            await self._deliver(delivery, event)
        except StoreUnavailable as error:
            _log.warning("delivery %s is sent again later: %s", delivery.id, error)

    async def _deliver(self, delivery: Delivery, event: Event | None) -> None:
        try:
            webhook = await self._store.webhooks.get(delivery.webhook_id)
        except NotFound:
            self._failing.discard(delivery.webhook_id)
            return  # the delivery has gone with it
        if event is None:
            given_up = delivery.given_up(self._clock.now())
            await self._store.deliveries.settle(given_up, webhook.failing_since)
            return
        attempt, retry_after = await self._attempt(webhook, delivery, event)
        after = delivery.tried(attempt, chance=self._chance(), retry_after=retry_after)
        await self._store.deliveries.settle(after, None if attempt.ok else attempt.at)
        if attempt.ok:
            self._failing.discard(webhook.id)
            return
        self._failing.add(webhook.id)
        if retry_after is not None:
            self._held[webhook.id] = self._clock.now() + min(retry_after, LONGEST_HOLD)
        if after.state is DeliveryState.FAILED:
            await self._switch_off(after)

    async def _attempt(
        self, webhook: Webhook, delivery: Delivery, event: Event
    ) -> tuple[Attempt, timedelta | None]:
        """Send a message once; return what came of it, and how long its receiver wants a rest."""
        at, started = self._clock.now(), self._clock.monotonic()
        status, excerpt, error, wait = None, "", "", None
        try:
            body = encoded(message(event))
            # the receiver compares the timestamp with its clock on the wall
            headers = signed(delivery.id, self._clock.wall(), body, webhook.signing(at))
            guard = Guard(webhook.allow_addresses)
            answer = await self._poster.post(webhook.url, headers, body, guard)
        except FetchFailed as failure:
            error = failure.detail
        except Invalid as invalid:  # a URL or an address that an older version let pass
            error = str(invalid)
        except Exception:  # noqa: BLE001 - one that we fail at must not keep others waiting
            _log.exception("delivery %s could not be sent", delivery.id)
            error = "an error of the sender, which its log tells of"
        else:
            status, excerpt = answer.status, answer.excerpt
            error = _complaint(status)
            asked_s = retry_after_s(answer.retry_after, self._clock.wall())
            wait = None if asked_s is None else timedelta(seconds=asked_s)
        latency = timedelta(seconds=self._clock.monotonic() - started)
        made = Attempt(at=at, latency=latency, status=status, excerpt=excerpt, error=error)
        return made, wait

    async def _switch_off(self, delivery: Delivery) -> None:
        """Switch the webhook of a delivery that was given up off, if the rules say so."""
        for _ in range(_TRIES):
            now = self._clock.now()
            try:
                webhook = await self._store.webhooks.get(delivery.webhook_id)
            except NotFound:
                return
            why = why_off(webhook, delivery) if webhook.active else ""
            if not why:
                return
            off = webhook.switched(now, on=False, reason=why)
            try:
                await self._store.webhooks.save(
                    off, off.event(EventName.WEBHOOK_DISABLED, now, ACTOR)
                )
            except Conflict:
                continue
            _log.warning("webhook %s was switched off: %s", webhook.id, why)
            return


def _complaint(status: int) -> str:
    """Return what is wrong with an answer of that status, empty if nothing is."""
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"answered {status}; redirects are not followed"
    return f"answered {status}"
