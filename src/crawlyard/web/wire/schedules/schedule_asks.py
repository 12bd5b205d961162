"""Instants that are asked for."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

_FIRST_YEAR, _LAST_YEAR = 1970, 9900  # a calendar from there on has room for a week


def _text(value: object) -> object:
    if not isinstance(value, (str, datetime)):
        raise ValueError("expected text such as 2027-01-01T08:00:00Z")  # noqa: TRY004 - pydantic's
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("expected an instant such as 2027-01-01T08:00:00Z") from None


def _told(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("expected an offset from UTC, such as Z or +02:00")
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"expected a year from {_FIRST_YEAR} to {_LAST_YEAR}")
    return value


AskedInstant = Annotated[
    datetime,
    BeforeValidator(_text, json_schema_input_type=str),
    AfterValidator(_told),
    Field(examples=["2027-01-01T08:00:00Z"], json_schema_extra={"format": "date-time"}),
]
"""An instant with its offset from UTC, as RFC 3339 writes it."""
