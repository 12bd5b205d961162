"""User quotas: when they keep jobs waiting."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

from crawlyard.core.access.user import Quota
from crawlyard.core.jobs.limits import Usage

DAILY: Mapping[str, str] = {"pages_per_day": "pages", "bytes_per_day": "bytes"}
"""The daily parts of a quota, and the usage that each one counts."""


def limited(quota: Quota) -> bool:
    """Return whether *quota* can hold jobs back at all; only then is it checked at a claim."""
    return any(getattr(quota, part) is not None for part in ("running", *DAILY))


def held_back(quota: Quota, running: int, today: Usage) -> str | None:
    """Return which part of *quota* prevents another job from starting; ``None`` if none does.

    The user has *running* jobs already; *today* is their usage on the day `day_of` now.
    """
    if quota.running is not None and running >= quota.running:
        return "running"
    return spent(quota, today)


def spent(quota: Quota, today: Usage) -> str | None:
    """Return which daily part of *quota* is used up, so that running jobs must stop too.

    ``None`` if none is.
    """
    for part, used in DAILY.items():
        most: int | None = getattr(quota, part)
        if most is not None and getattr(today, used) >= most:
            return part
    return None


def day_of(now: datetime) -> date:
    """Return the UTC day of *now*."""
    return now.astimezone(UTC).date()
