"""Whether a run may send requests.

It may while its lease is good, others see its worker alive, and its orders were read recently.
"""

from collections import deque
from datetime import datetime, timedelta

from msgspec import Struct, field

from crawlyard.clock import Clock

ORDERS_EVERY = timedelta(milliseconds=250)
"""Between the starts of two reads of the orders; checkpoints bring them as well."""

OLDEST_ORDERS = timedelta(milliseconds=400)
"""Nothing is sent on orders that were asked for so long ago: a pause or cancel is to be true
within half a second."""

_READS = 20  # the last ones: five seconds


class RoundTrip(Struct):
    """How old orders may be, given how long it takes to read them."""

    oldest: timedelta = OLDEST_ORDERS
    _took_s: deque[float] = field(default_factory=lambda: deque(maxlen=_READS))

    def took(self, duration_s: float) -> None:
        """Take note of a read that was answered.

        With a distant store, 400 ms are over before the next answer is there. The quickest
        of the last reads tells how distant it is: one that was held up must not count.
        """
        self._took_s.append(duration_s)
        distance = timedelta(seconds=min(self._took_s))
        self.oldest = max(OLDEST_ORDERS, ORDERS_EVERY + 2 * distance)


class SendPermit(Struct):
    """Whether a worker may send at all; the worker sets it, its runs look at it."""

    good: bool = True
    round_trip: RoundTrip = field(default_factory=RoundTrip)


class LeaseGuard:
    """How long one run may send, by our own clock, without an answer of the store.

    A worker that was stopped for longer than its lease finds it out here, before its next
    request: the store would tell it only at the next checkpoint. One that cannot read its
    orders would not hear of a pause.
    """

    def __init__(
        self, licence: SendPermit, clock: Clock, until: datetime | None, asked_at: datetime
    ) -> None:
        self._licence = licence
        self._clock = clock
        self._until = until
        self._asked_at = asked_at

    def good(self) -> bool:
        """Tell whether a request may be sent now."""
        now = self._clock.now()
        if self._until is None or now >= self._until or not self._licence.good:
            return False
        return now < self._asked_at + self._licence.round_trip.oldest

    def renew(self, until: datetime, asked_at: datetime) -> None:
        """Take note that the lease lasts until then, at least; see `hear`."""
        self._until = until
        self.hear(asked_at)

    def hear(self, asked_at: datetime) -> None:
        """Take note of orders that were asked for at that instant."""
        self._asked_at = max(self._asked_at, asked_at)

    def revoke(self) -> None:
        """Send nothing more until `renew`: the lease is another's, or may be."""
        self._until = None
