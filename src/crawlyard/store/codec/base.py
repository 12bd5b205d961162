"""What all rows share."""

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
"""What stands for an instant that cannot be read."""

_NUL = b"\\u0000"  # as JSON has it


class Row(Protocol):
    """What a query found: values by the names of their columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the value of a column."""
        ...


def to_json(value: object) -> str:
    """Return *value*, a record or JSON values, as text that every database takes."""
    try:
        text = _ENCODER.encode(value)
    except UnicodeEncodeError:  # a lone surrogate
        text = _NUL
    # nearly always there is nothing to clean, and to look at each value took longer than to write
    return (_ENCODER.encode(scrubbed(value)) if _NUL in text else text).decode()


def decoder_of(kind: type[T]) -> Decoder[T]:
    """Return what reads records of *kind*.

    Most records check no types, and rows may hold 1e9 for a whole number.
    """
    return Decoder(kind, strict=False)


def object_of(text: str) -> dict[str, Any] | None:
    """Return the JSON object that *text* is, ``None`` if it is none."""
    try:
        values = json.loads(text)
    except (ValueError, TypeError):
        return None
    return values if isinstance(values, dict) else None


def flaws(kind: type[Struct], values: Mapping[str, Any]) -> dict[str, str]:
    """Return by their names what is wrong with *values* that the fields of *kind* do not take."""
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
    if isinstance(value, str):  # of a kind of its own, as parsers give them
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_ENCODER = Encoder(enc_hook=_plain)
