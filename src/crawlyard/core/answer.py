"""Base of answers, which the API sends and the command line prints as JSON.

Instants are RFC 3339 in UTC, durations are seconds (``*_s``), sizes are bytes. Names only ever get
added.
"""

import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
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
    """Return *instant* in RFC 3339: UTC, milliseconds."""
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return f"{instant.isoformat(timespec='milliseconds')[:-6]}Z"


def whole(text: str) -> str:
    """Return *text* without lone surrogates, which neither JSON nor CSV can encode."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


class Wire(Struct, frozen=True, kw_only=True):
    """Base class of all answers. Fields that a newer server sends are ignored."""

    _sources: ClassVar[Mapping[str, str]] = {}
    _converters: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    @classmethod
    def filled(cls, source: object, /, **other: Any) -> Self:
        """Return the answer for a record, or one with more fields than the answer *source*.

        *other* has values for fields that *source* lacks, or overrides them.
        """
        is_answer = isinstance(source, Wire)
        names, values = _reader(cls, tuple(other), is_answer=is_answer)
        copied = dict(zip(names, values(source), strict=False))
        if not is_answer:
            for name, convert in cls._converters.items():
                if name in copied:
                    copied[name] = convert(copied[name])
        return cls(**copied, **other)


@cache
def _reader(
    shape: type[Wire], other: tuple[str, ...], *, is_answer: bool
) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    """Return the fields of an answer that are not in *other*, and a reader for them."""
    names = tuple(name for name in shape.__struct_fields__ if name not in {"object", *other})
    sources = {} if is_answer else shape._sources  # noqa: SLF001 - as `filled`
    read = [sources.get(name, name) for name in names]
    return names, attrgetter(*read, "__class__")  # of one name alone, it would return no tuple


W = TypeVar("W", bound=Wire)


def derive_answer(declared: type[W]) -> type[W]:
    """Make an answer from the record that is its first base; a class decorator.

    It has the fields of the record in their order, without defaults and checks, and then those
    that the class adds; `after` sets their position. A field that the class declares again has
    that type. Fields marked `HIDDEN` are left out, those marked `shown_as` have another name, and
    a duration is in seconds: ``grace`` becomes ``grace_s``. Values of enumerations are text, and
    `filled` rounds the numbers marked `rounded`.
    """
    record: type[Struct] = declared.__bases__[0]
    annotations = inspect.get_annotations(declared)
    own = {field.name: field for field in fields(declared) if field.name in annotations}
    members: dict[str, tuple[Any, ...]] = {}
    sources: dict[str, str] = {}
    converters: dict[str, Callable[[Any], Any]] = {}
    hints = get_type_hints(record, include_extras=True)
    for source in record.__struct_fields__:
        hint, marks = hints[source], marks_of(hints[source])
        if "hidden" in marks:
            continue
        name = marks.get("shown_as", f"{source}_s" if hint is timedelta else source)
        members[name] = _member(own[name]) if name in own else (name, _as_text(hint))
        if name != source:
            sources[name] = source
        answer_hint = own[name].type if name in own else hint
        if "digits" in marks:
            converters[name] = partial(round, ndigits=marks["digits"])
        elif (convert := _converter(answer_hint) or _converter(hint)) is not None:
            converters[name] = convert
    added = {name: _member(field) for name, field in own.items() if name not in members}
    shape = defstruct(
        declared.__name__,
        _in_order(members, added),
        bases=declared.__bases__[1:],
        namespace=_methods(declared, record, members | added)
        | {"_sources": sources, "_converters": converters},
        module=declared.__module__,
        frozen=True,
        kw_only=True,
        dict=declared.__struct_config__.dict,
    )
    return typing.cast("type[W]", shape)


def _member(field: FieldInfo) -> tuple[Any, ...]:
    return (field.name, field.type, *(() if field.required else (field.default,)))


def _in_order(
    members: Mapping[str, tuple[Any, ...]], added: Mapping[str, tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Return all fields: `object` after the key, or first if that is not in front."""
    names = list(members)
    of_object = names[0] if names[0] in {"id", "n"} else ""
    for name, member in added.items():
        place = marks_of(member[1]).get("after", of_object if name == "object" else None)
        if place is None:
            names.append(name)
        else:
            names.insert(names.index(place) + 1 if place else 0, name)
    every = {**members, **added}
    return [every[name] for name in names]


def _methods(declared: type, record: type, fields_of_it: Collection[str]) -> dict[str, Any]:
    """Return the docstring of a class, and the members that it and its record define."""
    kinds = (types.FunctionType, classmethod, staticmethod, property)
    methods = {
        name: value
        for base in (*reversed(record.__mro__), declared)
        if base not in Struct.__mro__
        for name, value in vars(base).items()
        if isinstance(value, kinds) and not name.startswith("__") and name not in fields_of_it
    }
    return methods | {"__doc__": declared.__doc__}


def _converter(hint: Any) -> Callable[[Any], Any] | None:
    """Return the converter from record value to answer value; ``None`` if they are equal."""
    inner = next((c for c in map(_converter, get_args(hint)) if c), None)
    convert: Callable[[Any], Any] | None = None
    match get_origin(hint) or hint:
        case typing.Annotated:
            convert = inner
        case types.UnionType | typing.Union if inner is not None:
            convert = partial(_unless_none, inner)
        case origin if origin is tuple and inner is not None:
            convert = partial(_each, inner)
        case origin if origin is frozenset:
            convert = _in_sequence
        case kind if kind is timedelta:
            convert = seconds
        case type() as kind if issubclass(kind, IntEnum):
            convert = str
        case type() as kind if issubclass(kind, Wire):
            convert = getattr(kind, "of", kind.filled)
    return convert


def _unless_none(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)


def _each(convert: Callable[[Any], Any], values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(map(convert, values))


def _in_sequence(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(values))


def _as_text(hint: Any) -> Any:
    """Return the type in answers: enumerations are text, durations numbers, sets sequences."""
    if get_origin(hint) is typing.Annotated:
        return _as_text(get_args(hint)[0])
    inside = tuple(map(_as_text, get_args(hint)))
    match get_origin(hint):
        case None:
            is_enum = isinstance(hint, type) and issubclass(hint, Enum)
            return str if is_enum else _PLAIN.get(hint, hint)
        case types.UnionType | typing.Union:
            return Union[inside]  # noqa: UP007 - it has any number of members
        case origin if origin is frozenset:
            return _SEQUENCE[inside[0], ...]
        case origin:
            return origin[inside]


_PLAIN: Mapping[Any, Any] = {object: Any, timedelta: float}
_SEQUENCE: Any = tuple


def shorten_shape(shape: type[Struct], paths: Collection[str], name: str) -> type[Struct]:
    """Return *shape* as *name*, in which the fields that are not in *paths* may be missing.

    A path such as ``progress.done`` is one field of a field, which is shortened as well.
    """
    paths_by_field: dict[str, list[str]] = {}
    for path in paths:
        first, _, rest = path.partition(".")
        paths_by_field.setdefault(first, []).extend([rest] if rest else ())
    members: list[Any] = []
    for field in fields(shape):
        inner = paths_by_field.get(field.name)
        if inner is None:
            members.append((field.name, Union[field.type, UnsetType], UNSET))  # noqa: UP007
        elif inner:
            of_field = name.removesuffix("Out") + field.type.__name__
            members.append((field.name, shorten_shape(field.type, inner, of_field)))
        else:
            members.append((field.name, field.type))
    doc = {"__doc__": inspect.getdoc(shape)}
    return defstruct(name, members, bases=(Wire,), namespace=doc, frozen=True, kw_only=True)


class Tagged(Wire, frozen=True, kw_only=True, dict=True):
    """An answer whose entity tag has a beat: a counter of changes that its version misses."""

    @property
    def beat(self) -> int | None:
        """Beat of this version. It is not a field, so JSON does not have it."""
        return self.__dict__.get("_beat")

    def at_beat(self, beat: int | None) -> Self:
        """Set the beat, and return the answer itself."""
        self.__dict__["_beat"] = beat
        return self


def encode_answer(value: object) -> bytes:
    """Return *value* as JSON; half characters (lone surrogates) are replaced."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(
            json_value(msgspec.to_builtins(value, builtin_types=(datetime,)))
        )


def only(value: Any, names: Mapping[str, Any]) -> Any:
    """Return *value* reduced to the members in *names*, recursively.

    Values are not converted, so omitted members are never encoded.
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
    """Return *item* as JSON values: all fields, *only* the named ones, or all *without* some."""
    members: dict[str, Any] = msgspec.to_builtins(item, builtin_types=(datetime,))
    for name in without:
        members.pop(name, None)
    if only:
        members = {name: value for name, value in members.items() if name in only}
    return {name: json_value(value) for name, value in members.items()}


def json_value(value: Any) -> Any:
    """Return a value that JSON can encode; lone surrogates in its text are replaced."""
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    return as_dict(value) if isinstance(value, Struct) else value


def _whole_list(values: Iterable[Any]) -> list[Any]:
    return [json_value(element) for element in values]


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
"""Prefix of all API paths."""


def seconds(duration: timedelta) -> float:
    """Return *duration* as it is written."""
    return round(duration.total_seconds(), 3)
