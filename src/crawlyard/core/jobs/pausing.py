"""Paused jobs: when to warn the owner, and when to cancel."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum, auto

_DAY = timedelta(days=1)


class PausingStep(StrEnum):
    """What to do about a paused job."""

    WARN = auto()  # say that it will be cancelled, and when
    CANCEL = auto()


def notice(ttl: timedelta) -> timedelta:
    """Return how long before the end the last warning is sent: a seventh of *ttl*, up to a day."""
    return min(_DAY, ttl / 7)


def due_step(
    since: datetime, warned: Sequence[datetime], ttl: timedelta, now: datetime
) -> PausingStep | None:
    """Return what to do at *now* about a job paused since *since* for at most *ttl*.

    The owner is warned at half of the time, and again `notice` before the end. *warned* lists the
    times of the warnings so far. Whatever was missed meanwhile, no job is cancelled less than
    `notice` after its last warning.
    """
    last_call = since + ttl - notice(ttl)
    called = next((at for at in warned if at >= last_call), None)
    if called is not None:
        return PausingStep.CANCEL if now >= called + notice(ttl) else None
    if now >= last_call or (not warned and now >= since + ttl / 2):
        return PausingStep.WARN
    return None


def ends_at(since: datetime, ttl: timedelta, now: datetime) -> datetime:
    """Return the earliest time at which a job that is warned of at *now* is cancelled."""
    return max(since + ttl, now + notice(ttl))
