"""What is asked of a store about webhooks and their deliveries."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from crawlyard.core.event import Event
from crawlyard.core.room import Traffic
from crawlyard.core.webhook import Delivery, DeliveryState, Webhook


class WebhookQuery(Struct, frozen=True, kw_only=True):
    """Which webhooks; an empty field asks nothing."""

    owner: str | None = None
    job_id: str | None = None  # those of this job; "" : those of no job
    before: str | None = None  # an id: what is behind it, in the order of `find`
    id_part: str = ""  # the beginning or the end of an id


class Claimed(Struct, frozen=True, kw_only=True):
    """A delivery that is leased, and where it goes."""

    delivery: Delivery
    webhook: Webhook


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

        What `DeliveryStore.settle` writes stays as it is: whether it fails, and since when.
        Only switched on does it begin anew. A rest that its receiver asked for is over.

        One that is switched off is through with what waits for it: those deliveries have
        failed. One that is switched on gets the events that are written from now on. Where
        much waits, that is done in further transactions, which make it true again if they
        were broken off.

        Raises:
            Conflict: the stored version is another, or it is gone.
        """
        ...

    async def find(self, query: WebhookQuery, limit: int) -> list[Webhook]:
        """Return the webhooks that *query* asks for, newest first, at most *limit*."""
        ...

    async def deliveries(self, webhook_id: str) -> Mapping[DeliveryState, int]:
        """Return how many deliveries a webhook has in each state, zeros left out."""
        ...

    async def delete(self, webhook_id: str, version: int, event: Event) -> None:
        """Delete a webhook with its deliveries; of many, most go in transactions before.

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

    async def claim(self, now: datetime, lease: timedelta, traffic: Traffic) -> list[Claimed]:
        """Lease due deliveries, the earliest first, as far as *traffic* has room for them.

        Their webhooks are active, and no receiver of them has asked for a rest. *traffic*
        counts them. Two callers never get the same one until its lease has lapsed.
        """
        ...

    async def settle(
        self, claimed: Delivery, after: Delivery, held_until: datetime | None = None
    ) -> Event | None:
        """Write what became of a *claimed* delivery and free it; let its webhook hear of it.

        Return the event that was written if that switched the webhook off, as
        `Webhook.heard` says. Nothing is written if the delivery is not as it was claimed
        any more: another has settled it, it is to be made again, or it is gone.
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

        A rest that its receiver asked for is over.

        Raises:
            NotFound: there is none of that id.
            Conflict: its webhook is switched off.
        """
        ...

    async def next_at(self, now: datetime, traffic: Traffic) -> datetime | None:
        """Return when `claim` will find something again, ``None`` if nothing waits.

        Perhaps an instant that is over; what *traffic* has no room for is left out.
        """
        ...

    async def events(self, deliveries: Sequence[Delivery]) -> list[Event | None]:
        """Return the event of each delivery, ``None`` where it has been forgotten."""
        ...
