"""Seats: how many requests at once each process may have under way to one host.

A process that asks a host takes a row of its own for it, renews it every second, and is
told how many seats it has. The rows of all of them together never hold more seats than
the host may have, and one that is not renewed lapses.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.hosts.rule import HostRule, HostState

LAST = timedelta(seconds=10)
"""From a renewal on: the seats of a process that has died are free again after it."""

MARGIN = timedelta(seconds=1)
"""A process takes its own seats for lapsed so much earlier: no two clocks agree to the last."""

TURN = timedelta(seconds=10)
"""Where there are fewer seats than askers, who has had one for so long gives it to who waits."""

STRIKES_LAST = timedelta(hours=1)
"""After the last refusal, or the end of its hold: then the first wait is short again."""


class SlotRequest(Struct, frozen=True, kw_only=True):
    """What a process wants of a host, as all of its jobs together wish for it."""

    host: str
    wanted: int  # requests that it would have under way now; 0: it gives its seats back
    at_once: int  # the most that may be under way, whoever sends them
    keeps: int = 0  # of the seats that it has, those that it may be using meanwhile
    every_s: float = 0.0  # the delay
    book: int = 0  # instants to be booked, `every_s` apart, if there is a delay


class SlotHolder(Struct, frozen=True, kw_only=True):
    """A row that has not lapsed: the seats of one process."""

    asker: str
    wanted: int
    at_once: int
    granted: int
    since: datetime  # it has had seats, or has waited for one
    every_s: float = 0.0  # the delay that its jobs wish for; it holds for all

    @property
    def gone(self) -> bool:
        """Tell whether the row says nothing that others need to know."""
        return not (self.wanted or self.granted or self.every_s)

    def renewed(self, wanted: int, granted: int, now: datetime) -> "SlotHolder":
        """Return what becomes of it at *now*."""
        goes_on = bool(granted) == bool(self.granted) and (granted or self.wanted)
        since = self.since if goes_on else now
        return replace(self, wanted=wanted, granted=granted, since=since)

    def lasts(self, until: datetime) -> datetime:
        """Return until when the row holds that was renewed until *until*.

        Without seats it says how long the delay is, until its process asks again.
        """
        return until if self.granted else until + timedelta(seconds=self.every_s)


class HostSlots(Struct, frozen=True, kw_only=True):
    """What a renewal comes to."""

    granted: int  # what the row says from now on
    usable: int  # requests that may be under way; fewer where others wait for the rest


class HostTerms(Struct, frozen=True, kw_only=True):
    """How a process may ask a host, until it asks for the terms again."""

    seats: int = 0  # requests of it that may be under way
    rule: HostRule | None = None
    held_until: datetime | None = None
    strikes: int = 0  # refusals in a row, seen by whomever
    others_s: float = 0.0  # the longest delay that other processes wish for
    first_at: datetime | None = None  # the first of the instants that were booked
    booked: int = 0
    every_s: float = 0.0  # between them


def seats_of(
    wish: SlotRequest,
    mine: SlotHolder,
    others: Sequence[SlotHolder],
    rule: HostRule | None,
    now: datetime,
) -> HostSlots:
    """Return the seats of the process that wishes, *mine* being its row so far.

    It never gets more than the rows of the *others* leave. What it may be using it keeps
    for now, but is told to use no more than its share: the next renewal frees the rest.
    """
    at_once = min([wish.at_once, *(other.at_once for other in others)])
    if rule is not None:
        at_once = rule.narrowed(at_once)
        at_once = at_once if rule.state is HostState.OPEN else 0
    keeps = min(wish.keeps, mine.granted)
    share = _share(mine.renewed(wish.wanted, mine.granted, now), others, at_once, now)
    free = at_once - sum(other.granted for other in others)
    granted = max(keeps, min(share, free), 0)
    return HostSlots(granted=granted, usable=min(share, granted))


def _share(mine: SlotHolder, others: Sequence[SlotHolder], seats: int, now: datetime) -> int:
    if not mine.wanted:
        return 0
    if not any(other.wanted or other.granted for other in others):
        return seats  # alone: whatever it comes to want
    return shares([mine, *others], seats, now)[mine.asker]


def shares(sitters: Sequence[SlotHolder], seats: int, now: datetime) -> dict[str, int]:
    """Return how many of *seats* each asker should have, none more than it wants.

    Equal parts, and what one leaves goes to the others. Where there are fewer seats
    than askers, they have them in turn, so that nobody starves.
    """
    parts = dict.fromkeys((sitter.asker for sitter in sitters), 0)
    hungry = sorted((s for s in sitters if s.wanted > 0), key=lambda s: s.asker)
    if seats < len(hungry):
        hungry.sort(key=lambda s: _place(s, now))
    line = deque(hungry)
    while seats > 0 and line:
        sitter = line.popleft()
        parts[sitter.asker] += 1
        seats -= 1
        if parts[sitter.asker] < sitter.wanted:
            line.append(sitter)
    return parts


def _place(sitter: SlotHolder, now: datetime) -> tuple[int, timedelta]:
    """Return the place in the line: who has his turn, who waits, whose turn is over."""
    had = now - sitter.since
    if not sitter.granted:
        return 1, -had  # who has waited longest comes first
    return (0, -had) if had < TURN else (2, had)


def strikes_at(
    strikes: int, struck_at: datetime | None, held_until: datetime | None, now: datetime
) -> int:
    """Return the refusals in a row that still count at *now*."""
    ends = [at for at in (struck_at, held_until) if at is not None]
    return strikes if ends and now < max(ends) + STRIKES_LAST else 0


def booking_of(wish: SlotRequest, others_s: float, rule: HostRule | None) -> tuple[float, int]:
    """Return how far apart, and how many, instants are booked for a wish: (seconds, count).

    None where there is no delay, or the host is not open; one where its rule or others
    ask for a longer delay than the jobs.
    """
    every_s = max(wish.every_s, others_s)
    every_s = every_s if rule is None else rule.slowed(every_s)
    closed = rule is not None and rule.state is not HostState.OPEN
    if closed or not every_s or not wish.book:
        return every_s, 0
    return every_s, wish.book if every_s == wish.every_s else 1
