"""Statements run directly by the SQLite driver: those of every submit, claim and checkpoint.

SQLAlchemy compiles the text of a statement once, but processes every value of every row through
its own types: for a job's 35 columns that took longer than SQLite itself.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from msgspec import Struct
from sqlalchemy import Boolean, ClauseElement, Connection, Insert, Select, Update
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

from crawlyard.store.db.clean_text import is_clean
from crawlyard.store.db.connection import driver_of
from crawlyard.store.db.database import is_postgres
from crawlyard.store.tables.base import clean_text

Query: TypeAlias = Select[*tuple[Any, ...]]

_DIALECT = sqlite.dialect(paramstyle="qmark")
_TEXTS = frozenset({str, type(None)})


class _RawStatement(Struct, frozen=True):
    """The text of a statement, and the order and conversion of its parameters."""

    text: str
    takes: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    fixed: Mapping[str, Any]  # values that the statement itself contains
    row: Any  # a named tuple of the columns that a query returns

    def values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Convert one row to parameters, in the order of the statement."""
        if self.fixed:
            row = {**self.fixed, **row}
        return tuple(
            [row[name] if stored is None else stored(row[name]) for name, stored in self.takes]
        )

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[Any, ...]]:
        """Return the parameters for all rows; column by column takes two thirds of the time."""
        if len(rows) == 1:
            return (self.values(rows[0]),)
        columns = (
            [self.fixed[name]] * len(rows) if name in self.fixed else [row[name] for row in rows]
            for name, _ in self.takes
        )
        ways = (stored for _, stored in self.takes)
        return zip(*map(_column, columns, ways), strict=True)


def run_each(
    conn: Connection, statement: ClauseElement, rows: Sequence[Mapping[str, Any]], prefix: str = ""
) -> int:
    """Run *statement* on SQLite for each of *rows*; return how many rows it inserted or changed.

    The caller must keep and reuse the statement, as its compiled form is cached. Each row has a
    value for each of its parameters, whose names start with *prefix*, or for each column of an
    INSERT without VALUES.
    """
    raw = _compile(statement, tuple(rows[0]), prefix)
    return driver_of(conn).executemany(raw.text, raw.parameters(rows)).rowcount


def _column(values: list[Any], stored: Callable[[Any], Any] | None) -> Sequence[Any]:
    if stored is None or values.count(None) == len(values):
        return values
    if stored is clean_text and _is_clean(values):
        return values
    return list(map(stored, values))


def _is_clean(values: Sequence[Any]) -> bool:
    """Return whether a column has only clean texts and ``None``, by one check of all of it."""
    return _TEXTS.issuperset(map(type, values)) and is_clean("".join(filter(None, values)))


def keys_of(conn: Connection, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Insert *rows* on SQLite, and return the keys of the rows that broke no unique constraint.

    The caller must keep and reuse the statement. The key of its table is an integer.
    """
    raw = _compile(statement, tuple(rows[0]))
    cursor, keys = driver_of(conn).cursor(), []
    for values in raw.parameters(rows):
        cursor.execute(raw.text, values)
        if cursor.rowcount and cursor.lastrowid is not None:
            keys.append(cursor.lastrowid)
    return keys


def one_row(conn: Connection, statement: Query, parameters: Mapping[str, Any]) -> Any:
    """Return the one row that a query finds, its columns by name, on either database.

    The caller must keep and reuse the query, which may return only numbers and texts.
    """
    if is_postgres(conn):
        return conn.execute(statement, parameters).one()
    raw = _compile(statement, tuple(parameters))
    return raw.row._make(driver_of(conn).execute(raw.text, raw.values(parameters)).fetchone())


def run_update(conn: Connection, statement: Update, parameters: Mapping[str, Any]) -> int:
    """Run an UPDATE on either database and return how many rows changed.

    The caller must keep and reuse the statement.
    """
    if is_postgres(conn):
        return conn.execute(statement, parameters).rowcount
    return run_each(conn, statement, (parameters,))


@cache
def _compile(statement: ClauseElement, names: tuple[str, ...], prefix: str = "") -> _RawStatement:
    compiled = statement.compile(dialect=_DIALECT, column_keys=[prefix + name for name in names])
    order: Sequence[str] = compiled.positiontup  # type: ignore[attr-defined]  # of SQL, it has one
    binds = compiled.binds  # type: ignore[attr-defined]
    takes = ((name.removeprefix(prefix), _storing_converter(binds[name].type)) for name in order)
    fixed = {n: compiled.params[n] for n in order if n.removeprefix(prefix) not in names}
    column_names = statement.selected_columns.keys() if isinstance(statement, Select) else ()
    return _RawStatement(str(compiled), tuple(takes), fixed, namedtuple("Row", column_names))  # noqa: PYI024


def _storing_converter(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    """Return the function that converts a value of *kind*, ``None`` if it is stored as it is."""
    if isinstance(kind, Boolean):
        return int  # no Boolean is ever NULL; SQLAlchemy's own processor takes ten times as long
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)
