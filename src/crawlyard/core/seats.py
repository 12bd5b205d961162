"""Seats: how many requests at once each process may have under way to one host.

A process that asks a host takes a row of its own for it, renews it every second, and is
told how many seats it has. The rows of all of them together never hold more seats than
the host may have, and one that is not renewed lapses.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crawlyard.core.host_rule import HostRule, HostState

LAST = timedelta(seconds=10)
"""From a renewal on: the seats of a process that has died are free again after it."""

MARGIN = timedelta(seconds=1)
"""A process takes its own seats for lapsed so much earlier: no two clocks agree to the last."""

TURN = timedelta(seconds=10)
"""Where there are fewer seats than askers, they go round this often."""

STRIKES_LAST = timedelta(hours=1)
"""After the last refusal, or the end of its hold: then the first wait is short again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatWish:
    """What a process wants of a host, as all of its jobs together wish for it."""

    host: str
    wanted: int  # requests that it would have under way now; 0: it gives its seats back
    at_once: int  # the most that may be under way, whoever sends them
    keeps: int = 0  # of the seats that it has, those that it may be using meanwhile
    every_s: float = 0.0  # the delay
    book: int = 0  # instants to be booked, `every_s` apart, if there is a delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitter:
    """A row that has not lapsed: the seats of one process."""

    asker: str
    wanted: int
    at_once: int
    granted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seats:
    """What a renewal comes to."""

    granted: int  # what the row says from now on
    usable: int  # requests that may be under way; fewer where others wait for the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTerms:
    """How a process may ask a host, until it asks for the terms again."""

    seats: int = 0  # requests of it that may be under way
    rule: HostRule | None = None
    held_until: datetime | None = None
    strikes: int = 0  # refusals in a row, seen by whomever
    first_at: datetime | None = None  # the first of the instants that were booked
    booked: int = 0
    every_s: float = 0.0  # between them


def seats_of(
    wish: SeatWish, mine: Sitter, others: Sequence[Sitter], rule: HostRule | None, now: datetime
) -> Seats:
    """Return the seats of the process that wishes, *mine* being its row so far.

    It never gets more than the rows of the *others* leave. What it may be using it keeps
    for now, but is told to use no more than its share: the next renewal frees the rest.
    """
    at_once = min([wish.at_once, *(other.at_once for other in others)])
    if rule is not None:
        at_once = rule.narrowed(at_once)
        at_once = at_once if rule.state is HostState.OPEN else 0
    keeps = min(wish.keeps, mine.granted)
    share = _share(wish, mine.asker, others, at_once, now)
    free = at_once - sum(other.granted for other in others)
    granted = max(keeps, min(share, free), 0)
    return Seats(granted=granted, usable=min(share, granted))


def _share(wish: SeatWish, asker: str, others: Sequence[Sitter], seats: int, now: datetime) -> int:
    if not wish.wanted:
        return 0
    if not any(other.wanted or other.granted for other in others):
        return seats  # alone: whatever it comes to want
    wanted = {other.asker: other.wanted for other in others} | {asker: wish.wanted}
    return shares(wanted, seats, (now - _EPOCH) // TURN)[asker]


def shares(wanted: Mapping[str, int], seats: int, turn: int) -> dict[str, int]:
    """Return how many of *seats* each asker should have, none more than it wants.

    Equal parts, and what one leaves goes to the others. Where there are fewer seats
    than askers, each of these has one in its *turn*, so that nobody starves.
    """
    parts = dict.fromkeys(wanted, 0)
    hungry = deque(sorted(asker for asker, many in wanted.items() if many > 0))
    if 0 < seats < len(hungry):
        hungry.rotate(-turn)
    while seats > 0 and hungry:
        asker = hungry.popleft()
        parts[asker] += 1
        seats -= 1
        if parts[asker] < wanted[asker]:
            hungry.append(asker)
    return parts


def strikes_at(
    strikes: int, struck_at: datetime | None, held_until: datetime | None, now: datetime
) -> int:
    """Return the refusals in a row that still count at *now*."""
    ends = [at for at in (struck_at, held_until) if at is not None]
    return strikes if ends and now < max(ends) + STRIKES_LAST else 0


def booking_of(wish: SeatWish, rule: HostRule | None) -> tuple[float, int]:
    """Return how far apart, and how many, instants are booked for a wish: (seconds, count).

    None where there is no delay, or the host is not open; one where its rule asks for
    a longer delay than the jobs.
    """
    every_s = wish.every_s if rule is None else rule.slowed(wish.every_s)
    closed = rule is not None and rule.state is not HostState.OPEN
    if closed or not every_s or not wish.book:
        return every_s, 0
    return every_s, wish.book if every_s == wish.every_s else 1
