"""SQL dialects of the two databases."""

from typing import Any

from sqlalchemy import FromClause, Integer
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from crawlyard.lazy import lazily

# SQLite does not need it: 35 ms
with lazily():
    from sqlalchemy.dialects import postgresql

__all__ = ["SqliteCompiler", "postgresql", "sqlite"]


class SqliteCompiler(SQLiteCompiler):
    """SQLAlchemy's compiler, which leaves out hints such as ``INDEXED BY jobs_ended``."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:  # noqa: ARG002
        """Return the hint to write after the name of *table*."""
        return text


class Position(FunctionElement[int]):
    """Position of a part in bytes or text, counted from 1; 0: not contained."""

    type = Integer()
    inherit_cache = True


@compiles(Position)
def _position(element: Position, compiler: SQLCompiler, **options: Any) -> str:
    part, whole = element.clauses
    return f"position({compiler.process(part, **options)} IN {compiler.process(whole, **options)})"


@compiles(Position, "sqlite")
def _position_on_sqlite(element: Position, compiler: SQLCompiler, **options: Any) -> str:
    part, whole = element.clauses
    return f"instr({compiler.process(whole, **options)}, {compiler.process(part, **options)})"
