"""Opening a store: from the path of a SQLite file or the URL of a Postgres database."""

import asyncio
import os
from datetime import timedelta
from importlib import import_module
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from crawlyard.about import install_line
from crawlyard.clock import Clock
from crawlyard.config import DEFAULT_LEASE_S
from crawlyard.errors import Invalid, StoreUnavailable
from crawlyard.store.db.connection import OnDue
from crawlyard.store.db.database import Database, SqliteDatabase
from crawlyard.store.db.schema import bring_up
from crawlyard.store.events.numbering import number_copied
from crawlyard.store.store import Store

_POSTGRES = frozenset({"postgresql", "postgres"})  # URL schemes

CONNECTIONS = 10
"""To Postgres, of a process that runs no worker of its own; see the setting."""

BUSY = timedelta(seconds=30)
"""Longest wait of SQLite for a write lock that another process holds."""


async def open_sql_store(
    where: str | Path,
    *,
    busy: timedelta = BUSY,
    on_due: OnDue = None,
    pooled: bool = False,
    connections: int = CONNECTIONS,
    lease_s: float = DEFAULT_LEASE_S,
    upgrade: bool = True,
) -> Store:
    """Open the store at *where*; create its tables if there are none, *upgrade* older ones.

    *where* is the path of a SQLite file, ``sqlite:///PATH`` or ``postgresql://…``.
    *on_due* is called when jobs have become due. Set *pooled* if *where* is a pooler in
    transaction mode: a statement prepared on one of its connections is unknown to the next.
    *connections* is the most that this process has to Postgres at once. *lease_s* is the lease
    of workers, before whose end the server ends a transaction of a frozen process.

    Raises:
        Invalid: *where* has another form.
        StoreUnavailable: it cannot be opened; the message says why.
        SchemaMismatch: its schema is not that of this program, and is not upgraded.
    """
    database = _database(
        where, busy, on_due, pooled=pooled, connections=connections, lease_s=lease_s
    )
    try:
        if isinstance(database, SqliteDatabase):
            await database.create()
        await bring_up(database, database.name, upgrade=upgrade)
        if isinstance(database, SqliteDatabase):
            await number_copied(database)
    except BaseException:
        await database.close()
        raise
    return Store(database)


async def is_away(where: str) -> bool:
    """Return whether *where* is on a server that does not answer, or that is starting up.

    A server that refuses the password or has no such database does answer.
    """
    url = url_of(where)
    if url.get_backend_name() not in _POSTGRES:
        return False
    module = import_module("crawlyard.store.db.postgres")
    return not await asyncio.to_thread(module.answers, url)


async def clock_offset(where: str | Path, clock: Clock) -> timedelta:
    """Return the offset of the database server's clock from *clock*.

    Zero for SQLite, which uses this machine's clock. Accurate to half a round trip.

    Raises:
        Invalid: *where* names no database.
        StoreUnavailable: it cannot be reached.
    """
    database = _database(where, BUSY)
    try:
        if isinstance(database, SqliteDatabase):
            return timedelta(0)
        return min([await _offset(database, clock) for _ in range(5)])[1]
    finally:
        await database.close()


async def _offset(database: Database, clock: Clock) -> tuple[timedelta, timedelta]:
    """Return the duration of the query, and the offset."""
    sent_at = clock.now()
    server_now = await Store(database).upkeep.server_time()
    took = clock.now() - sent_at
    return took, server_now - (sent_at + took / 2)


def _database(
    where: str | Path,
    busy: timedelta,
    on_due: OnDue = None,
    *,
    pooled: bool = True,
    connections: int = 1,
    lease_s: float = DEFAULT_LEASE_S,
) -> Database:
    url = url_of(where)
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database:
        return SqliteDatabase(Path(url.database), busy_timeout=busy, on_due=on_due)
    if backend in _POSTGRES:
        try:
            module = import_module("crawlyard.store.db.postgres")
            database: Database = module.PostgresDatabase(
                url, connections=connections, on_due=on_due, pooled=pooled, lease_s=lease_s
            )
        except ModuleNotFoundError as error:
            install = install_line("postgres")
            raise StoreUnavailable(f"Postgres needs {error.name}: {install}") from error
        return database
    expected = "expected a path, sqlite:///PATH or postgresql://HOST/DATABASE"
    raise Invalid("database_url", f"{expected}, got {url.render_as_string(hide_password=True)}")


def check_direct_url(url: str) -> None:
    """Check that *url* can be a direct connection that bypasses a pooler, without connecting.

    Raises:
        Invalid: *url* names no Postgres.
    """
    name = "database_direct_url"
    if url_of(url, name).get_backend_name() not in _POSTGRES:
        # don't show the URL: it may contain a password
        raise Invalid(name, "expected postgresql://HOST/DATABASE, as database_url is")


def url_of(where: str | Path, setting: str = "database_url") -> URL:
    """Return the URL for a path or a URL, without checking that the database exists.

    *setting* is the name of the setting that *where* comes from, for messages.

    Raises:
        Invalid: *where* is neither.
    """
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=os.fspath(where))
    try:
        return make_url(where)
    except (ArgumentError, ValueError):
        # don't show the URL: it may contain a password
        raise Invalid(setting, "expected postgresql://USER:PASSWORD@HOST/NAME") from None
