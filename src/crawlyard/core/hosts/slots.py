"""Host slots: how many concurrent requests each process may send to one host.

A process that wants to send requests to a host takes a row for it, renews it every second, and
learns how many slots it has. All rows of a host together never hold more slots than the host
allows, and a row that is not renewed expires.
"""

import math
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.hosts.hosts import HostRule, HostState
from crawlyard.core.jobs.checkpoint import Booking

LAST = timedelta(seconds=10)
"""How long a row lasts after a renewal, at most: then the slots of a silent process are free.

It is no longer than a lease, so a worker that takes over a job finds the slots free as well.
"""

MARGIN = timedelta(seconds=1)
"""A process treats its own slots as expired this much earlier: clocks never agree exactly."""

TURN = timedelta(seconds=10)
"""If there are fewer slots than processes, one that has had a slot this long gives it up."""

ALONE_S = 1.5
"""How long a process may send after booking a host that no other process needs."""

SLICE_S = 1.0
"""How long a process that shares a host sends before the next process takes over."""

SPARE_S = 0.15
"""Extra length of a window beyond its requests, as timers and connections are late."""

GUARD_S = 0.05
"""Unused end of a window: clocks of machines differ, and threads take turns."""

STRIKES_LAST = timedelta(hours=1)
"""How long refusals count, after the last one or the end of its hold; then backoff starts over."""


class SlotRequest(Struct, frozen=True, kw_only=True):
    """Request of a process for slots of a host, on behalf of all its jobs."""

    host: str
    wanted: int  # concurrent requests it could use now; 0: it returns its slots
    at_once: int  # maximum concurrent requests of all processes together
    keeps: int = 0  # slots that may be in use until the renewal
    every_s: float = 0.0  # the delay
    book: bool = False  # book a window, if there is a delay
    ahead: int = 0  # requests that are already prepared
    spare_s: float = 0.0  # added to the window of a process that is alone
    last: datetime | None = None  # see `Booking`; without `book`, the remaining time is returned
    free_at: datetime | None = None


class SlotHolder(Struct, frozen=True, kw_only=True):
    """A row that has not expired: the slots of one process."""

    asker: str
    wanted: int
    at_once: int
    granted: int
    since: datetime  # since when it has had slots, or waited for one
    every_s: float = 0.0  # the delay requested by its jobs; applies to all processes

    @property
    def is_empty(self) -> bool:
        """True if the row holds nothing that other processes need to know."""
        return not (self.wanted or self.granted or self.every_s)

    def renew(self, requests: int, granted: int, now: datetime) -> "SlotHolder":
        """Return the row after a renewal at *now*."""
        goes_on = bool(granted) == bool(self.granted) and (granted or self.wanted)
        since = self.since if goes_on else now
        return replace(self, wanted=requests, granted=granted, since=since)

    def lasts(self, until: datetime) -> datetime:
        """Return when the row expires after a renewal until *until*.

        A row without slots only carries the delay, and lasts one delay longer, until its process
        requests slots again.
        """
        return until if self.granted else until + timedelta(seconds=self.every_s)


class HostSlots(Struct, frozen=True, kw_only=True):
    """The result of a renewal."""

    granted: int  # the row's new value
    usable: int  # concurrent requests allowed; fewer if others wait for the rest


class HostTerms(Struct, frozen=True, kw_only=True):
    """The terms on which a process may send requests to a host, until its next renewal."""

    slots: int = 0  # concurrent requests of this process
    rule: HostRule | None = None
    held_until: datetime | None = None
    strikes: int = 0  # consecutive refusals, seen by any process
    others_s: float = 0.0  # the longest delay that other processes request
    alone: bool = True  # no other process wants to send requests
    first_at: datetime | None = None  # the start of the booked window
    booked: Booking | None = None


def slots_of(
    wish: SlotRequest,
    mine: SlotHolder,
    other_holders: Sequence[SlotHolder],
    rule: HostRule | None,
    now: datetime,
) -> HostSlots:
    """Return the slots of the requesting process, whose current row is *mine*.

    It never gets more than the rows of *other_holders* leave. It keeps slots that may be in use for
    now, but may use no more than its share: the next renewal frees the rest.
    """
    at_once = min([wish.at_once, *(other.at_once for other in other_holders)])
    if rule is not None:
        at_once = rule.effective_at_once(at_once)
        at_once = at_once if rule.state is HostState.OPEN else 0
    keeps = min(wish.keeps, mine.granted)
    share = _share(mine.renew(wish.wanted, mine.granted, now), other_holders, at_once, now)
    free = at_once - sum(other.granted for other in other_holders)
    granted = max(keeps, min(share, free), 0)
    return HostSlots(granted=granted, usable=min(share, granted))


def _share(mine: SlotHolder, other_holders: Sequence[SlotHolder], slots: int, now: datetime) -> int:
    if not mine.wanted:
        return 0
    if not any(other.wanted or other.granted for other in other_holders):
        return slots  # alone: it may use all of them
    return shares([mine, *other_holders], slots, now)[mine.asker]


def shares(slot_holders: Sequence[SlotHolder], slots: int, now: datetime) -> dict[str, int]:
    """Return how many of *slots* each process should have, none more than it wants.

    Shares are equal, and what one process leaves goes to the others. If there are fewer slots than
    processes, they take turns, so that none starves.
    """
    parts = dict.fromkeys((holder.asker for holder in slot_holders), 0)
    wanting = sorted((s for s in slot_holders if s.wanted > 0), key=lambda s: s.asker)
    if slots < len(wanting):
        wanting.sort(key=lambda s: _place(s, now))
    queue = deque(wanting)
    while slots > 0 and queue:
        holder = queue.popleft()
        parts[holder.asker] += 1
        slots -= 1
        if parts[holder.asker] < holder.wanted:
            queue.append(holder)
    return parts


def _place(holder: SlotHolder, now: datetime) -> tuple[int, timedelta]:
    """Return the sort key: holders within their turn, waiters, then holders past their turn."""
    elapsed = now - holder.since
    if not holder.granted:
        return 1, -elapsed  # the longest wait comes first
    return (0, -elapsed) if elapsed < TURN else (2, elapsed)


def strikes_at(
    strikes: int, struck_at: datetime | None, held_until: datetime | None, now: datetime
) -> int:
    """Return how many consecutive refusals still count at *now*."""
    ends = [at for at in (struck_at, held_until) if at is not None]
    return strikes if ends and now < max(ends) + STRIKES_LAST else 0


def window_s(every_s: float, ahead: int = 0, *, alone: bool) -> float:
    """Return how long requests may be sent in one window, at a delay of *every_s*.

    It also has room for *ahead* requests that are prepared already.
    """
    if alone:
        return ALONE_S + ahead * every_s
    more = max(ahead, math.ceil(SLICE_S / every_s) - 1)
    return more * every_s + SPARE_S


def booking_of(
    wish: SlotRequest, others_s: float, rule: HostRule | None, *, alone: bool
) -> Booking | None:
    """Return the window to book, ``None`` without a delay or if the host is not open."""
    every_s = max(wish.every_s, others_s)
    every_s = every_s if rule is None else rule.effective_delay_s(every_s)
    closed = rule is not None and rule.state is not HostState.OPEN
    if closed or not every_s or not wish.book:
        return None
    return Booking(
        host=wish.host,
        every_s=every_s,
        for_s=window_s(every_s, wish.ahead, alone=alone) + wish.spare_s * alone,
        last=wish.last,
        free_at=wish.free_at,
    )


# --- stored state


class HostKept(Struct, frozen=True, kw_only=True):
    """The stored booking, hold and refusals of a host."""

    booked_until: datetime | None = None
    held_until: datetime | None = None
    strikes: int = 0
    struck_at: datetime | None = None

    def free_at(self, now: datetime, booking: Booking | None = None) -> datetime:
        """Return when the host is free to be booked, by *booking* if one is given."""
        host = self if booking is None else self.free_from(booking.last, booking.free_at)
        return max(host.booked_until or now, self.held_until or now, now)

    def free_from(self, last: datetime | None, free_at: datetime | None) -> "HostKept":
        """Return the host free from *free_at* on, if the last window is the one until *last*."""
        if self.booked_until is None or self.booked_until != last:
            return self
        return replace(self, booked_until=free_at)

    def hold_until(self, until: datetime, strikes: int, struck_at: datetime | None) -> "HostKept":
        """Return the host held until *until* at least, after *strikes* consecutive refusals."""
        longer = replace(self, held_until=max(until, self.held_until or until))
        if struck_at is None:
            return longer
        before = strikes_at(self.strikes, self.struck_at, self.held_until, struck_at)
        return replace(longer, strikes=max(before, strikes), struck_at=struck_at)


class Settled(Struct, frozen=True, kw_only=True):
    """The result of a slot request: the terms, and what to write for them."""

    terms: HostTerms
    holder: SlotHolder
    booked_until: datetime | None  # None: as it was


def settle_slots(
    asker: str,
    wish: SlotRequest,
    host: HostKept,
    slot_holders: Sequence[SlotHolder],
    rule: HostRule | None,
    now: datetime,
) -> Settled:
    """Return the result of the request by *asker*; *slot_holders* are the unexpired ones."""
    new_holder = SlotHolder(asker=asker, wanted=0, at_once=wish.at_once, granted=0, since=now)
    mine = next((holder for holder in slot_holders if holder.asker == asker), new_holder)
    other_holders = [holder for holder in slot_holders if holder.asker != asker]
    slots = slots_of(wish, mine, other_holders, rule, now)
    others_s = max((other.every_s for other in other_holders), default=0.0)
    alone = not any(other.wanted for other in other_holders)
    booking = booking_of(wish, others_s, rule, alone=alone) if slots.usable else None
    first_at, booked_until = None, host.booked_until
    if not wish.book:
        booked_until = host.free_from(wish.last, wish.free_at).booked_until
    if booking is not None:
        first_at = host.free_at(now, booking)
        booked_until = booking.until(first_at)
    return Settled(
        terms=HostTerms(
            slots=slots.usable,
            rule=rule,
            held_until=host.held_until,
            strikes=strikes_at(host.strikes, host.struck_at, host.held_until, now),
            others_s=others_s,
            alone=alone,
            first_at=first_at,
            booked=booking,
        ),
        holder=replace(
            mine.renew(wish.wanted, slots.granted, now),
            at_once=wish.at_once,
            every_s=wish.every_s,
        ),
        booked_until=booked_until if booked_until != host.booked_until else None,
    )
