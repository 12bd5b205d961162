"""`DeliveryStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from crawlyard.core.event import Event
from crawlyard.core.webhook import Delivery, DeliveryState, message_id
from crawlyard.errors import NotFound
from crawlyard.store.memory.post import Endpoint, Parcel
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.text import scrubbed


@dataclass(frozen=True, slots=True)
class MemoryDeliveries:
    """`DeliveryStore` in memory."""

    _shelf: Shelf

    async def fan_out(self, now: datetime, limit: int = 500) -> int:
        post = self._shelf.post
        endpoints = [e for e in post.endpoints.values() if e.webhook.active]
        owners = {e.webhook.owner for e in endpoints}
        new = (e for e in self._shelf.events if e.seq > post.seen and e.owner in owners)
        looked_at = list(islice(new, limit))
        for event in looked_at:
            for endpoint in endpoints:
                if event.seq > endpoint.since_seq and endpoint.webhook.wants(event):
                    self._deliver(endpoint, event, now)
        full = len(looked_at) == limit
        post.seen = looked_at[-1].seq if full else self._shelf.last_event
        return len(looked_at)

    def _deliver(self, endpoint: Endpoint, event: Event, now: datetime) -> None:
        post, webhook_id = self._shelf.post, endpoint.webhook.id
        post.last_no += 1
        delivery = Delivery(
            no=post.last_no,
            id=message_id(webhook_id, event.seq),
            webhook_id=webhook_id,
            seq=event.seq,
            name=event.name,
            due_at=now,
            created_at=now,
        )
        post.parcels.setdefault(delivery.id, Parcel(delivery))

    async def claim(
        self, now: datetime, lease: timedelta, limit: int, room: int, taken: Mapping[str, int]
    ) -> list[Delivery]:
        had = Counter(taken)
        claimed: list[Delivery] = []
        due = (p for p in self._waiting() if _free_at(p) <= now)
        for parcel in sorted(due, key=lambda p: (p.delivery.due_at, p.delivery.no)):
            webhook_id = parcel.delivery.webhook_id
            if len(claimed) < limit and had[webhook_id] < room:
                had[webhook_id] += 1
                parcel.leased_until = now + lease
                claimed.append(parcel.delivery)
        return claimed

    async def settle(self, delivery: Delivery, failed_at: datetime | None) -> None:
        parcel = self._shelf.post.parcels.get(delivery.id)
        if parcel is None or parcel.delivery.state is not DeliveryState.PENDING:
            return
        parcel.delivery, parcel.leased_until = scrubbed(delivery), None
        endpoint = self._shelf.post.endpoints[delivery.webhook_id]
        since = endpoint.webhook.failing_since if failed_at is not None else None
        endpoint.webhook = replace(endpoint.webhook, failing_since=since or failed_at)

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
        parcel.leased_until = None
        parcel.delivery = replace(
            parcel.delivery, state=DeliveryState.PENDING, attempts=(), due_at=now, ended_at=None
        )
        return parcel.delivery

    async def next_at(self, without: Collection[str] = ()) -> datetime | None:
        waiting = (p for p in self._waiting() if p.delivery.webhook_id not in without)
        return min((_free_at(p) for p in waiting), default=None)

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


def _free_at(parcel: Parcel) -> datetime:
    """Return when a delivery may be claimed."""
    return max(parcel.delivery.due_at, parcel.leased_until or parcel.delivery.due_at)
