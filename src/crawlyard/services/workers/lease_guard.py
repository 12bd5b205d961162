"""Lease guard: blocks requests once the lease may have expired.

A run may send requests while its lease is good, others see its worker alive, and its orders
were read recently.
"""

from collections import deque
from datetime import datetime, timedelta

from msgspec import Struct, field

from crawlyard.clock import Clock

ORDERS_EVERY = timedelta(milliseconds=250)
"""Interval between the starts of two reads of the orders; checkpoints bring orders as well."""

OLDEST_ORDERS = timedelta(milliseconds=400)
"""No request is sent on orders older than this: a pause or cancel must take effect within
half a second."""

_READS = 20  # the last five seconds


class RoundTrip(Struct):
    """Maximum age of orders, derived from the time it takes to read them."""

    oldest: timedelta = OLDEST_ORDERS
    _took_s: deque[float] = field(default_factory=lambda: deque(maxlen=_READS))

    def took(self, duration_s: float) -> None:
        """Record how long a successful read of the orders took.

        With a distant store, 400 ms pass before the next answer arrives. The fastest of the
        last reads measures the distance, so that a read that was held up does not count.
        """
        self._took_s.append(duration_s)
        distance = timedelta(seconds=min(self._took_s))
        self.oldest = max(OLDEST_ORDERS, ORDERS_EVERY + 2 * distance)


class SendPermit(Struct):
    """A worker's permission to send requests; set by the worker, read by its runs."""

    good: bool = True
    round_trip: RoundTrip = field(default_factory=RoundTrip)


class LeaseGuard:
    """Decides by the local clock how long one run may send requests without the store's answer.

    A worker that was suspended for longer than its lease notices here, before its next request;
    the store would tell it only at the next checkpoint. A worker that cannot read its orders
    must not send either, as it would miss a pause.
    """

    def __init__(
        self, permit: SendPermit, clock: Clock, until: datetime | None, asked_at: datetime
    ) -> None:
        self._permit = permit
        self._clock = clock
        self._until = until
        self._asked_at = asked_at

    def good(self) -> bool:
        """Return whether a request may be sent now."""
        now = self._clock.now()
        if self._until is None or now >= self._until or not self._permit.good:
            return False
        return now < self._asked_at + self._permit.round_trip.oldest

    def remaining(self) -> timedelta:
        """Return how long the lease lasts; zero if it was revoked or may have expired."""
        now = self._clock.now()
        return max(self._until or now, now) - now

    def renew(self, until: datetime, asked_at: datetime) -> None:
        """Record that the lease lasts at least until *until*; *asked_at* is as for `refresh`."""
        self._until = until
        self.refresh(asked_at)

    def extend(self, until: datetime) -> None:
        """Record that the lease lasts longer, unless it was revoked."""
        if self._until is not None:
            self._until = max(self._until, until)

    def refresh(self, asked_at: datetime) -> None:
        """Record that orders were read; the read began at *asked_at*."""
        self._asked_at = max(self._asked_at, asked_at)

    def revoke(self) -> None:
        """Block all requests until `renew`, as another worker holds the lease or may hold it."""
        self._until = None
