"""Databases filled with random rows, and their contents read by SQL alone."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    create_engine,
    insert,
    make_url,
    select,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from crawlyard.core.jobs.lifecycle import State
from crawlyard.databases import CopyProgress, OnProgress
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from crawlyard.store.tables import SCHEMA
from crawlyard.store.tables.every import metadata
from tests.builders import NOW, a_job, its_event
from tests.builders_serve import a_report
from tests.compiled import sharing

_engine = sharing(create_engine)  # to fill all tables compiles a statement for each

_SLOW = (pytest.mark.postgres, pytest.mark.slow)

WAYS = [
    pytest.param(("sqlite", "sqlite"), id="sqlite-sqlite", marks=pytest.mark.slow),
    pytest.param(("sqlite", "postgres"), id="sqlite-postgres", marks=pytest.mark.postgres),
    pytest.param(("postgres", "sqlite"), id="postgres-sqlite", marks=_SLOW),
    pytest.param(("postgres", "postgres"), id="postgres-postgres", marks=_SLOW),
]
"""From where and to where: the kinds of two databases."""

OTHERS = ("alembic_version", "copy_marks", "page_search", "sqlite_")


def two_databases(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield databases of the two kinds of the parameter, with all tables and no rows."""
    source, target = request.param

    def at(kind: str, name: str, url: str) -> str:
        if kind == "sqlite":
            return str(shutil.copy(request.getfixturevalue("sqlite_template"), folder / name))
        return str(request.getfixturevalue(url))

    to = at(target, "to.db", "postgres_url")
    yield at(source, "from.db", "second_postgres_url"), to
    run_on(to, "DROP TABLE IF EXISTS copy_marks")  # other tests go on with that Postgres
    run_on(to, f"UPDATE alembic_version SET version_num = '{SCHEMA}'")


"""Beginnings of the names of tables that are not of a yard's content."""

Content = Mapping[str, Sequence[tuple[Any, ...]]]

_ALPHABET = "aZ0 \n\t'\"\\%_/äß漢🦀\u2028\ufffd"


def fill(where: str | Path, seed: int, rows: int = 7) -> None:
    """Put *rows* rows, made of chance and edges, into each table."""
    chance = random.Random(seed)
    engine = _engine(_url(where))
    try:
        with engine.begin() as conn:
            for table in metadata.sorted_tables:
                for n in range(rows):
                    conn.execute(insert(table), dict(_values(table, n, conn, chance)))
    finally:
        engine.dispose()


def content(where: str | Path) -> Content:
    """Return all rows of all tables that a database has, sorted, as the drivers give them."""
    if str(where).startswith("postgresql"):
        with psycopg.connect(str(where)) as conn:
            listed = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            return _all(conn, [name for (name,) in conn.execute(listed)])
    with closing(sqlite3.connect(where)) as file:
        listed = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return _all(file, [name for (name,) in file.execute(listed)])


def next_numbers(where: str | Path) -> Mapping[str, int]:
    """Return the number that each counting table gives next, by giving it."""
    engine = _engine(_url(where))
    numbers = {}
    for table in metadata.sorted_tables:
        key = table.autoincrement_column
        if key is None or table.name == "courses":  # keyed by jobs
            continue
        with engine.connect() as conn:
            values = dict(_values(table, 99, conn, random.Random(99)))
            values.pop(key.name)
            number = conn.scalar(insert(table).values(values).returning(key))
            assert isinstance(number, int)
            numbers[table.name] = number
            conn.rollback()
    engine.dispose()
    return numbers


def _url(where: str | Path) -> Any:
    if "://" in str(where):
        return make_url(str(where)).set(drivername="postgresql+psycopg")
    return make_url(f"sqlite:///{where}")


def _all(conn: Any, names: Sequence[str]) -> Content:
    ours = sorted(name for name in names if not name.startswith(OTHERS))
    return {name: _rows(conn, name) for name in ours}


def _rows(conn: Any, name: str) -> Sequence[tuple[Any, ...]]:
    # in quotes: "user" is a word of SQL
    columns = [f'"{column.name}"' for column in metadata.tables[name].columns]
    rows = conn.execute(f"SELECT {', '.join(columns)} FROM {name}").fetchall()
    return sorted((tuple(map(_plain, row)) for row in rows), key=repr)


def _plain(value: object) -> object:
    """Return a value as both drivers give it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, memoryview):
        return bytes(value)
    return value.isoformat() if isinstance(value, date) else value


def _values(
    table: Table, n: int, conn: Connection, chance: random.Random
) -> Iterator[tuple[str, Any]]:
    for column in table.columns:
        keys = [key.column for key in column.foreign_keys]
        if keys:
            there = conn.scalars(select(keys[0]).order_by(keys[0])).all()
            yield column.name, there[n % len(there)]
        elif table.name == "jobs" and column.name == "state":
            yield column.name, chance.choice(list(State))
        elif column.nullable and chance.random() < 0.3:
            yield column.name, None
        else:
            yield column.name, _value(column, n, chance)


def _value(column: "Column[Any]", n: int, chance: random.Random) -> Any:
    kind = column.type
    if column.primary_key and isinstance(kind, Integer):
        return 3 * n + 1
    if isinstance(kind, TypeDecorator):
        is_time = kind.impl_instance.python_type is int
        return _time(kind, chance) if is_time else _text(n, chance, 60)
    if isinstance(kind, String):
        return _text(n, chance, min(16, kind.length or 60))
    if type(kind) is BigInteger:  # in keys as well, where no two are alike
        return chance.choice([chance.randrange(2**62), -1 - n, 2**63 - 1 - n])
    return next(make for of, make in _PLAIN if isinstance(kind, of))(chance)


_PLAIN: Sequence[tuple[type[TypeEngine[Any]], Callable[[random.Random], Any]]] = (
    (Boolean, lambda chance: chance.random() < 0.5),
    (Date, lambda chance: date(1970, 1, 1) + timedelta(days=chance.randrange(60_000))),
    (Float, lambda chance: chance.choice([0.1, 1e300, -0.5, chance.random()])),
    (LargeBinary, lambda chance: chance.randbytes(chance.choice([0, 1, 5000]))),
    (SmallInteger, lambda chance: chance.randrange(-(2**15), 2**15)),
    (Integer, lambda chance: chance.randrange(-(2**31), 2**31)),
)
"""What a column of a type may hold; a subclass goes before its class."""


def _time(kind: TypeDecorator[Any], chance: random.Random) -> Any:
    micros = timedelta(microseconds=chance.choice([0, 1, chance.randrange(2**52)]))
    return kind.process_result_value(micros // timedelta(microseconds=1), None)  # type: ignore[arg-type]  # no dialect


def _text(n: int, chance: random.Random, most: int) -> str:
    drawn = "".join(chance.choices(_ALPHABET, k=most - 8))
    return f"{n}{chance.randrange(10**6)}{drawn}"[:most]


class Stopped(BaseException):
    """Raised by tests to interrupt a copy."""


def silent(_progress: CopyProgress) -> None:
    """Ignore the progress of a copy."""


def stopping_after(times: int, reports: list[CopyProgress] | None = None) -> OnProgress:
    """Return a callback that interrupts a copy at the given number of progress reports."""
    reports = [] if reports is None else reports

    def report(progress: CopyProgress) -> None:
        reports.append(progress)
        if len(reports) == times:
            raise Stopped

    return report


async def nothing(store: Store) -> None:
    """Open it: that makes the tables."""


def on_store(where: str | Path, work: Callable[[Store], object]) -> None:
    """Open a store, and do something with it."""

    async def done() -> None:
        store = await open_sql_store(where)
        try:
            await work(store)  # type: ignore[misc]  # what it returns is awaited
        finally:
            await store.close()

    asyncio.run(done())


async def one_job(store: Store) -> None:
    job = a_job()
    await store.jobs.add(job, its_event(job))


async def one_worker(store: Store) -> None:
    await store.workers.save_heartbeat(a_report(id="w-7", beat_at=NOW))


def run_on(where: str | Path, statement: str) -> None:
    """Change a database past our own code."""
    if str(where).startswith("postgresql"):
        with psycopg.connect(str(where)) as conn:
            conn.execute(statement.encode())
        return
    with closing(sqlite3.connect(where)) as file, file:
        file.execute(statement)
