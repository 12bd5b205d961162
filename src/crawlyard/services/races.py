"""Retries of read-modify-write changes that lose a race."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from crawlyard.errors import Conflict, Stale

TRIES = 8  # more losses in a row mean a bug

T = TypeVar("T")


async def retry_on_race(attempt: Callable[[], Awaitable[T]], complaint: str) -> T:
    """Return the result of *attempt*; repeat it each time that it loses a race.

    Raises:
        Stale: the version that the change is meant for is no longer current.
        Conflict: it lost too many races; the message begins with *complaint*.
    """
    for _ in range(TRIES):
        try:
            return await attempt()
        except Stale:
            raise
        except Conflict:
            continue
    raise Conflict(f"{complaint}; try again")
