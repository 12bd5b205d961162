"""Database locations, and connections to them whose errors name the database."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from crawlyard.about import install_line
from crawlyard.errors import Invalid, NotFound, StoreUnavailable
from crawlyard.store.db.faults import store_error
from crawlyard.store.open import url_of

BUSY_S = 30.0
"""Longest wait of SQLite for a write lock that another process holds."""

DATABASE = "crawlyard.db"
"""Name of the database file in a data directory."""


class DatabaseLocation(Struct, frozen=True):
    """Location of a database, which may not exist."""

    url: URL

    @classmethod
    def of(cls, where: str | Path, field: str = "database_url") -> "DatabaseLocation":
        """Return the location that *where* names: a file, a data directory, or a URL.

        Raises:
            Invalid: it is none of these; *field* is the name of the setting for the message.
        """
        if not str(where):
            raise Invalid(field, "expected a path, sqlite:///PATH or postgresql://HOST/DATABASE")
        try:
            url = url_of(where)
        except Invalid as error:
            raise Invalid(field, error.message) from None
        backend = url.get_backend_name()
        if backend == "sqlite" and url.database:
            file = Path(url.database)
            return cls(url.set(database=os.fspath(file / DATABASE if file.is_dir() else file)))
        if backend in {"postgresql", "postgres"}:
            return cls(url.set(drivername="postgresql+psycopg"))
        shown_url = url.render_as_string(hide_password=True)
        expected = "expected a path, sqlite:///PATH or postgresql://HOST/DATABASE"
        raise Invalid(field, f"{expected}, got {shown_url}")

    @property
    def file(self) -> Path | None:
        """File of a SQLite database, ``None`` for Postgres."""
        is_file = self.url.get_backend_name() == "sqlite"
        return Path(self.url.database or "") if is_file else None

    @property
    def name(self) -> str:
        """Label for error messages, such as "the database yard.db"."""
        if self.file is not None:
            return f"the database {self.file}"
        return f"the database {self.url.database or 'postgres'} on {self._host}"

    @property
    def label(self) -> str:
        """String that identifies the location, without a password."""
        if self.file is not None:
            return os.fspath(self.file.resolve())
        return f"postgresql://{self._host}:{self.url.port or 5432}/{self.url.database or ''}"

    @property
    def _host(self) -> str:
        return self.url.host or self.url.normalized_query.get("host", ("a local socket",))[0]


class Opened:
    """One connection to a database."""

    def __init__(self, place: DatabaseLocation, connection: Connection) -> None:
        self.place = place
        self.name = place.name
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield the connection in a transaction that ends with the block.

        Raises:
            StoreUnavailable: the database cannot be used; the block is rolled back.
        """
        with name_errors(self.name), self._connection.begin():
            yield self._connection

    @contextmanager
    def by_itself(self) -> Iterator[Connection]:
        """Yield the connection in autocommit mode: each statement is a transaction.

        Raises:
            StoreUnavailable: the database cannot be used.
        """
        with name_errors(self.name):
            yield self._connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def reading(place: DatabaseLocation) -> Iterator[Opened]:
    """Open a database for reading; a transaction sees it as it was at its start.

    Raises:
        NotFound: there is no such file.
        StoreUnavailable: it cannot be opened.
    """
    if place.file is not None and not place.file.is_file():
        raise NotFound(f"no database at {place.file}")
    with _open(place, "BEGIN") as opened:
        yield opened


@contextmanager
def writing(place: DatabaseLocation, *, durable: bool = True) -> Iterator[Opened]:
    """Open a database for writing; if not *durable*, a file that is discarded on failure.

    Raises:
        StoreUnavailable: it cannot be opened.
    """
    with _open(place, "BEGIN IMMEDIATE", durable=durable) as opened:
        yield opened


@contextmanager
def name_errors(name: str) -> Iterator[None]:
    """Turn driver errors into messages about the database *name*.

    Raises:
        StoreUnavailable: for each error that is not a bug in Crawlyard.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise store_error(error, name) or error from error


@contextmanager
def _open(place: DatabaseLocation, begin: str, *, durable: bool = True) -> Iterator[Opened]:
    engine = (
        _postgres(place, begin) if place.file is None else _sqlite(place, begin, durable=durable)
    )
    try:
        with name_errors(place.name):
            connection = engine.connect()
        with connection:
            yield Opened(place, connection)
    finally:
        engine.dispose()


def _sqlite(place: DatabaseLocation, begin: str, *, durable: bool) -> Engine:
    engine = create_engine(
        place.url, poolclass=NullPool, connect_args={"timeout": BUSY_S, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we issue BEGIN ourselves
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        connection.execute("PRAGMA cache_size=-65536")  # KiB

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgres(place: DatabaseLocation, begin: str) -> Engine:
    reads = begin == "BEGIN"
    try:
        engine = create_engine(
            place.url,
            poolclass=NullPool,
            hide_parameters=True,
            isolation_level="REPEATABLE READ" if reads else "READ COMMITTED",
            connect_args={"application_name": "crawlyard db", "connect_timeout": 10},
        )
    except ModuleNotFoundError as error:
        install = install_line("postgres")
        raise StoreUnavailable(f"Postgres needs {error.name}: {install}") from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # a copy is idle on one side while it waits for the other; no worker waits for its locks
        connection.execute("SET idle_in_transaction_session_timeout = 0")
        connection.commit()

    return engine.execution_options(postgresql_readonly=reads)
