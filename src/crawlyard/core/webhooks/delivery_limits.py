"""Delivery limits: concurrent messages in total, per owner and per receiver, and turns."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from crawlyard.core.webhooks.webhook import Webhook


class DeliveryRoom(Struct, frozen=True, kw_only=True):
    """Limits for concurrent messages of one sender."""

    in_all: int = 256
    of_owner: int = 64  # to any number of receivers, so that other owners have room
    to_receiver: int = 4  # one host and port, for any number of webhooks
    to_failing: int = 1  # to one webhook that is failing, or one channel


DEFAULT_ROOM = DeliveryRoom()


class Traffic:
    """The messages in flight, counted against the limits.

    *served* has the order in which webhooks were last sent a message: `take` updates it.
    """

    def __init__(
        self,
        room: DeliveryRoom = DEFAULT_ROOM,
        under_way: Iterable[Webhook] = (),
        served: dict[str, int] | None = None,
    ) -> None:
        self._room = room
        self._served = {} if served is None else served
        self._of_owner: Counter[str] = Counter()
        self._to_receiver: Counter[str] = Counter()
        self._to_webhook: Counter[str] = Counter()
        for webhook in under_way:
            self._count(webhook)

    @property
    def free(self) -> int:
        """Number of further messages that may be sent."""
        return max(0, self._room.in_all - self._to_webhook.total())

    @property
    def owners(self) -> list[str]:
        """The owners that have reached their limit."""
        return _at_least(self._room.of_owner, self._of_owner)

    @property
    def receivers(self) -> list[str]:
        """The receivers that have reached their limit."""
        return _at_least(self._room.to_receiver, self._to_receiver)

    @property
    def busy(self) -> list[str]:
        """Ids of the webhooks that get no further message if they get `one_at_a_time`."""
        return _at_least(self._room.to_failing, self._to_webhook)

    def take(self, webhook: Webhook) -> bool:
        """Count one more message to *webhook* if it may be sent; return whether it may."""
        fits = (
            self.free > 0
            and self._of_owner[webhook.owner] < self._room.of_owner
            and self._to_receiver[webhook.receiver] < self._room.to_receiver
            and (not webhook.one_at_a_time or self._to_webhook[webhook.id] < self._room.to_failing)
        )
        if fits:
            self._count(webhook)
            self._served.pop(webhook.id, None)  # the last one served is the last in it
            self._served[webhook.id] = 1 + max(self._last_served, 0)
        return fits

    def turn(self, webhook: Webhook) -> tuple[int, int]:
        """Return a key that sorts webhooks: fewest messages in flight, longest not served."""
        return self._to_webhook[webhook.id], self._served.get(webhook.id, 0)

    @property
    def _last_served(self) -> int:
        return next(reversed(self._served.values()), 0)

    def _count(self, webhook: Webhook) -> None:
        self._of_owner[webhook.owner] += 1
        self._to_receiver[webhook.receiver] += 1
        self._to_webhook[webhook.id] += 1


def _at_least(room: int, counted: Counter[str]) -> list[str]:
    return sorted(key for key, count in counted.items() if count >= room)
