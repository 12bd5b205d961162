"""How long a job may be paused: when its owner is warned, and when it is cancelled."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum, auto

_DAY = timedelta(days=1)


class PausingStep(StrEnum):
    """What is to be done about a paused job."""

    WARN = auto()  # say that it will be cancelled, and when
    CANCEL = auto()


def notice(ttl: timedelta) -> timedelta:
    """Return how long before its end a job is warned of for the last time: a day of a week."""
    return min(_DAY, ttl / 7)


def due_step(
    since: datetime, warned: Sequence[datetime], ttl: timedelta, now: datetime
) -> PausingStep | None:
    """Return what is to be done at *now* about a job paused since *since* for at most *ttl*.

    It is warned of at half of its time, and again `notice` before the end. *warned* are
    the instants at which that was done. Whatever was missed meanwhile, nothing is
    cancelled less than `notice` after its last warning.
    """
    last_call = since + ttl - notice(ttl)
    called = next((at for at in warned if at >= last_call), None)
    if called is not None:
        return PausingStep.CANCEL if now >= called + notice(ttl) else None
    if now >= last_call or (not warned and now >= since + ttl / 2):
        return PausingStep.WARN
    return None


def ends_at(since: datetime, ttl: timedelta, now: datetime) -> datetime:
    """Return when a job that is warned of at *now* is cancelled at the earliest."""
    return max(since + ttl, now + notice(ttl))
