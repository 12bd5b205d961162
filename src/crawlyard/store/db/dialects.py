"""The two databases: their SQL dialects, and the driver's own SQLite connection."""

import sqlite3
from typing import Any

from sqlalchemy import Connection, FromClause, Integer
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from crawlyard.errors import StoreUnavailable
from crawlyard.lazy import lazily

# SQLite does not need it: 35 ms
with lazily():
    from sqlalchemy.dialects import postgresql

__all__ = ["SqliteCompiler", "driver_of", "postgresql", "sqlite"]


class SqliteCompiler(SQLiteCompiler):
    """SQLAlchemy's compiler, which leaves out hints such as ``INDEXED BY jobs_ended``."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:  # noqa: ARG002
        """Return the hint to write after the name of *table*."""
        return text


def driver_of(conn: Connection) -> sqlite3.Connection:
    """Return the driver's own connection of *conn*.

    Raises:
        StoreUnavailable: it is closed.
    """
    raw: object = conn.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection):
        raise StoreUnavailable("the connection is closed")
    return raw


class Place(FunctionElement[int]):
    """The place of some bytes or letters in others, from 1; 0: they are not there."""

    type = Integer()
    inherit_cache = True


@compiles(Place)
def _place(element: Place, compiler: SQLCompiler, **how: Any) -> str:
    part, whole = element.clauses
    return f"position({compiler.process(part, **how)} IN {compiler.process(whole, **how)})"


@compiles(Place, "sqlite")
def _place_on_sqlite(element: Place, compiler: SQLCompiler, **how: Any) -> str:
    part, whole = element.clauses
    return f"instr({compiler.process(whole, **how)}, {compiler.process(part, **how)})"
