"""Base of answers, which the API sends and the command line prints as JSON.

Instants are RFC 3339 in UTC, durations are seconds (``*_s``), sizes are bytes. Names only ever get
added.
"""

import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from functools import cache, partial
from operator import attrgetter
from typing import Any, ClassVar, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct
from msgspec.structs import FieldInfo, fields

from crawlyard.core.fields import marks_of

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

    _converters: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    @classmethod
    def filled(cls, source: object, /, **other: Any) -> Self:
        """Return a shape with *other*, and from *source* the fields of the same names.

        `object`, which says what kind of thing a shape is, is always the shape's own.
        """
        names, values = _copied(cls, tuple(other))
        copied = dict(zip(names, values(source), strict=False))
        for name, convert in cls._converters.items():
            if name in copied:
                copied[name] = convert(copied[name])
        return cls(**copied, **other)


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


W = TypeVar("W", bound=Wire)


def derived(declared: type[W]) -> type[W]:
    """Make a shape from the record that is its first base; a class decorator.

    It has the fields of the record in their order, without defaults and checks, and then those
    that the class adds; one that it declares again has that type. Fields marked `HIDDEN` are left
    out, values of enumerations are text, and `filled` rounds the numbers marked `rounded`.
    """
    record: type[Struct] = declared.__bases__[0]
    annotations = inspect.get_annotations(declared)
    own = {field.name: field for field in fields(declared) if field.name in annotations}
    hints = get_type_hints(record, include_extras=True)
    members: dict[str, tuple[Any, ...]] = {}
    converters: dict[str, Callable[[Any], Any]] = {}
    for name in record.__struct_fields__:
        hint, marks = hints[name], marks_of(hints[name])
        if "hidden" in marks:
            continue
        members[name] = _member(own[name]) if name in own else (name, _as_text(hint))
        shown = own[name].type if name in own else hint
        convert = _converter(shown, marks.get("digits")) or _converter(hint)
        if convert is not None:
            converters[name] = convert
    added = {name: _member(field) for name, field in own.items() if name not in members}
    if "object" in added:  # after the key, if that is in front
        first = {name: members.pop(name) for name in ("id", "n") if name in members}
        members = first | {"object": added["object"]} | members
    members |= added
    shape = defstruct(
        declared.__name__,
        list(members.values()),
        bases=(Wire,),
        namespace=_methods(declared, members) | {"_converters": converters},
        module=declared.__module__,
        frozen=True,
        kw_only=True,
    )
    return typing.cast("type[W]", shape)


def _member(field: FieldInfo) -> tuple[Any, ...]:
    return (field.name, field.type, *(() if field.required else (field.default,)))


def _methods(declared: type, fields_of_it: Collection[str]) -> dict[str, Any]:
    """Return the docstring of a class, and what it and its record define beside fields."""
    kinds = (types.FunctionType, classmethod, staticmethod, property)
    methods = {
        name: value
        for base in reversed(declared.__mro__)
        if base not in Wire.__mro__
        for name, value in vars(base).items()
        if isinstance(value, kinds) and not name.startswith("__") and name not in fields_of_it
    }
    return methods | {"__doc__": declared.__doc__}


def _converter(hint: Any, digits: int | None = None) -> Callable[[Any], Any] | None:
    """Return what makes the value of a shape from that of a record; ``None``: it is the same."""
    if digits is not None:
        return partial(round, ndigits=digits)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return str
    if isinstance(hint, type) and issubclass(hint, Wire):
        convert: Callable[[Any], Any] = getattr(hint, "of", hint.filled)
        return convert
    inner = next((c for c in map(_converter, get_args(hint)) if c), None)
    match get_origin(hint):
        case types.UnionType | typing.Union if inner is not None:
            return lambda value: None if value is None else inner(value)
        case origin if origin is tuple and inner is not None:
            return lambda values: tuple(map(inner, values))
    return None


def _as_text(hint: Any) -> Any:
    if get_origin(hint) is typing.Annotated:
        return _as_text(get_args(hint)[0])
    inside = tuple(map(_as_text, get_args(hint)))
    match get_origin(hint):
        case None if hint is object:
            return Any
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
