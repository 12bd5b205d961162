"""Which instants there can be: those that every time zone can write."""

from datetime import datetime

from crawlyard.errors import Invalid

FIRST_YEAR, LAST_YEAR = 1970, 9998  # one less than the calendar has: zones move an instant


def check_instant(field: str, instant: datetime) -> None:
    """Check an instant that is to be reckoned with.

    Raises:
        Invalid: it has no offset from UTC, or is out of the years.
    """
    if instant.tzinfo is None:
        raise Invalid(field, f"expected an instant with its offset from UTC, got {instant}")
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        expected = f"expected an instant of the years {FIRST_YEAR} to {LAST_YEAR}"
        raise Invalid(field, f"{expected}, got {instant.isoformat()}")
