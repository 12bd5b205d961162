"""`DeliveryStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.audience import Audience
from crawlyard.core.event import Event
from crawlyard.core.room import Traffic
from crawlyard.core.webhook import Delivery, DeliveryState, Webhook, message_id
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base import Claimed
from crawlyard.store.memory.post import Endpoint, Parcel
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.text import scrubbed


class MemoryDeliveries(Struct, frozen=True):
    """`DeliveryStore` in memory."""

    _shelf: Shelf

    async def fan_out(self, now: datetime, limit: int = 500) -> int:
        post = self._shelf.post
        unseen = [event for event in self._shelf.events if event.seq > post.seen]
        looked_at = list(islice(self._concerning(unseen), limit))
        audience = Audience((e.webhook, e.since_seq) for e in self._active(looked_at))
        for event in looked_at:
            for webhook in audience.of(event):
                self._deliver(webhook, event, now)
        full = len(looked_at) == limit
        post.seen = looked_at[-1].seq if full else self._shelf.last_event
        return len(looked_at)

    def _concerning(self, happened: Sequence[Event]) -> Iterator[Event]:
        """Yield the events that a webhook may want to hear of."""
        hooks = [endpoint.webhook for endpoint in self._active(happened)]
        owners = {w.owner for w in hooks if w.job_id is None}
        subjects = {w.job_id for w in hooks} | {w.id for w in hooks}
        return (e for e in happened if e.owner in owners or e.subject in subjects)

    def _active(self, happened: Sequence[Event]) -> Iterator[Endpoint]:
        """Yield the active webhooks that may want to hear of one of these events."""
        owners, subjects = ({e.owner for e in happened}, {e.subject for e in happened})
        if not happened:
            return
        for endpoint in self._shelf.post.endpoints.values():
            webhook = endpoint.webhook
            theirs = webhook.owner in owners if webhook.job_id is None else False
            if webhook.active and (theirs or {webhook.job_id, webhook.id} & subjects):
                yield endpoint

    def _deliver(self, webhook: Webhook, event: Event, now: datetime) -> None:
        post = self._shelf.post
        post.last_no += 1
        delivery = Delivery(
            no=post.last_no,
            id=message_id(webhook.id, event.seq),
            webhook_id=webhook.id,
            seq=event.seq,
            name=event.name,
            due_at=now,
            created_at=now,
        )
        post.parcels.setdefault(delivery.id, Parcel(delivery))

    async def claim(self, now: datetime, lease: timedelta, traffic: Traffic) -> list[Claimed]:
        claimed: list[Claimed] = []
        due = (p for p in self._waiting() if self._free_at(p) <= now)
        for parcel in sorted(due, key=lambda p: (p.delivery.due_at, p.delivery.no)):
            webhook = self._shelf.post.endpoints[parcel.delivery.webhook_id].webhook
            if traffic.take(webhook):
                parcel.leased_until = now + lease
                claimed.append(Claimed(delivery=parcel.delivery, webhook=webhook))
        return claimed

    async def settle(
        self, claimed: Delivery, after: Delivery, held_until: datetime | None = None
    ) -> Event | None:
        post = self._shelf.post
        parcel = post.parcels.get(claimed.id)
        if parcel is None or parcel.delivery != claimed:
            return None
        parcel.delivery, parcel.leased_until = scrubbed(after), None
        if len(after.attempts) == len(claimed.attempts):
            return None
        endpoint = post.endpoints[claimed.webhook_id]
        endpoint.webhook, event = endpoint.webhook.heard(after, held_until)
        if event is not None:
            post.give_up(endpoint.webhook.id, event.at)
            self._shelf.tell(event)
        return event

    async def get(self, delivery_id: str) -> Delivery:
        return self._found(delivery_id).delivery

    async def find(
        self, webhook_id: str, state: DeliveryState | None, before: int | None, limit: int
    ) -> list[Delivery]:
        of_webhook = (p.delivery for p in self._shelf.post.of(webhook_id))
        found = [
            d for d in of_webhook if state in (None, d.state) and (before is None or d.no < before)
        ]
        return sorted(found, key=lambda d: d.no, reverse=True)[:limit]

    async def again(self, delivery_id: str, now: datetime) -> Delivery:
        parcel = self._found(delivery_id)
        endpoint = self._shelf.post.endpoints[parcel.delivery.webhook_id]
        if not endpoint.webhook.active:
            raise Conflict(f"webhook {endpoint.webhook.id} is switched off")
        endpoint.webhook = replace(endpoint.webhook, held_until=None)
        parcel.leased_until = None
        parcel.delivery = replace(
            parcel.delivery, state=DeliveryState.PENDING, attempts=(), due_at=now, ended_at=None
        )
        return parcel.delivery

    async def next_at(
        self,
        now: datetime,  # noqa: ARG002 - `_free_at` knows it of each without
        traffic: Traffic,
    ) -> datetime | None:
        endpoints = self._shelf.post.endpoints
        waiting = (
            self._free_at(p)
            for p in self._waiting()
            if traffic.fits(endpoints[p.delivery.webhook_id].webhook)
        )
        return min(waiting, default=None)

    async def events(self, deliveries: Sequence[Delivery]) -> list[Event | None]:
        of_seq = {event.seq: event for event in self._shelf.events}
        return [of_seq.get(delivery.seq) for delivery in deliveries]

    def _found(self, delivery_id: str) -> Parcel:
        parcel = self._shelf.post.parcels.get(delivery_id)
        if parcel is None:
            raise NotFound(f"no delivery {delivery_id}")
        return parcel

    def _waiting(self) -> Iterator[Parcel]:
        """Yield the deliveries of active webhooks that have not ended."""
        endpoints = self._shelf.post.endpoints
        return (
            p
            for p in self._shelf.post.parcels.values()
            if p.delivery.state is DeliveryState.PENDING
            and endpoints[p.delivery.webhook_id].webhook.active
        )

    def _free_at(self, parcel: Parcel) -> datetime:
        """Return when a delivery may be claimed."""
        webhook = self._shelf.post.endpoints[parcel.delivery.webhook_id].webhook
        ends = (parcel.delivery.due_at, parcel.leased_until, webhook.held_until)
        return max(at for at in ends if at is not None)
