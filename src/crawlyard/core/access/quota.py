"""When a user's quota keeps his jobs waiting."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

from crawlyard.core.access.user import Quota
from crawlyard.core.jobs.limits import Usage

DAILY: Mapping[str, str] = {"pages_per_day": "pages", "bytes_per_day": "bytes"}
"""The parts of a quota that are of one day, and what of the usage they count."""


def limited(quota: Quota) -> bool:
    """Tell whether *quota* may hold jobs back at all: only then it is asked at a claim."""
    return any(getattr(quota, part) is not None for part in ("running", *DAILY))


def held_back(quota: Quota, running: int, today: Usage) -> str | None:
    """Return which part of *quota* lets no further job begin, ``None``: one may.

    *running* jobs of the user run already, and *today* is what was fetched on `day_of` now.
    """
    if quota.running is not None and running >= quota.running:
        return "running"
    return spent(quota, today)


def spent(quota: Quota, today: Usage) -> str | None:
    """Return which part of *quota* is used up for the day, so that no job goes on either."""
    for part, used in DAILY.items():
        most: int | None = getattr(quota, part)
        if most is not None and getattr(today, used) >= most:
            return part
    return None


def day_of(now: datetime) -> date:
    """Return the day that *now* belongs to: days are UTC's."""
    return now.astimezone(UTC).date()
