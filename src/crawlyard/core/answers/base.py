"""What all shapes share: how instants, durations and text from outside are written."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct
from msgspec.structs import fields

_SURROGATE = re.compile("[\ud800-\udfff]")


def rfc3339(instant: datetime) -> str:
    """Return *instant* as it is written: in UTC, to the millisecond."""
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return f"{instant.isoformat(timespec='milliseconds')[:-6]}Z"


def whole(text: str) -> str:
    """Return *text* without half characters: no encoding of JSON or CSV can hold them."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


class Wire(Struct, frozen=True, kw_only=True):
    """The base of all shapes. Fields that a newer server sends are ignored."""

    @classmethod
    def filled(cls, source: object, /, **other: Any) -> Self:
        """Return a shape with *other*, and from *source* the fields of the same names.

        `object`, which says what kind of thing a shape is, is always the shape's own.
        """
        names, values = _copied(cls, tuple(other))
        return cls(**dict(zip(names, values(source), strict=False)), **other)


@cache
def _copied(
    shape: type[Struct], other: tuple[str, ...]
) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    """Return the fields of a shape that are not *other*, and what reads them from a record."""
    names = tuple(name for name in shape.__struct_fields__ if name not in {"object", *other})
    return names, attrgetter(*names, "__class__")  # of one name alone, it would return no tuple


def fields_as(record: type[Struct], **otherwise: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the shape of a record, for `defstruct`: none of them has a default.

    The values of an enumeration are text there, so that other versions may have more of them.
    The fields that are shown *otherwise* have these types.
    """
    for name, hint in get_type_hints(record).items():
        yield name, otherwise[name] if name in otherwise else _as_text(hint)


def _as_text(hint: Any) -> Any:
    inside = tuple(map(_as_text, get_args(hint)))
    match get_origin(hint):
        case None:
            return str if isinstance(hint, type) and issubclass(hint, Enum) else hint
        case types.UnionType | typing.Union:
            return Union[inside]  # noqa: UP007 - it has any number of members
        case origin:
            return origin[inside]


def shortened(shape: type[Struct], paths: Collection[str], name: str) -> type[Struct]:
    """Return *shape* as *name*, in which the fields that are not in *paths* may be missing.

    A path such as ``progress.done`` is one field of a field, which is shortened as well.
    """
    kept: dict[str, list[str]] = {}
    for path in paths:
        first, _, rest = path.partition(".")
        kept.setdefault(first, []).extend([rest] if rest else ())
    members: list[Any] = []
    for field in fields(shape):
        inner = kept.get(field.name)
        if inner is None:
            members.append((field.name, Union[field.type, UnsetType], UNSET))  # noqa: UP007
        elif inner:
            of_field = name.removesuffix("Out") + field.type.__name__
            members.append((field.name, shortened(field.type, inner, of_field)))
        else:
            members.append((field.name, field.type))
    doc = {"__doc__": inspect.getdoc(shape)}
    return defstruct(name, members, bases=(Wire,), namespace=doc, frozen=True, kw_only=True)


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
        return msgspec.json.encode(
            json_value(msgspec.to_builtins(value, builtin_types=(datetime,)))
        )


def only(value: Any, names: Mapping[str, Any]) -> Any:
    """Return *value* with the members alone that *names* has, with theirs where it has any.

    Values are not converted, so that what is left out is never encoded.
    """
    if not names:
        return value
    if isinstance(value, list | tuple):
        return [only(item, names) for item in value]
    members: Mapping[str, Any]
    if isinstance(value, Struct):
        config, fields_of_value = value.__struct_config__, value.__struct_fields__
        tag = {config.tag_field: config.tag} if config.tag_field else {}
        members = tag | {name: getattr(value, name) for name in names if name in fields_of_value}
    elif isinstance(value, Mapping):
        members = value
    else:
        return value
    return {
        name: only(members[name], inner)
        for name, inner in names.items()
        if name in members and members[name] is not UNSET
    }


def as_dict(
    item: Struct, only: Collection[str] = (), without: Collection[str] = ()
) -> dict[str, Any]:
    """Return *item* as JSON values: all its fields, or *only* some, or all *without* some."""
    told: dict[str, Any] = msgspec.to_builtins(item, builtin_types=(datetime,))
    for name in without:
        told.pop(name, None)
    if only:
        told = {name: value for name, value in told.items() if name in only}
    return {name: json_value(value) for name, value in told.items()}


def json_value(value: Any) -> Any:
    """Return a value as JSON has it, whatever text is in it."""
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    return as_dict(value) if isinstance(value, Struct) else value


def _whole_list(values: Iterable[Any]) -> list[Any]:
    return [json_value(one) for one in values]


def _whole_object(members: Mapping[str, Any]) -> dict[str, Any]:
    return {whole(name): json_value(value) for name, value in members.items()}


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    str: whole,
    datetime: rfc3339,
    list: _whole_list,
    tuple: _whole_list,
    dict: _whole_object,
}


API = "/api/v1"
"""Where all paths of the API begin."""


def seconds(duration: timedelta) -> float:
    """Return *duration* as it is written."""
    return round(duration.total_seconds(), 3)
