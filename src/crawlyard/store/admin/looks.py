"""Database check and vacuum: schema version, sizes and damage; freeing unused space."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from msgspec import Struct
from sqlalchemy import Connection, func, select, text

from crawlyard.store.admin.content import STORED
from crawlyard.store.admin.place import (
    BUSY_S,
    DatabaseLocation,
    Opened,
    name_errors,
    reading,
    writing,
)
from crawlyard.store.db.schema import version_of
from crawlyard.store.tables import SCHEMA

_SIZES = text(
    "SELECT sum(pgsize) FROM dbstat WHERE name = :name OR name IN (SELECT name "
    "FROM sqlite_master WHERE tbl_name = :name AND type = 'index')"
)
_AT_ONCE = 2048  # pages freed per transaction: 8 MiB


class TableSize(Struct, frozen=True, kw_only=True):
    """Rows of one table, and its space on disk."""

    table: str
    rows: int
    bytes: int | None  # with its indexes; None: this SQLite was built without dbstat


class DatabaseReport(Struct, frozen=True, kw_only=True):
    """Result of a database check."""

    version: str | None  # of its schema; None: it has no tables, or is damaged
    damage: Sequence[str]  # problems that SQLite found; always empty for Postgres
    bytes: int
    tables: Sequence[TableSize]  # empty if damaged, or the schema is not that of this program


def check_database(place: DatabaseLocation) -> DatabaseReport:
    """Check the database at *place*.

    Raises:
        NotFound: there is none.
        StoreUnavailable: it cannot be read at all.
    """
    with reading(place) as opened:
        damage = _damage(place)
        if damage:
            return DatabaseReport(version=None, damage=damage, bytes=_bytes(place), tables=())
        with opened.transaction() as read:
            version = version_of(read)
            counted = STORED if version == SCHEMA else ()
            tables = [_size(read, name, place) for name in counted]
            return DatabaseReport(
                version=version, damage=(), bytes=size_of(read, place), tables=tables
            )


def size_of(read: Connection, place: DatabaseLocation) -> int:
    """Return the size of a database on disk, in bytes."""
    if place.file is None:
        return read.scalar(select(func.pg_database_size(func.current_database()))) or 0
    return _bytes(place)


def _bytes(place: DatabaseLocation) -> int:
    """Return the size of a SQLite database and its WAL, in bytes."""
    file = place.file or Path()
    parts = (file, file.with_name(f"{file.name}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


def vacuum(place: DatabaseLocation) -> tuple[int, int]:
    """Return unused space of a database to the disk; return its size in bytes before and after.

    Others may use the database meanwhile.

    Raises:
        NotFound, StoreUnavailable: as for `check_database`.
    """
    with reading(place) as opened:
        before = _measure(opened)
        if place.file is None:
            _vacuum_postgres(place)
        else:
            _vacuum_sqlite(place)
        return before, _measure(opened)


def _measure(opened: Opened) -> int:
    with opened.transaction() as read:
        return size_of(read, opened.place)


def _vacuum_postgres(place: DatabaseLocation) -> None:
    with writing(place) as opened, opened.by_itself() as conn:
        for name in STORED:
            conn.exec_driver_sql(f'VACUUM (ANALYZE) "{name}"')


def _vacuum_sqlite(place: DatabaseLocation) -> None:
    with (
        name_errors(place.name),
        closing(sqlite3.connect(place.file or "", timeout=BUSY_S)) as file,
    ):
        previous, free_pages = -1, 0
        while (free_pages := file.execute("PRAGMA freelist_count").fetchone()[0]) not in (
            0,
            previous,
        ):
            previous = free_pages
            # as a script: executed as a statement, it would stop after its first page
            file.executescript(f"PRAGMA incremental_vacuum({_AT_ONCE})")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _damage(place: DatabaseLocation) -> Sequence[str]:
    """Return the problems that SQLite finds: in its pages, or if none, in its foreign keys."""
    if place.file is None:
        return ()
    with name_errors(place.name), closing(sqlite3.connect(place.file, timeout=BUSY_S)) as file:
        try:
            problems = [str(line) for (line,) in file.execute("PRAGMA quick_check(20)")]
        except sqlite3.DatabaseError as error:
            if not error.sqlite_errorname.startswith("SQLITE_CORRUPT"):
                raise
            return [str(error)]  # too damaged to check further
        if problems != ["ok"]:
            return problems
        torn = file.execute("PRAGMA foreign_key_check").fetchmany(20)
    return [f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}" for row in torn]


def _size(read: Connection, name: str, place: DatabaseLocation) -> TableSize:
    rows = read.scalar(select(func.count()).select_from(STORED[name].plain)) or 0
    if place.file is None:
        disk_bytes = read.scalar(select(func.pg_total_relation_size(name)))
    else:
        disk_bytes = _of_sqlite(read, name)
    return TableSize(table=name, rows=rows, bytes=disk_bytes)


def _of_sqlite(read: Connection, name: str) -> int | None:
    built = read.scalars(text("SELECT name FROM pragma_module_list WHERE name = 'dbstat'"))
    return read.scalar(_SIZES, {"name": name}) if built.first() else None
