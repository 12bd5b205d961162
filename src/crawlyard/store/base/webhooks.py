"""What is asked of a store about webhooks and their deliveries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from crawlyard.core.event import Event
from crawlyard.core.webhook import Delivery, DeliveryState, Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookQuery:
    """Which webhooks; an empty field asks nothing."""

    owner: str | None = None
    job_id: str | None = None  # those of this job; "" : those of no job


class WebhookStore(Protocol):
    """The endpoints that events are delivered to."""

    async def add(self, webhook: Webhook, event: Event) -> None:
        """Remember a new webhook; it gets the events that are written from now on.

        Raises:
            Conflict: its id is taken.
        """
        ...

    async def get(self, webhook_id: str) -> Webhook:
        """Return a webhook.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def save(self, webhook: Webhook, event: Event) -> None:
        """Replace version ``webhook.version - 1`` and add the event.

        One that is switched off is through with what waits for it: those deliveries have
        failed. One that is switched on gets the events that are written from now on.

        Raises:
            Conflict: the stored version is another, or it is gone.
        """
        ...

    async def find(self, query: WebhookQuery, limit: int) -> list[Webhook]:
        """Return the webhooks that *query* asks for, newest first, at most *limit*."""
        ...

    async def delete(self, webhook_id: str, version: int, event: Event) -> None:
        """Delete a webhook with its deliveries.

        Raises:
            Conflict: the stored version is another, or it is gone.
        """
        ...


class DeliveryStore(Protocol):
    """What is to be delivered, and what became of it."""

    async def fan_out(self, now: datetime, limit: int = 500) -> int:
        """Make deliveries, due at *now*, of the next events that no call has looked at.

        One transaction for at most *limit* events, each looked at once by all callers
        together; an active webhook gets each event that it `wants` once. Return how many
        events were looked at; those of users without a webhook are passed over.
        """
        ...

    async def claim(
        self, now: datetime, lease: timedelta, limit: int, room: int, taken: Mapping[str, int]
    ) -> list[Delivery]:
        """Lease due deliveries of active webhooks, the earliest first, at most *limit*.

        Of one webhook at most *room* come, less what *taken* says that it has already.
        Two callers never get the same one until its lease has lapsed.
        """
        ...

    async def settle(self, delivery: Delivery, failed_at: datetime | None) -> None:
        """Write what became of a leased delivery and free it.

        Its webhook is failing since *failed_at* if it was not before; ``None``: it is not.
        Nothing is written if the delivery is gone, or has ended meanwhile.
        """
        ...

    async def get(self, delivery_id: str) -> Delivery:
        """Return a delivery.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def find(
        self, webhook_id: str, state: DeliveryState | None, before: int | None, limit: int
    ) -> list[Delivery]:
        """Return deliveries with a key below *before*, newest first, at most *limit*."""
        ...

    async def again(self, delivery_id: str, now: datetime) -> Delivery:
        """Make a delivery due once more, whatever its state; its attempts begin anew.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def next_at(self, without: Collection[str] = ()) -> datetime | None:
        """Return when `claim` will find something again, ``None`` if nothing waits.

        Perhaps an instant that is over; webhooks in *without* are left out.
        """
        ...

    async def events(self, deliveries: Sequence[Delivery]) -> list[Event | None]:
        """Return the event of each delivery, ``None`` where it has been forgotten."""
        ...
