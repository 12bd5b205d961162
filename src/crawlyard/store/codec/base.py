"""Helpers shared by all codecs: JSON, and the repair of damaged rows."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol, TypeVar

from msgspec import Struct, ValidationError, convert
from msgspec.json import Decoder, Encoder
from msgspec.structs import fields

from crawlyard.errors import Invalid
from crawlyard.store.db.clean_text import scrubbed

T = TypeVar("T")

UNREADABLE = datetime(1, 1, 1, tzinfo=UTC)
"""Placeholder for an instant that cannot be read."""

_NUL = b"\\u0000"  # as JSON escapes it


class Row(Protocol):
    """A row of a query's result: values by column name."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the value of a column."""
        ...


def to_json(value: object) -> str:
    """Return *value*, a record or JSON values, as JSON text that every database accepts."""
    try:
        text = _ENCODER.encode(value)
    except UnicodeEncodeError:  # a lone surrogate
        text = _NUL
    # there is hardly ever anything to clean, and checking each value took longer than encoding it
    return (_ENCODER.encode(scrubbed(value)) if _NUL in text else text).decode()


def decoder_of(kind: type[T]) -> Decoder[T]:
    """Return a decoder for records of *kind*.

    It is lenient: most records don't check types, and a row may hold 1e9 for an integer.
    """
    return Decoder(kind, strict=False)


def object_of(text: str) -> dict[str, Any] | None:
    """Return *text* decoded as a JSON object, ``None`` if it is not one."""
    try:
        values = json.loads(text)
    except (ValueError, TypeError):
        return None
    return values if isinstance(values, dict) else None


def flaws(kind: type[Struct], values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with those *values* that the fields of *kind* reject, by field name."""
    found = {}
    for name, of in _types(kind).items():
        try:
            if name in values:
                convert(values[name], of, strict=False)
        except (ValidationError, Invalid) as error:
            found[name] = str(error) if isinstance(error, Invalid) else f"{name}: {error}"
    return found


@cache
def _types(kind: type[Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in fields(kind)}


def _plain(value: object) -> str:
    if isinstance(value, str):  # a subclass, as parsers return them
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_ENCODER = Encoder(enc_hook=_plain)
