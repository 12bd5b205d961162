"""What is to be delivered where: webhooks, their deliveries, and who has leased which."""

from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct, field

from crawlyard.core.webhook import Delivery, DeliveryState, Webhook


class Endpoint(Struct):
    """A webhook, and above which event it hears."""

    webhook: Webhook
    since_seq: int


class Parcel(Struct):
    """A delivery, and until when somebody has leased it."""

    delivery: Delivery
    leased_until: datetime | None = None


class Post(Struct):
    """All webhooks, all deliveries, and how far the events have been looked at."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    parcels: dict[str, Parcel] = field(default_factory=dict)  # by the delivery's id
    seen: int = 0
    last_no: int = 0

    def of(self, webhook_id: str) -> Iterator[Parcel]:
        """Yield the deliveries of a webhook, the oldest first."""
        return (p for p in self.parcels.values() if p.delivery.webhook_id == webhook_id)

    def give_up(self, webhook_id: str, at: datetime) -> None:
        """Let all that waits for a webhook have failed."""
        for parcel in self.of(webhook_id):
            if parcel.delivery.state is DeliveryState.PENDING:
                parcel.delivery, parcel.leased_until = parcel.delivery.given_up(at), None

    def remove(self, webhook_id: str) -> int:
        """Remove a webhook with its deliveries; return how many things that were."""
        gone = [p.delivery.id for p in self.of(webhook_id)]
        for delivery_id in gone:
            del self.parcels[delivery_id]
        del self.endpoints[webhook_id]
        return 1 + len(gone)
