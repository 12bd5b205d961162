"""`HostStore` and `RobotsStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.checkpoint import Booking
from crawlyard.core.robots_file import RobotsFile
from crawlyard.core.seats import HostTerms, SeatWish, Sitter
from crawlyard.core.watch import HostBooking
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.pacing import slots
from crawlyard.store.seating import HostKept, settled

_NEW = HostKept()


class MemoryHosts(Struct, frozen=True):
    """`HostStore` in memory."""

    _shelf: Shelf
    _hosts: dict[str, HostKept] = field(default_factory=dict)
    _seats: dict[str, dict[str, tuple[Sitter, datetime]]] = field(default_factory=dict)  # by host

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        starts: list[datetime] = []
        for booking in bookings:
            kept = self._hosts.get(booking.host, _NEW)
            start, booked_until = slots(booking, kept.free_at(now, booking), now)
            self._hosts[booking.host] = replace(kept, booked_until=booked_until)
            starts.append(start)
        return starts

    async def sit(
        self, asker: str, wishes: Sequence[SeatWish], now: datetime, until: datetime
    ) -> list[HostTerms]:
        return [self._settle(asker, wish, now, until) for wish in wishes]

    def _settle(self, asker: str, wish: SeatWish, now: datetime, until: datetime) -> HostTerms:
        kept = self._hosts.get(wish.host, _NEW)
        rows = self._seats.setdefault(wish.host, {})
        live = [sitter for sitter, end in rows.values() if end > now]
        rule = self._shelf.host_rules.get(wish.host)
        found = settled(asker, wish, kept, live, rule, now)
        if found.seat.gone:
            rows.pop(asker, None)
            if not rows:
                del self._seats[wish.host]
        else:
            rows[asker] = (found.seat, found.seat.lasts(until))
        if found.booked_until is not None:
            self._hosts[wish.host] = replace(kept, booked_until=found.booked_until)
        return found.terms

    async def leave(self, asker: str) -> None:
        for host, rows in list(self._seats.items()):
            rows.pop(asker, None)
            if not rows:
                del self._seats[host]

    async def hold(
        self, host: str, until: datetime, strikes: int = 0, struck_at: datetime | None = None
    ) -> None:
        self._hosts[host] = self._hosts.get(host, _NEW).held(until, strikes, struck_at)

    async def forgive(self, host: str) -> None:
        if (kept := self._hosts.get(host)) is not None:
            self._hosts[host] = replace(kept, strikes=0)

    async def booked(self, hosts: Collection[str]) -> Mapping[str, HostBooking]:
        return {
            host: HostBooking(booked_until=kept.booked_until, held_until=kept.held_until)
            for host in hosts
            if (kept := self._hosts.get(host)) is not None
        }

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        old = (host for host, kept in self._hosts.items() if _is_over(kept, before))
        gone = list(islice(old, rows))
        for host in gone:
            del self._hosts[host]
        lapsed = [
            (host, asker)
            for host, seats in self._seats.items()
            for asker, (_, until) in seats.items()
            if until < before
        ][: rows - len(gone)]
        for host, asker in lapsed:
            del self._seats[host][asker]
            if not self._seats[host]:
                del self._seats[host]
        return len(gone) + len(lapsed)


def _is_over(kept: HostKept, before: datetime) -> bool:
    ends = (kept.booked_until, kept.held_until)
    return all(end is None or end < before for end in ends)


class MemoryRobots(Struct, frozen=True):
    """`RobotsStore` in memory."""

    _files: dict[str, RobotsFile] = field(default_factory=dict)

    async def get(self, origin: str, now: datetime) -> RobotsFile | None:
        file = self._files.get(origin)
        return file if file is not None and now < file.expires_at else None

    async def put(self, files: Sequence[RobotsFile]) -> None:
        for file in files:
            known = self._files.get(file.origin)
            if known is None or known.fetched_at <= file.fetched_at:
                self._files[file.origin] = file

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        old = (origin for origin, file in self._files.items() if file.expires_at < before)
        gone = list(islice(old, rows))
        for origin in gone:
            del self._files[origin]
        return len(gone)
