"""Statements that SQLite's driver runs by itself: those of every submit and every checkpoint.

SQLAlchemy makes the text of a statement once, but goes through every value of every row by way of
its own types: with a job's 35 columns that took longer than SQLite did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ClauseElement, Connection, Row, Select, Update
from sqlalchemy.dialects import sqlite

from crawlyard.errors import StoreUnavailable
from crawlyard.store.sql.database import is_postgres

_DIALECT = sqlite.dialect(paramstyle="qmark")


@dataclass(frozen=True, slots=True)
class _Driven:
    """The text of a statement, and in which order and form it takes its values."""

    text: str
    takes: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    fixed: Mapping[str, Any]  # what the statement says by itself

    def values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values of a row."""
        if self.fixed:
            row = {**self.fixed, **row}
        return tuple(
            [row[name] if stored is None else stored(row[name]) for name, stored in self.takes]
        )


def run_each(conn: Connection, statement: ClauseElement, rows: Sequence[Mapping[str, Any]]) -> int:
    """Run *statement* on SQLite for each of *rows*; return how many rows it made or changed.

    The statement is one that its caller keeps. Each row has a value for each of its parameters,
    or of the columns of an INSERT that names no values.
    """
    driven = _driven(statement, tuple(rows[0]))
    given = [driven.values(row) for row in rows]
    raw = conn.connection.driver_connection
    if raw is None:
        raise StoreUnavailable("the connection is closed")
    count: int = raw.executemany(driven.text, given).rowcount
    return count


def one_row(conn: Connection, statement: Select[Any], given: Mapping[str, Any]) -> Row[Any]:
    """Return the one row that a query finds, on either database.

    The query is one that its caller keeps; what it finds are numbers and texts alone.
    """
    if is_postgres(conn):
        return conn.execute(statement, given).one()
    driven = _driven(statement, tuple(given))
    return conn.exec_driver_sql(driven.text, driven.values(given)).one()


def changed(conn: Connection, statement: Update, given: Mapping[str, Any]) -> int:
    """Return how many rows an UPDATE that its caller keeps has changed, on either database."""
    if is_postgres(conn):
        return conn.execute(statement, given).rowcount
    return run_each(conn, statement, (given,))


@cache
def _driven(statement: ClauseElement, names: tuple[str, ...]) -> _Driven:
    compiled = statement.compile(dialect=_DIALECT, column_keys=list(names))
    order: Sequence[str] = compiled.positiontup  # type: ignore[attr-defined]  # of SQL, it has one
    binds = compiled.binds  # type: ignore[attr-defined]
    takes = (
        (name, binds[name].type.dialect_impl(_DIALECT).bind_processor(_DIALECT)) for name in order
    )
    fixed = {name: compiled.params[name] for name in order if name not in names}
    return _Driven(str(compiled), tuple(takes), fixed)
