"""Slot and booking rules: the terms under which a process may request a host."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.hosts.rule import HostRule
from crawlyard.core.hosts.slots import (
    HostTerms,
    SlotHolder,
    SlotRequest,
    booking_of,
    slots_of,
    strikes_at,
)
from crawlyard.core.jobs.checkpoint import Booking
from crawlyard.core.jobs.limits import Pace, reserve


def slots(booking: Booking, earliest: datetime, now: datetime) -> tuple[datetime, datetime]:
    """Return when the first request of *booking* may be sent, and when the host is free again."""
    pace = Pace(every=timedelta(seconds=booking.every_s))
    start, booked = reserve(pace, earliest, now)
    return start, booked + pace.every * (booking.count - 1)


class HostKept(Struct, frozen=True, kw_only=True):
    """The stored booking, hold and refusals of a host."""

    booked_until: datetime | None = None
    held_until: datetime | None = None
    strikes: int = 0
    struck_at: datetime | None = None

    def free_at(self, now: datetime, booking: Booking | None = None) -> datetime:
        """Return when the host is free to be booked, by *booking* if one is given."""
        booked = self.booked_until
        if booking is not None and booked is not None and booked == booking.last:
            booked = booking.free_at
        return max(booked or now, self.held_until or now, now)

    def held(self, until: datetime, strikes: int, struck_at: datetime | None) -> "HostKept":
        """Return the host held until *until* at least, after *strikes* consecutive refusals."""
        longer = replace(self, held_until=max(until, self.held_until or until))
        if struck_at is None:
            return longer
        before = strikes_at(self.strikes, self.struck_at, self.held_until, struck_at)
        return replace(longer, strikes=max(before, strikes), struck_at=struck_at)


class Settled(Struct, frozen=True, kw_only=True):
    """The result of a slot request: the terms, and what to write for them."""

    terms: HostTerms
    seat: SlotHolder
    booked_until: datetime | None  # None: nothing was booked


def settled(
    asker: str,
    wish: SlotRequest,
    kept: HostKept,
    slot_holders: Sequence[SlotHolder],
    rule: HostRule | None,
    now: datetime,
) -> Settled:
    """Return the result of the request by *asker*; *slot_holders* are the unexpired ones."""
    nobody = SlotHolder(asker=asker, wanted=0, at_once=wish.at_once, granted=0, since=now)
    mine = next((sitter for sitter in slot_holders if sitter.asker == asker), nobody)
    others = [sitter for sitter in slot_holders if sitter.asker != asker]
    seats = slots_of(wish, mine, others, rule, now)
    others_s = max((other.every_s for other in others), default=0.0)
    every_s, count = booking_of(wish, others_s, rule)
    count = count if seats.usable else 0
    first_at, booked_until = None, None
    if count:
        booking = Booking(host=wish.host, every_s=every_s, count=count)
        first_at, booked_until = slots(booking, kept.free_at(now), now)
    return Settled(
        terms=HostTerms(
            seats=seats.usable,
            rule=rule,
            held_until=kept.held_until,
            strikes=strikes_at(kept.strikes, kept.struck_at, kept.held_until, now),
            others_s=others_s,
            first_at=first_at,
            booked=count,
            every_s=every_s,
        ),
        seat=replace(
            mine.renewed(wish.wanted, seats.granted, now),
            at_once=wish.at_once,
            every_s=wish.every_s,
        ),
        booked_until=booked_until,
    )
