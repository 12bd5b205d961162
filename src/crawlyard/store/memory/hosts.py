"""`HostStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from crawlyard.core.checkpoint import (
    Booking,
)
from crawlyard.core.watch import HostBooking
from crawlyard.store.pacing import slots

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class MemoryHosts:
    """`HostStore` in memory."""

    _booked: dict[str, datetime] = field(default_factory=dict)
    _holds: dict[str, datetime] = field(default_factory=dict)

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        starts: list[datetime] = []
        for booking in bookings:
            earliest = max(self._booked.get(booking.host, now), self._holds.get(booking.host, now))
            start, self._booked[booking.host] = slots(booking, earliest, now)
            starts.append(start)
        return starts

    async def hold(self, host: str, until: datetime) -> None:
        self._holds[host] = max(until, self._holds.get(host, until))

    async def booked(self, hosts: Collection[str]) -> Mapping[str, HostBooking]:
        known = set(hosts) & (self._booked.keys() | self._holds.keys())
        return {
            host: HostBooking(booked_until=self._booked.get(host), held_until=self._holds.get(host))
            for host in known
        }

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        ends = (self._booked, self._holds)
        known = self._booked.keys() | self._holds.keys()
        old = (h for h in known if all(until.get(h, _LONG_AGO) < before for until in ends))
        gone = list(islice(old, rows))
        for host in gone:
            for until in ends:
                until.pop(host, None)
        return len(gone)
