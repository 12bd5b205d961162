"""What is asked of a store about hosts: their pace, and what operators say of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from crawlyard.core.checkpoint import Booking
from crawlyard.core.event import Event
from crawlyard.core.host_rule import HostRule
from crawlyard.core.robots_file import RobotsFile
from crawlyard.core.seats import HostTerms, SeatWish
from crawlyard.core.watch import HostBooking


class HostStore(Protocol):
    """How each host is asked by all processes on one store together."""

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        """Book requests; return when the first of each may leave, in the order asked.

        The others of a booking follow *every_s* apart. Bookings of one host never
        overlap, whoever made them, and none begins before the host's hold ends.
        """
        ...

    async def sit(
        self, asker: str, wishes: Sequence[SeatWish], now: datetime, until: datetime
    ) -> list[HostTerms]:
        """Renew the seats of a process until *until*; return its terms, in the order asked.

        As `core.seats.seats_of` says, with the bookings that it asks for; a host is
        named once. The seats of a row that is not renewed are free from its *until* on.
        """
        ...

    async def leave(self, asker: str) -> None:
        """Give all seats of a process back."""
        ...

    async def hold(
        self, host: str, until: datetime, strikes: int = 0, struck_at: datetime | None = None
    ) -> None:
        """Let no booking of *host* begin before *until*; an earlier one changes nothing.

        *strikes*: the refusals in a row that led to it, the last of them at *struck_at*.
        A number that is lower than what still counts changes nothing.
        """
        ...

    async def forgive(self, host: str) -> None:
        """Count no refusals of *host* any more: it has answered."""
        ...

    async def booked(self, hosts: Collection[str]) -> Mapping[str, HostBooking]:
        """Return how far ahead these hosts are booked; one that nobody has booked is left out."""
        ...

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* rows of hosts and seats that ended before *before*.

        Of hosts: bookings and holds; of seats: those that lapsed. Return how many.
        Whoever asks one of these hosts next is the first to do so.
        """
        ...


class RobotsStore(Protocol):
    """The robots.txt that was had of each origin."""

    async def get(self, origin: str, now: datetime) -> RobotsFile | None:
        """Return the file of an origin if it still holds at *now*."""
        ...

    async def put(self, files: Sequence[RobotsFile]) -> None:
        """Keep files, each in place of one that was had earlier; an origin is named once."""
        ...

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* files that ceased to hold before *before*; return how many."""
        ...


class HostRuleStore(Protocol):
    """What operators say of hosts; a host without a rule is treated as its jobs wish."""

    async def find(self, after: str, limit: int) -> list[HostRule]:
        """Return the rules of hosts behind *after*, by host, at most *limit*."""
        ...

    async def get(self, host: str) -> HostRule:
        """Return the rule of a host.

        Raises:
            NotFound: it has none.
        """
        ...

    async def put(self, rule: HostRule, event: Event) -> None:
        """Keep a rule in place of version ``rule.version - 1``; version 1 is a new one.

        Raises:
            Conflict: the stored version is another.
        """
        ...

    async def delete(self, host: str, version: int, event: Event) -> None:
        """Delete the rule of a host.

        Raises:
            Conflict: the stored version is another, or there is none.
        """
        ...
