"""Statements that SQLite's driver runs by itself: of every submit, claim and checkpoint.

SQLAlchemy makes the text of a statement once, but goes through every value of every row by way of
its own types: with a job's 35 columns that took longer than SQLite did.
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
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.driver import driver_of
from crawlyard.store.tables.base import cleaned

Query: TypeAlias = Select[*tuple[Any, ...]]

_DIALECT = sqlite.dialect(paramstyle="qmark")
_TEXTS = frozenset({str, type(None)})


class _Driven(Struct, frozen=True):
    """The text of a statement, and in which order and form it takes its values."""

    text: str
    takes: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    fixed: Mapping[str, Any]  # what the statement says by itself
    row: Any  # a tuple with the names of what a query finds

    def values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values of a row."""
        if self.fixed:
            row = {**self.fixed, **row}
        return tuple(
            [row[name] if stored is None else stored(row[name]) for name, stored in self.takes]
        )

    def given(self, rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[Any, ...]]:
        """Return the values of one row or more; column by column, in two thirds of the time."""
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
    """Run *statement* on SQLite for each of *rows*; return how many rows it made or changed.

    The statement is one that its caller keeps. Each row has a value for each of its parameters,
    whose names have *prefix* before them, or of the columns of an INSERT that names no values.
    """
    driven = _driven(statement, tuple(rows[0]), prefix)
    return driver_of(conn).executemany(driven.text, driven.given(rows)).rowcount


def _column(found: list[Any], stored: Callable[[Any], Any] | None) -> Sequence[Any]:
    if stored is None or found.count(None) == len(found):
        return found
    if stored is cleaned and _is_clean(found):
        return found
    return list(map(stored, found))


def _is_clean(values: Sequence[Any]) -> bool:
    """Tell whether a column has nothing but texts that are clean, by one look at all of it."""
    return _TEXTS.issuperset(map(type, values)) and is_clean("".join(filter(None, values)))


def keys_of(conn: Connection, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Insert *rows* on SQLite, and return the keys of those that broke no unique constraint.

    The statement is one that its caller keeps, of a table whose key is an integer.
    """
    driven = _driven(statement, tuple(rows[0]))
    cursor, found = driver_of(conn).cursor(), []
    for values in driven.given(rows):
        cursor.execute(driven.text, values)
        if cursor.rowcount and cursor.lastrowid is not None:
            found.append(cursor.lastrowid)
    return found


def one_row(conn: Connection, statement: Query, given: Mapping[str, Any]) -> Any:
    """Return the one row that a query finds, its columns by name, on either database.

    The query is one that its caller keeps; what it finds are numbers and texts alone.
    """
    if is_postgres(conn):
        return conn.execute(statement, given).one()
    driven = _driven(statement, tuple(given))
    return driven.row._make(driver_of(conn).execute(driven.text, driven.values(given)).fetchone())


def changed(conn: Connection, statement: Update, given: Mapping[str, Any]) -> int:
    """Return how many rows an UPDATE that its caller keeps has changed, on either database."""
    if is_postgres(conn):
        return conn.execute(statement, given).rowcount
    return run_each(conn, statement, (given,))


@cache
def _driven(statement: ClauseElement, names: tuple[str, ...], prefix: str = "") -> _Driven:
    compiled = statement.compile(dialect=_DIALECT, column_keys=[prefix + name for name in names])
    order: Sequence[str] = compiled.positiontup  # type: ignore[attr-defined]  # of SQL, it has one
    binds = compiled.binds  # type: ignore[attr-defined]
    takes = ((name.removeprefix(prefix), _stored(binds[name].type)) for name in order)
    fixed = {n: compiled.params[n] for n in order if n.removeprefix(prefix) not in names}
    found = statement.selected_columns.keys() if isinstance(statement, Select) else ()
    return _Driven(str(compiled), tuple(takes), fixed, namedtuple("Row", found))  # noqa: PYI024


def _stored(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    """Return what makes of a value of *kind* what is stored, ``None`` where it is the same."""
    if isinstance(kind, Boolean):
        return int  # none is ever missing; SQLAlchemy's own takes ten times as long
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)
