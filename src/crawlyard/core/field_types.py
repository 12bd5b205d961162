"""Field types: checks of a record's values against its annotations."""

from datetime import timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from msgspec import Struct, ValidationError, convert, defstruct
from msgspec.structs import astuple, fields, force_setattr

from crawlyard.errors import Invalid

_ONE = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    timedelta: "a timedelta",
    NoneType: "None",
}


def check_types(record: Struct, group: str = "") -> None:
    """Check that each field of *record* has a value of its type; call it in ``__post_init__``.

    A value with only one possible meaning is converted: a list to a tuple, "prefix" to
    `Scope.PREFIX`, 1e9 to a whole number. *group* is put before field names in errors.

    Raises:
        Invalid: a value has the wrong type; the message says what is accepted.
    """
    kind, given = type(record), astuple(record)
    try:
        found = astuple(convert(given, _twin(kind)))  # all at once: 0.8 µs for a JobSpec
    except ValidationError:
        found = _converted_one_by_one(kind, given, group)
    for name, before, after in zip(kind.__struct_fields__, given, found, strict=True):
        if after is not before:
            force_setattr(record, name, after)


@cache
def _twin(kind: type[Struct]) -> type[Struct]:
    """Return a struct with the same fields that reads from a tuple and has no checks."""
    return defstruct(kind.__name__, _types(kind).items(), array_like=True)


@cache
def _types(kind: type[Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in fields(kind)}


def _converted_one_by_one(
    kind: type[Struct], given: tuple[Any, ...], group: str
) -> tuple[Any, ...]:
    found = []
    for (name, of), value in zip(_types(kind).items(), given, strict=True):
        try:
            found.append(_converted(value, of))
        except ValidationError:
            got = repr(value)
            got = got if len(got) <= 100 else f"{got[:99]}…"
            raise Invalid(group + name, f"expected {_accepted(of)}, got {got}") from None
    return tuple(found)


def _converted(value: Any, kind: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # where a float is expected, it becomes one again
    if _bare(kind) is bool and type(value) is int and value in (0, 1):
        return bool(value)
    return convert(value, kind)


def _bare(kind: Any) -> Any:
    """Return a type without its metadata."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _accepted(kind: Any) -> str:
    """Return what a field of type *kind* takes, in words."""
    kind = _bare(kind)
    if kind in _ONE:
        return _ONE[kind]
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_accepted, get_args(kind)))
    if get_origin(kind) in (tuple, frozenset):
        return f"a {get_origin(kind).__name__} of {_several(get_args(kind)[0])}"
    if issubclass(kind, Enum):
        *others, last = [member.name for member in kind]
        return f"{kind.__name__}." + (f"{', '.join(others)} or {last}" if others else last)
    return str(kind.__name__)


def _several(kind: Any) -> str:
    if kind is str:
        return "strings"
    return "pairs of strings" if get_origin(kind) is tuple else _accepted(kind)
