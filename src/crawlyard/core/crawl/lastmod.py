"""Dates in sitemaps: when the `lastmod` of a site is trusted, and what it says of a page."""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

PROOFS = 3
"""Changed pages that a site must have dated right before it is trusted."""

SLACK_S = timedelta(days=1).total_seconds()
"""A page may have changed for so long after its lastmod: clocks and time zones differ, dates have
no time, and caches send what is old."""

ONE_IN = 10
"""Of the pages of a trusted site, so many are requested all the same, in each run others."""


class LastmodRecord(Struct, frozen=True, kw_only=True):
    """How many changes of pages the dates in sitemaps of a host told, and how many they missed."""

    told: int = 0
    missed: int = 0

    @property
    def is_trusted(self) -> bool:
        """Return whether pages need no request if they are dated before they were fetched."""
        return self.told >= PROOFS and not self.missed

    def judged(self, *, missed: bool) -> "LastmodRecord":
        """Return the record with one more change, which the date of the page told or *missed*."""
        return LastmodRecord(told=self.told + (not missed), missed=self.missed + missed)


def instant_of(text: str) -> datetime | None:
    """Return the end of what a `lastmod` names, ``None`` if it is no date or less precise.

    Source: W3C, Date and Time Formats. Without a time zone, it is taken for UTC.
    """
    try:
        found = datetime.fromisoformat(text.strip())
        if len(text.strip()) <= len("YYYY-MM-DD"):
            found += timedelta(days=1)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def says_unchanged(lastmod: float, fetched: float) -> bool:
    """Return whether *lastmod* says that a page has not changed since it was fetched.

    Both are timestamps.
    """
    return lastmod + SLACK_S <= fetched
