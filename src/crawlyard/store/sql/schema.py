"""Whether the tables are those that this program knows, and making them so."""

import importlib

from sqlalchemy import Connection, String, column, func, inspect, select, table

from crawlyard.errors import SchemaMismatch
from crawlyard.store.sql import fresh
from crawlyard.store.sql.database import Database, is_postgres
from crawlyard.store.tables import SCHEMA

# "CYsc": any number will do that nothing else on the database locks
_SCHEMA_LOCK = 0x43597363

UNFINISHED = "unfinished copy"
"""Stands for the revision while a copy is under way: programs of every version refuse it."""

_VERSION = select(column("version_num", String)).select_from(table("alembic_version"))


async def bring_up(database: Database, name: str) -> None:
    """Make or change the tables unless they are as this program needs them.

    Any number of processes may do so at once: one works, the others wait for it.

    Raises:
        SchemaMismatch: a newer Crawlyard has changed them.
    """
    if await database.read(lambda conn: _is_current(conn, name)):
        return
    await database.write(lambda conn: migrate(conn, name))


async def check(database: Database, name: str) -> None:
    """Check that the tables are those of this program, still.

    Raises:
        StoreUnavailable: the database does not answer.
        SchemaMismatch: somebody has changed them meanwhile.
    """
    if not await database.read(lambda conn: _is_current(conn, name)):
        raise SchemaMismatch(f"{name} does not have the tables of this Crawlyard any more")


def _is_current(conn: Connection, name: str) -> bool:
    stored = version_of(conn)
    if stored == UNFINISHED:
        raise SchemaMismatch(
            f"{name} is a copy that has not come to its end: go on with the same command, "
            "or begin it anew with --restart"
        )
    if stored is not None and stored > SCHEMA:
        raise SchemaMismatch(
            f"{name} has schema {stored}, and this Crawlyard knows only {SCHEMA}: "
            "install the version that wrote it, or a later one"
        )
    return stored == SCHEMA


def version_of(conn: Connection) -> str | None:
    """Return the revision of the tables, ``None`` when there are none."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    return conn.execute(_VERSION).scalar()


def migrate(conn: Connection, name: str) -> None:
    """Make or change the tables unless they are as this program needs them.

    Raises:
        SchemaMismatch: a newer Crawlyard has changed them.
    """
    if is_postgres(conn):
        conn.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    # SQLite: the transaction itself, begun as a writer's, keeps others out
    if _is_current(conn, name):
        return
    if not is_postgres(conn) and not inspect(conn).get_table_names():
        fresh.make(conn)
        return
    # imported only now: Alembic takes 0.2 s, and nearly every start has no use for it
    importlib.import_module("crawlyard.store.migrations").upgrade(conn)
