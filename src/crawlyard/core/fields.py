"""Record fields: their documentation, labels, options and bounds, declared in annotations.

The command line, the JSON form, the API's schema and the reference pages are made from it.
"""

import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from enum import Enum, StrEnum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct, StructMeta, ValidationError, convert, defstruct
from msgspec.structs import astuple, fields, force_setattr
from msgspec.structs import fields as struct_fields

from crawlyard.core.parse import suggestion
from crawlyard.errors import Invalid


class Panel(StrEnum):
    """The groups of options, in the order of the help and of the forms."""

    SCOPE = "Scope"
    LIMITS = "Limits"
    PACE = "Pace"
    OUTPUT = "Output"
    RECRAWL = "Recrawl"
    RENDERING = "Rendering"
    ACCESS = "Access"
    JOB = "Job"


class About(Struct, frozen=True, kw_only=True):
    """Metadata of a field; `about` puts it into the annotation."""

    doc: str  # for the reference, without a full stop
    label: str = ""  # in forms; empty: the name in words
    words: Mapping[str, str] = {}  # in forms: label of each choice; for a text, suggestions
    help: str = ""  # text of the command-line option, a sentence; empty: derived from doc
    panel: Panel | None = None  # None: no option; forms show it under Advanced
    flag: str = ""  # by default "--" and the field's name
    metavar: str = ""
    of: str = ""  # items of a list: "URLs"
    null: str = ""  # meaning of null; empty: null is not accepted
    editable: bool = False  # until the job is over
    above: float | None = None  # exclusive lower bound
    least: float | None = None
    most: float | None = None
    longest: int | None = None  # characters of a text, members of a list
    secret: bool = False  # may contain credentials: errors do not quote it

    @property
    def summary(self) -> str:
        """The text of the reference with a capital; `str.capitalize` would lower "CSS"."""
        return self.doc[:1].upper() + self.doc[1:]


def about(doc: str, **metadata: Any) -> Meta:
    """Return metadata for the end of an `Annotated`; see `About`."""
    return Meta(extra={"about": About(doc=doc, **metadata)})


SECRET = Meta(extra={"secret": True})
"""Marks a parameter of an endpoint that contains credentials: errors do not quote it."""


HIDDEN = Meta(extra={"hidden": True})
"""Marks a field of a record that is never part of an answer."""


def round_to(digits: int) -> Meta:
    """Return the mark of a number that answers round to *digits* after the point."""
    return Meta(extra={"digits": digits})


def answer_name(name: str) -> Meta:
    """Return the mark of a field of a record that is called *name* in answers."""
    return Meta(extra={"shown_as": name})


def after(name: str) -> Meta:
    """Return the mark of a field added by an answer: it follows *name*; empty: it comes first."""
    return Meta(extra={"after": name})


def marks_of(hint: Any) -> Mapping[str, Any]:
    """Return the metadata of an annotation, outer and inner."""
    return _unwrap(hint)[1]


def unit(name: str, metavar: str) -> Meta:
    """Return the unit of a number ("s", "bytes" or none) and how the option's help names it."""
    return Meta(extra={"unit": name, "metavar": metavar})


Count = Annotated[int, unit("", "N")]
Bytes = Annotated[int, unit("bytes", "SIZE")]
Seconds = Annotated[float, unit("s", "TIME")]


class Field(Struct, frozen=True, kw_only=True):
    """A field of a record, or of a record inside that record."""

    path: str  # "limits.pages"
    kind: Any  # the type, without None and metadata; of a tuple or a frozenset that of its items
    many: bool  # a tuple or a frozenset of it
    default: Any
    about: About
    unit: str | None  # None: not a number with a unit
    metavar: str

    @property
    def group(self) -> str:
        """The object that contains it: "limits", "retry", or nothing."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name in that object, and in the record."""
        return self.path.rpartition(".")[2]

    @property
    def label(self) -> str:
        """Label in forms: declared, or made from the name."""
        return self.about.label or self.name.removesuffix("_s").replace("_", " ").capitalize()

    @property
    def flag(self) -> str:
        """The option that sets it; empty if there is none."""
        if self.about.panel is None:
            return ""
        return self.about.flag or f"--{self.name.removesuffix('_s').replace('_', '-')}"

    @property
    def choices(self) -> type[Enum] | None:
        """The enumeration of its values; ``None`` if it is not an enumeration."""
        return self.kind if isinstance(self.kind, type) and issubclass(self.kind, Enum) else None


class _NamesChecked(StructMeta):
    """Checks the names in a call; decoding does not pass here. It takes 1 µs."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - of a metaclass
        """Return a record.

        Raises:
            TypeError: a name is unknown, as for any class.
        """
        names = cls.__struct_fields__
        for name in kwargs:
            if name not in names:
                hint = suggestion(name, names) or f"; there are {', '.join(names)}"
                raise TypeError(f"{cls.__name__} has no option {name!r}{hint}")
        return super().__call__(*args, **kwargs)


class OptionRecord(Struct, frozen=True, kw_only=True, metaclass=_NamesChecked):
    """A record that checks its values, and suggests the closest option for a misspelt one.

    Raises:
        Invalid: a value has the wrong type or is out of its bounds.
    """

    _group: ClassVar[str] = ""  # prefix of field names in errors

    def __post_init__(self) -> None:
        check_types(self, self._group)
        check_bounds(self, self._group)


_stored: ContextVar[bool] = ContextVar("stored", default=False)


@contextmanager
def as_stored() -> Iterator[None]:
    """Allow records read from a store to exceed their upper bounds: a newer program may raise them.

    Values below a lower bound stay errors: zero requests at a time have no meaning.
    """
    token = _stored.set(True)
    try:
        yield
    finally:
        _stored.reset(token)


def check_all(*checks: Callable[[], object]) -> None:
    """Run all *checks*, and raise all their faults as one error.

    Raises:
        Invalid: a check failed; `Invalid.faults` has the faults of all of them.
    """
    errors: list[Invalid] = []
    for check in checks:
        try:
            check()
        except Invalid as error:
            errors.append(error)
    if errors:
        raise Invalid.of(errors) from None


def check_record(record: Struct, checks: Iterable[Callable[[], object]]) -> None:
    """Check the types of *record*, then its bounds together with *checks*; for ``__post_init__``.

    Raises:
        Invalid: a check failed.
    """
    check_types(record)
    check_all(partial(check_bounds, record), *checks)


def check_bounds(record: Struct, group: str = "") -> None:
    """Check that each field of *record* is within the bounds of its metadata.

    *group* is a prefix of field names in errors.

    Raises:
        Invalid: a value is out of its bounds; the message names the field.
    """
    stored = _stored.get()
    faults: list[Invalid] = []
    for name, field in _fields_with_bounds(type(record)):
        value, bounds = getattr(record, name), field.about
        if value is None or value == field.default or isinstance(value, Enum):
            continue  # most values are defaults, which are within their bounds
        if bounds.longest is not None:
            if not stored and len(value) > bounds.longest:
                message = f"expected at most {bounds.longest}, got {len(value)}"
                faults.append(Invalid(group + name, message))
        elif (expected := _find_violated_bound(value, bounds)) and not (
            stored and _is_above(value, bounds)
        ):
            unit = " s" if field.unit == "s" else ""
            message = f"expected {expected}{unit}, got {value:g}{unit}"
            faults.append(Invalid(group + name, message))
    if faults:
        raise Invalid.of(faults)


def _find_violated_bound(value: float, bounds: About) -> str:
    """Return the bound that *value* violates, in words, or nothing; NaN violates every bound."""
    least, most = bounds.least, bounds.most
    if bounds.above is not None and not value > bounds.above:
        return f"more than {bounds.above:,}"
    if (least is None or value >= least) and (most is None or value <= most):
        return ""
    if least is not None and most is not None:
        return f"{least:,} to {most:,}"
    return f"at least {least:,}" if least is not None else f"at most {most:,}"


def _is_above(value: float, bounds: About) -> bool:
    return bounds.most is not None and value > bounds.most


@cache
def _fields_with_bounds(record: type[Struct]) -> tuple[tuple[str, Field], ...]:
    """Return the fields of *record* itself that have bounds, with their names."""
    bounds = ("above", "least", "most", "longest")
    return tuple(
        (path, field)
        for path, field in fields_of(record).items()
        if not field.group and any(getattr(field.about, bound) is not None for bound in bounds)
    )


@cache
def fields_of(record: type[Struct]) -> Mapping[str, Field]:
    """Return the fields of *record* and of the records in it by their paths, in order."""
    return {field.path: field for field in _walk(record, "")}


def _walk(record: type[Struct], prefix: str) -> Iterator[Field]:
    hints = typing.get_type_hints(record, include_extras=True)
    for field in struct_fields(record):
        kind, extra, many = _unwrap(hints[field.name])
        path = prefix + field.name
        default = None if field.default is NODEFAULT else field.default
        if isinstance(kind, type) and issubclass(kind, Struct) and not many:
            yield from _walk(kind, f"{path}.")
        else:
            metadata: About = extra.get("about", About(doc=""))
            yield Field(
                path=path,
                kind=kind,
                many=many,
                default=default,
                about=metadata,
                unit=extra.get("unit"),
                metavar=metadata.metavar or extra.get("metavar", ""),
            )


def _unwrap(hint: Any) -> tuple[Any, dict[str, Any], bool]:
    """Return what is inside *hint*, its metadata, and whether it is a tuple or a frozenset."""
    extra: dict[str, Any] = {}
    many = False
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            hint, *metas = typing.get_args(hint)
            for meta in metas:
                extra = (meta.extra or {}) | extra  # outer metadata takes precedence
        elif origin in (typing.Union, types.UnionType):
            members = [arg for arg in typing.get_args(hint) if arg is not type(None)]
            if len(members) > 1:
                return hint, extra, many
            hint = members[0]
        elif origin in (tuple, frozenset) and (inside := typing.get_args(hint))[-1:] != (str,):
            hint, many = inside[0], True
        else:
            return hint, extra, many


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
    `Scope.PREFIX`, 1e9 to a whole number. *group* is a prefix of field names in errors.

    Raises:
        Invalid: a value has the wrong type; the message says what is accepted.
    """
    kind, values = type(record), astuple(record)
    try:
        converted = astuple(convert(values, _twin(kind)))  # all at once: 0.8 µs for a JobSpec
    except ValidationError:
        converted = _convert_each(kind, values, group)
    for name, before, after in zip(kind.__struct_fields__, values, converted, strict=True):
        if after is not before:
            force_setattr(record, name, after)


@cache
def _twin(kind: type[Struct]) -> type[Struct]:
    """Return a struct with the same fields that reads from a tuple and has no checks."""
    return defstruct(kind.__name__, _types(kind).items(), array_like=True)


@cache
def _types(kind: type[Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in fields(kind)}


def _convert_each(
    kind: type[Struct], values_before: tuple[Any, ...], group: str
) -> tuple[Any, ...]:
    values: list[Any] = []
    faults: list[Invalid] = []
    for (name, of), value in zip(_types(kind).items(), values_before, strict=True):
        try:
            values.append(_convert(value, of))
        except ValidationError:
            text = repr(value)
            text = text if len(text) <= 100 else f"{text[:99]}…"
            faults.append(Invalid(group + name, f"expected {_describe_accepted(of)}, got {text}"))
    if faults:
        raise Invalid.of(faults) from None
    return tuple(values)


def _convert(value: Any, kind: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # becomes a float again where one is expected
    if _bare(kind) is bool and type(value) is int and value in (0, 1):
        return bool(value)
    return convert(value, kind)


def _bare(kind: Any) -> Any:
    """Return a type without its metadata."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _describe_accepted(kind: Any) -> str:
    """Return a phrase for the values that a field of type *kind* accepts."""
    kind = _bare(kind)
    if kind in _ONE:
        return _ONE[kind]
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_describe_accepted, get_args(kind)))
    if get_origin(kind) in (tuple, frozenset):
        return f"a {get_origin(kind).__name__} of {_several(get_args(kind)[0])}"
    if issubclass(kind, Enum):
        *names, last = [member.name for member in kind]
        return f"{kind.__name__}." + (f"{', '.join(names)} or {last}" if names else last)
    return str(kind.__name__)


def _several(kind: Any) -> str:
    if kind is str:
        return "strings"
    return "pairs of strings" if get_origin(kind) is tuple else _describe_accepted(kind)
