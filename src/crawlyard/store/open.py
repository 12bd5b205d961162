"""Opening a store: from the path of a SQLite file or the URL of a Postgres database."""

import asyncio
import os
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from crawlyard.about import install_line
from crawlyard.clock import Clock
from crawlyard.errors import Invalid, StoreUnavailable
from crawlyard.store.db.database import Database, SqliteDatabase
from crawlyard.store.db.schema import bring_up
from crawlyard.store.db.wakeups import NOBODY, Heralds
from crawlyard.store.fleet.numbering import number_copied
from crawlyard.store.fleet.upkeep import UpkeepStore
from crawlyard.store.store import Store

_POSTGRES = frozenset({"postgresql", "postgres"})  # URL schemes
_TICKETS = "procrastinate"  # its tables are created along with ours, and carry wakeups

BUSY = timedelta(seconds=30)
"""How long SQLite waits for a write lock that another process holds."""


async def open_sql_store(
    where: str | Path,
    *,
    busy: timedelta = BUSY,
    heralds: Heralds = NOBODY,
    pooled: bool = False,
) -> Store:
    """Open the store at *where*, creating or upgrading its tables if needed.

    *where* is the path of a SQLite file, ``sqlite:///PATH`` or ``postgresql://…``.
    *heralds* are notified of jobs that become due. Set *pooled* if *where* is a pooler in
    transaction mode: a statement prepared on one of its connections is unknown to the next.

    Raises:
        Invalid: *where* is none of these.
        StoreUnavailable: it cannot be opened; the message says why.
        SchemaMismatch: its schema is not one that this program can use or upgrade.
    """
    database = _database(where, busy, heralds, pooled=pooled)
    try:
        if isinstance(database, SqliteDatabase):
            await database.create()
        await bring_up(database, database.name)
        if isinstance(database, SqliteDatabase):
            await number_copied(database)
    except BaseException:
        await database.close()
        raise
    return Store.on(database)


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
    asked_at = clock.now()
    theirs = await UpkeepStore(database).server_time()
    took = clock.now() - asked_at
    return took, theirs - (asked_at + took / 2)


def _database(
    where: str | Path, busy: timedelta, heralds: Heralds = NOBODY, *, pooled: bool = True
) -> Database:
    url = url_of(where)
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database:
        return SqliteDatabase(Path(url.database), busy=busy, heralds=heralds)
    if backend in _POSTGRES:
        try:
            return _postgres(url, heralds, pooled=pooled)
        except ModuleNotFoundError as error:
            install = install_line("postgres")
            raise StoreUnavailable(f"Postgres needs {error.name}: {install}") from error
    expected = "expected a path, sqlite:///PATH or postgresql://HOST/DATABASE"
    raise Invalid("database_url", f"{expected}, got {url.render_as_string(hide_password=True)}")


def _postgres(url: URL, heralds: Heralds, *, pooled: bool) -> Database:
    module = import_module("crawlyard.store.db.postgres")
    if find_spec(_TICKETS) is None:
        raise ModuleNotFoundError(f"no module named {_TICKETS!r}", name=_TICKETS)
    made: Database = module.PostgresDatabase(url, heralds=heralds, pooled=pooled)
    return made


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
