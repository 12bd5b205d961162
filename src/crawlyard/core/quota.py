"""When a user's quota keeps his jobs waiting."""

from datetime import UTC, date, datetime

from crawlyard.core.user import Quota


def limited(quota: Quota) -> bool:
    """Tell whether *quota* may hold jobs back at all: only then it is asked at a claim."""
    return quota.running is not None or quota.pages_per_day is not None


def held_back(quota: Quota, running: int, pages_today: int) -> str | None:
    """Return which part of *quota* lets no further job begin, ``None``: one may.

    *running* jobs of the user run already, and *pages_today* were fetched on `day_of` now.
    """
    if quota.running is not None and running >= quota.running:
        return "running"
    if quota.pages_per_day is not None and pages_today >= quota.pages_per_day:
        return "pages_per_day"
    return None


def day_of(now: datetime) -> date:
    """Return the day that *now* belongs to: days are UTC's."""
    return now.astimezone(UTC).date()
