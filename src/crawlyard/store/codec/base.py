"""Conversion between records and rows: JSON, rows that follow their record, damaged rows."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from types import NoneType
from typing import Annotated, Any, Generic, Protocol, TypeVar, get_args, get_origin

from msgspec import Struct, ValidationError, convert
from msgspec.json import Decoder, Encoder
from msgspec.structs import fields
from sqlalchemy import Connection, Select

from crawlyard.errors import Invalid, NotFound
from crawlyard.store.db.clean_text import scrub

T = TypeVar("T")
R = TypeVar("R", bound=Struct)

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
    return (_ENCODER.encode(scrub(value)) if _NUL in text else text).decode()


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


def field_errors(kind: type[Struct], values: Mapping[str, Any]) -> dict[str, str]:
    """Return the errors of those *values* that the fields of *kind* reject, by field name."""
    errors = {}
    for name, of in _types(kind).items():
        try:
            if name in values:
                convert(values[name], of, strict=False)
        except (ValidationError, Invalid) as error:
            errors[name] = str(error) if isinstance(error, Invalid) else f"{name}: {error}"
    return errors


@cache
def _types(kind: type[Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in fields(kind)}


class RecordCodec(Generic[R]):
    """Rows of one kind of record: a column for each field, of the same name.

    Members of an enumeration are stored by value, records and containers as JSON. The database
    assigns the *generated* field: it is read, but not written. *derived* are further columns that
    are written for queries, and not read.
    """

    def __init__(
        self, kind: type[R], generated: str = "", **derived: Callable[[R], object]
    ) -> None:
        self._kind = kind
        self._derived = derived
        self._names = kind.__struct_fields__
        self._stored = [name for name in self._names if name != generated]
        self._enums: dict[str, type[Enum]] = {}
        self._json: dict[str, Callable[[str], Any]] = {}
        for name, of in _types(kind).items():
            main = _bare_type(of)
            if isinstance(main, type) and issubclass(main, Enum):
                self._enums[name] = main
            elif main not in _COLUMNS:
                self._json[name] = decoder_of(main).decode

    def row(self, record: R) -> dict[str, Any]:
        """Return the values of *record* by column."""
        row = {name: getattr(record, name) for name in self._stored}
        for name in self._enums:
            row[name] = row[name].value
        for name in self._json:
            if (value := row[name]) is not None:
                row[name] = to_json(sorted(value) if isinstance(value, frozenset) else value)
        for name, derive in self._derived.items():
            row[name] = derive(record)
        return row

    def record(self, row: Row) -> R:
        """Return the record of a row, which may have further columns."""
        values = {name: row[name] for name in self._names}
        for name, enum in self._enums.items():
            values[name] = enum(values[name])
        for name, read in self._json.items():
            if values[name] is not None:
                values[name] = read(values[name])
        return self._kind(**values)

    def all(self, conn: Connection, query: Select[Any]) -> list[R]:
        """Return the records of all rows that *query* finds."""
        return [self.record(row) for row in conn.execute(query).mappings()]

    def first(self, conn: Connection, query: Select[Any]) -> R | None:
        """Return the record of the first row that *query* finds, ``None`` if there is none."""
        row = conn.execute(query).mappings().first()
        return None if row is None else self.record(row)

    def get(self, conn: Connection, query: Select[Any], label: str) -> R:
        """Return the record of the row that *query* finds.

        Raises:
            NotFound: there is no such row; *label* names it in the message.
        """
        record = self.first(conn, query)
        if record is None:
            raise NotFound(f"no {label}")
        return record


def _bare_type(of: Any) -> Any:
    """Return a type without its metadata and ``None``."""
    if get_origin(of) is Annotated:
        return _bare_type(get_args(of)[0])
    parts = get_args(of)
    return next(part for part in parts if part is not NoneType) if NoneType in parts else of


_COLUMNS = frozenset({str, int, float, bool, bytes, datetime})
"""Types of fields that are stored as they are."""


def _plain(value: object) -> str:
    if isinstance(value, str):  # a subclass, as parsers return them
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


_ENCODER = Encoder(enc_hook=_plain)
