"""Range of supported times: those that every time zone can represent."""

from datetime import datetime

from crawlyard.errors import Invalid

FIRST_YEAR, LAST_YEAR = 1970, 9998  # one year less than datetime has: a zone shifts a time


def check_instant(field: str, instant: datetime) -> None:
    """Check a time that will be used in calculations.

    Raises:
        Invalid: it has no UTC offset, or is out of range.
    """
    if instant.tzinfo is None:
        raise Invalid(field, f"expected an instant with its offset from UTC, got {instant}")
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        expected = f"expected an instant of the years {FIRST_YEAR} to {LAST_YEAR}"
        raise Invalid(field, f"{expected}, got {instant.isoformat()}")
