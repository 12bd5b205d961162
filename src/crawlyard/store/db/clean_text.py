"""Text from the web, made fit for every database.

Postgres refuses NUL, and no UTF-8 has lone surrogates; pages have both.
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
    """Tell whether *text* has nothing that a database may refuse; of most that has, in 60 ns."""
    # isascii is a flag of the string: nearly all URLs end here
    return text.isascii() and "\x00" not in text


def scrubbed(value: T) -> T:
    """Return *value* with all text in it cleaned: in mappings, sequences and records."""
    fresh: Any = _scrubbed(value)
    return fresh  # type: ignore[no-any-return]  # the same type as came in


def _scrubbed(value: Any) -> Any:
    way = _way(type(value))  # type: ignore[arg-type]  # a class is hashable, whatever it makes
    return value if way is None else way(value)


# Of a batch of 200 pages, half the time would go into asking of 10,000 values what each of them is.
@cache
def _way(kind: type[Any]) -> Callable[[Any], Any] | None:
    """Return what cleans a value of *kind*, ``None`` where there is nothing to be cleaned."""
    if issubclass(kind, str) and not issubclass(kind, Enum):  # an enum's words are ours
        return clean
    if issubclass(kind, Mapping):
        return _mapping
    if issubclass(kind, (list, tuple)):
        return _sequence
    if not issubclass(kind, Struct):
        return None
    names = kind.__struct_fields__
    return partial(_record, names, attrgetter(*names)) if len(names) > 1 else partial(_one, names)


def _mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    return {_scrubbed(k): _scrubbed(v) for k, v in value.items()}


def _sequence(value: list[Any] | tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    return type(value)([_scrubbed(v) for v in value])


def _record(names: Sequence[str], read: Callable[[Any], Sequence[Any]], value: Any) -> Any:
    # records check themselves when they are made: only those that change are made anew
    changed = {}
    for name, before in zip(names, read(value), strict=True):
        kind = type(before)
        if kind is str and before.isascii() and "\x00" not in before:
            continue  # as `is_clean` says, without a call for each of 40 texts a page
        way = _way(kind)  # type: ignore[arg-type]  # as above
        if way is None:
            continue
        after = way(before)
        if after is not before and after != before:
            changed[name] = after
    return replace(value, **changed) if changed else value


def _one(names: Sequence[str], value: Any) -> Any:
    return _record(names, lambda it: [getattr(it, name) for name in names], value)
