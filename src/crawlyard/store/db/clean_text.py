"""Text from the web, cleaned so that every database accepts it.

Postgres refuses NUL, and UTF-8 cannot encode lone surrogates; pages contain both.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache, partial
from operator import attrgetter
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

T = TypeVar("T")

_UNFIT = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Return *text* with U+FFFD for every character that a database may refuse."""
    return text if is_clean(text) else _UNFIT.sub("\ufffd", text)


def is_clean(text: str) -> bool:
    """Return whether *text* is ASCII without NUL, which every database accepts (60 ns).

    False for acceptable text as well if it is not ASCII; `clean` leaves that unchanged.
    """
    # isascii only reads a flag of the string, and nearly all URLs are ASCII
    return text.isascii() and "\x00" not in text


def scrub(value: T) -> T:
    """Return *value* with all text in its mappings, sequences and records cleaned."""
    fresh: Any = _scrub(value)
    return fresh  # type: ignore[no-any-return]  # the same type as came in


def _scrub(value: Any) -> Any:
    clean_value = _cleaner(type(value))  # type: ignore[arg-type]  # every class is hashable
    return value if clean_value is None else clean_value(value)


# Cached: for a batch of 200 pages, half the time would go into type checks of 10,000 values.
@cache
def _cleaner(kind: type[Any]) -> Callable[[Any], Any] | None:
    """Return the function that cleans a value of *kind*, ``None`` if it needs no cleaning."""
    if issubclass(kind, str) and not issubclass(kind, Enum):  # enum values are our own
        return clean
    if issubclass(kind, Mapping):
        return _mapping
    if issubclass(kind, (list, tuple)):
        return _sequence
    if not issubclass(kind, Struct):
        return None
    names = kind.__struct_fields__
    return (
        partial(_record, names, attrgetter(*names))
        if len(names) > 1
        else partial(_one_field_record, names)
    )


def _mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    return {_scrub(k): _scrub(v) for k, v in value.items()}


def _sequence(value: list[Any] | tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    return type(value)([_scrub(v) for v in value])


def _record(names: Sequence[str], read: Callable[[Any], Sequence[Any]], value: Any) -> Any:
    # creating a record validates it, which takes time: rebuild only records that change
    changed = {}
    for name, before in zip(names, read(value), strict=True):
        kind = type(before)
        if kind is str and before.isascii() and "\x00" not in before:
            continue  # `is_clean`, inlined: it would be called for 40 texts per page
        way = _cleaner(kind)  # type: ignore[arg-type]  # as above
        if way is None:
            continue
        after = way(before)
        if after is not before and after != before:
            changed[name] = after
    return replace(value, **changed) if changed else value


def _one_field_record(names: Sequence[str], value: Any) -> Any:
    return _record(names, lambda it: [getattr(it, name) for name in names], value)
