"""Statements that a store sends to SQLite, and their query plans."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from typing import Any, TypeAlias

from sqlalchemy import event
from sqlalchemy.engine import Engine

from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store

Planned: TypeAlias = tuple[str, list[str]]
"""A statement, and the steps of its plan."""

_READERS = ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")


async def planned(file: str, ask: Callable[[Store], Awaitable[object]]) -> list[Planned]:
    """Return what a store on *file* sends while *ask* asks it, in order."""
    sent: list[tuple[str, Any]] = []

    def connect(
        _dialect: object, _record: object, _arguments: object, named: dict[str, Any]
    ) -> None:
        named["factory"] = _noting(sent)

    event.listen(Engine, "do_connect", connect)
    try:
        store = await open_sql_store(file)
        sent.clear()
        try:
            await ask(store)
        finally:
            await store.close()
    finally:
        event.remove(Engine, "do_connect", connect)
    with closing(sqlite3.connect(file)) as conn:
        return [
            (statement, _steps(conn, statement, parameters))
            for statement, parameters in sent
            if statement.startswith(_READERS)
        ]


def _noting(sent: list[tuple[str, Any]]) -> type[sqlite3.Connection]:
    """Return a kind of connection that notes what is sent, by SQLAlchemy or past it."""

    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, parameters: Any = (), /) -> "Cursor":
            sent.append((statement, parameters))
            super().execute(statement, parameters)
            return self

        def executemany(self, statement: str, rows: Iterable[Any], /) -> "Cursor":
            rows = list(rows)
            sent.extend((statement, row) for row in rows[:1])
            super().executemany(statement, rows)
            return self

    class Noting(sqlite3.Connection):
        def cursor(self, _factory: object = None) -> Cursor:  # type: ignore[override]
            return super().cursor(Cursor)

        def execute(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return self.cursor().execute(statement, parameters)

        def executemany(self, statement: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
            return self.cursor().executemany(statement, rows)

    return Noting


def _steps(conn: sqlite3.Connection, statement: str, parameters: Any) -> list[str]:
    return [row[-1] for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
