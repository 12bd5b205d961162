"""What all shapes share: how instants, durations and text from outside are written."""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec
from msgspec import Struct

_SURROGATE = re.compile("[\ud800-\udfff]")


def rfc3339(instant: datetime) -> str:
    """Return *instant* as it is written: in UTC, to the millisecond."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole(text: str) -> str:
    """Return *text* without half characters: no encoding of JSON or CSV can hold them."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


class Wire(Struct, frozen=True, kw_only=True):
    """The base of all shapes. Fields that a newer server sends are ignored."""

    @classmethod
    def filled(cls, source: object, /, **other: Any) -> Self:
        """Return a shape with *other*, and from *source* the fields of the same names."""
        same = {n: getattr(source, n) for n in cls.__struct_fields__ if n not in other}
        return cls(**same, **other)


class Tagged(Wire, frozen=True, kw_only=True, dict=True):
    """A shape whose entity tag has a beat: a number that rises with what its version misses."""

    @property
    def beat(self) -> int | None:
        """Return the beat; it is not a field, and no answer has it."""
        return self.__dict__.get("_beat")

    def at_beat(self, beat: int | None) -> Self:
        """Return the shape itself, with that beat."""
        self.__dict__["_beat"] = beat
        return self


def encoded(value: object) -> bytes:
    """Return *value* as JSON; half characters (lone surrogates) are replaced."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(msgspec.to_builtins(value, builtin_types=(datetime,))))


def as_dict(
    item: Struct, only: Collection[str] = (), without: Collection[str] = ()
) -> dict[str, Any]:
    """Return *item* as JSON values: all its fields, or *only* some, or all *without* some."""
    told: dict[str, Any] = msgspec.to_builtins(item, builtin_types=(datetime,))
    return {
        name: _whole(value)
        for name, value in told.items()
        if (not only or name in only) and name not in without
    }


def _whole(value: Any) -> Any:
    """Return a value as JSON has it, whatever text is in it."""
    match value:
        case str():
            return whole(value)
        case datetime():
            return rfc3339(value)
        case list() | tuple():
            return [_whole(one) for one in value]
        case dict():
            return {whole(name): _whole(one) for name, one in value.items()}
    return value


API = "/api/v1"
"""Where all paths of the API begin."""


def seconds(duration: timedelta) -> float:
    """Return *duration* as it is written."""
    return round(duration.total_seconds(), 3)
