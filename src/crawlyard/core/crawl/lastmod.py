"""Dates in sitemaps: when the `lastmod` of a site is trusted, and which pages it lets us skip."""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

PROOFS = 3
"""Changed pages with a correct `lastmod` before a site is trusted."""

SLACK_S = timedelta(days=1).total_seconds()
"""A page may change up to this long after its lastmod: clocks and time zones differ, dates have
no time, and caches serve old content."""

ONE_IN = 10
"""Share of the pages of a trusted site that are requested anyway, different ones in each run."""


class LastmodRecord(Struct, frozen=True, kw_only=True):
    """Counts of page changes that the sitemap dates of a host announced, and that they missed."""

    told: int = 0
    missed: int = 0

    @property
    def is_trusted(self) -> bool:
        """True if pages dated before they were fetched need no request."""
        return self.told >= PROOFS and not self.missed

    def count_change(self, *, missed: bool) -> "LastmodRecord":
        """Return the record with one more change, which the page's date announced or *missed*."""
        return LastmodRecord(told=self.told + (not missed), missed=self.missed + missed)


def instant_of(text: str) -> datetime | None:
    """Return the end of the period that a `lastmod` names; ``None`` if it is not a date.

    Source: W3C, Date and Time Formats. Without a time zone, it is read as UTC.
    """
    try:
        instant = datetime.fromisoformat(text.strip())
        if len(text.strip()) <= len("YYYY-MM-DD"):
            instant += timedelta(days=1)
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def says_unchanged(lastmod: float, fetched: float) -> bool:
    """Return whether *lastmod* says that a page has not changed since it was fetched.

    Both are timestamps.
    """
    return lastmod + SLACK_S <= fetched
