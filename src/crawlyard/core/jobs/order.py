"""Orders of a list of jobs: sort keys and groups."""

from collections.abc import Iterable, Sequence
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.jobs.lifecycle import ENDED, State

SORTED_MOST = 10_000
"""Maximum jobs sorted by a key without an index: all are read for each part of the list."""


class SortKey(StrEnum):
    """Sort keys of jobs; those without a value come last, and equal ones with the newest first.

    `DURATION` and `PAGES` are of all attempts so far.
    """

    CREATED_AT = auto()
    STARTED_AT = auto()
    ENDED_AT = auto()
    DURATION = auto()
    PAGES = auto()
    NAME = auto()


class GroupKey(StrEnum):
    """Properties by which a list of jobs is grouped."""

    STATE = auto()  # as in `STATE_GROUPS`
    OWNER = auto()
    SCHEDULE = auto()
    HOST = auto()  # of the first start URL by name


STATE_GROUPS = (
    frozenset({State.RUNNING}),
    frozenset({State.PENDING, State.PAUSED}),
    ENDED,
)
"""Running, waiting, ended: in this order."""


class JobOrder(Struct, frozen=True, kw_only=True):
    """Order of a list of jobs: groups first, then the sort key."""

    by: SortKey = SortKey.CREATED_AT
    descending: bool = True
    group: GroupKey | None = None


Value = str | float | None
Place = tuple[str | None, Value, str]
"""Position of a job in an order: its group, its sort value, and its id."""


def in_order(jobs: Iterable[Place], *, descending: bool, after: Place | None) -> Sequence[Place]:
    """Return the places of jobs in order, those behind *after*, which need not be one of them."""
    places = list(dict.fromkeys((*jobs, *([after] if after else []))))
    places.sort(key=lambda place: place[2], reverse=True)
    with_value = [place for place in places if place[1] is not None]
    with_value.sort(key=lambda place: place[1] or 0, reverse=descending)
    places = with_value + [place for place in places if place[1] is None]
    places.sort(key=lambda place: (place[0] is None, place[0] or ""))
    return places[places.index(after) + 1 :] if after else places
