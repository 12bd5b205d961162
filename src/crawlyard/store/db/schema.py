"""Schema: has an empty database created, upgrades older ones, and refuses the rest."""

from sqlalchemy import Connection, func, inspect, select

from crawlyard.errors import SchemaMismatch
from crawlyard.lazy import lazily
from crawlyard.store.db.database import Database, is_postgres
from crawlyard.store.tables import SCHEMA, UPGRADABLE
from crawlyard.store.tables.base import versions

# hardly any start creates a database, or needs Alembic
with lazily():
    from crawlyard.store import migrations
    from crawlyard.store.db import new_database

# "CYsc": any number that nothing else on the database locks
_SCHEMA_LOCK = 0x43597363

_SEPARATE = ("0102", "0b8459f2")
"""The oldest schema that an earlier commit can upgrade, and the last such commit."""

UNFINISHED = "unfinished copy"
"""Stands in for the revision while a copy is under way: programs of every version refuse it."""


async def bring_up(database: Database, name: str, *, upgrade: bool = True) -> None:
    """Create the tables if there are none, or *upgrade* them if they are older.

    Any number of processes may call this at once: one does the work, the others wait for it.

    Raises:
        SchemaMismatch: they cannot be upgraded to those of this program, or should not be.
    """
    if await database.read(lambda conn: _is_current(conn, name)):
        return
    if not upgrade and (version := await database.read(version_of)) not in {None, SCHEMA}:
        raise SchemaMismatch(mismatch(name, version))
    await database.write(lambda conn: migrate(conn, name))


async def check(database: Database, name: str) -> None:
    """Check that the tables are still those of this program.

    Raises:
        StoreUnavailable: the database does not answer.
        SchemaMismatch: the tables have been changed meanwhile.
    """
    if not await database.read(lambda conn: _is_current(conn, name)):
        raise SchemaMismatch(f"{name} does not have the tables of this Crawlyard any more")


def _is_current(conn: Connection, name: str) -> bool:
    stored = version_of(conn)
    if stored is not None and not is_upgradable(stored):
        raise SchemaMismatch(mismatch(name, stored))
    return stored == SCHEMA


def version_of(conn: Connection) -> str | None:
    """Return the revision of the tables, ``None`` if there are none."""
    if not inspect(conn).has_table(versions.name):
        return None
    return conn.scalar(select(versions.c.version_num))


def is_upgradable(version: str) -> bool:
    """Return whether tables of *version* are current or can be upgraded."""
    return version == SCHEMA or version in UPGRADABLE


def mismatch(name: str, version: str | None) -> str:
    """Return the message for a database *name* with another *version*, with the remedy."""
    if version is None:
        return f"{name} has no tables of Crawlyard; crawlyard db upgrade creates them"
    if version == UNFINISHED:
        return (
            f"{name} is an unfinished copy: run the same crawlyard db copy again, "
            "or start over with --restart"
        )
    if version > SCHEMA:
        return (
            f"{name} has schema {version}, and this Crawlyard supports only {SCHEMA}: "
            "install the version that wrote it, or a later one"
        )
    if is_upgradable(version):
        return (
            f"{name} has schema {version}, and this Crawlyard needs {SCHEMA}: crawlyard db upgrade"
        )
    first, commit = _SEPARATE
    if version >= first:
        return (
            f"{name} has schema {version}, and this Crawlyard upgrades only schema "
            f"{', '.join(UPGRADABLE)}. Nothing in it was changed. Install commit {commit}, which "
            f"upgrades {version} too, run crawlyard db upgrade, then install this version again"
        )
    return (
        f"{name} has schema {version}, which was written before the first release and cannot "
        "be upgraded. Nothing in it was changed. Save what you need with the version that "
        "wrote it (crawlyard jobs export, crawlyard templates export), then start with a new "
        "data directory or an empty database"
    )


def migrate(conn: Connection, name: str) -> None:
    """Create or upgrade the tables if needed, in the transaction of *conn*.

    Raises:
        SchemaMismatch: they cannot be upgraded to those of this program.
    """
    if is_postgres(conn):
        conn.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    # on SQLite, the write transaction itself keeps others out
    if _is_current(conn, name):
        return
    if version_of(conn) is None:
        new_database.create_tables(conn)
    else:
        migrations.upgrade(conn)
