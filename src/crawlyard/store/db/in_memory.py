"""In-memory SQLite store, for tests and trials; it ends with its process."""

import sqlite3
import threading
import weakref
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Engine, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import LRUCache

from crawlyard.core.workers.measures import Timing
from crawlyard.store.db.connection import OnDue, driver_of, pop_wakeups
from crawlyard.store.db.database import Work, lower
from crawlyard.store.db.dialects import SqliteCompiler
from crawlyard.store.db.faults import store_error
from crawlyard.store.db.new_database import create_tables
from crawlyard.store.db.reserve import Reserve
from crawlyard.store.store import Store

T = TypeVar("T")


def open_in_memory(on_due: OnDue = None) -> Store:
    """Return a new, empty store; this takes about half a millisecond."""
    return Store(MemoryDatabase(on_due))


class MemoryDatabase:
    """A single connection, used in the event loop's thread: each call is one transaction."""

    name = "the database in memory"
    pool_waits: Timing | None = None
    reserve: Reserve | None = None

    def __init__(self, on_due: OnDue = None) -> None:
        self._engine = _engine()
        self._on_due = on_due
        self._one_at_a_time = threading.Lock()
        weakref.finalize(self, self._engine.dispose)
        with self._engine.connect() as connection:
            driver_of(connection).deserialize(_empty())

    async def read(self, work: Work[T]) -> T:
        """Run *work* in a transaction, as `write` does; any changes would be kept."""
        return self._run(work)[0]

    async def read_cached(self, query: Callable[..., T], *arguments: Hashable) -> T:
        """Return the result of *query*, which is not cached."""
        return self._run(lambda connection: query(connection, *arguments))[0]

    async def write(self, work: Work[T]) -> T:
        """Run *work* in a transaction and return its result; roll back if it raises."""
        result, due = self._run(work)
        if due and self._on_due is not None:
            self._on_due()
        return result

    async def compute(self, work: Callable[[], T]) -> T:
        """Return the result of *work*, run in the event loop's thread."""
        return work()

    async def close(self) -> None:
        """Do nothing: the store stays usable, with its data."""

    def _run(self, work: Work[T]) -> tuple[T, bool]:
        try:
            with self._one_at_a_time, self._engine.begin() as connection:
                pop_wakeups(connection)  # drop those of a transaction that was rolled back
                result = work(connection)
                return result, bool(pop_wakeups(connection))
        except (DBAPIError, sqlite3.Error) as error:
            raise store_error(error, self.name) or error from error


_COMPILED: LRUCache[Any, Any] = LRUCache(1000)
"""Compiled statements, shared by all stores: compiling again would take half of a test's time."""


@cache
def _first() -> Engine:
    """Return the engine whose dialect all stores share: compiled statements are cached by it."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    engine.dialect.statement_compiler = SqliteCompiler
    with engine.connect():
        pass  # the dialect initializes itself with the first connection
    return engine


def _engine() -> Engine:
    first = _first()
    pool = StaticPool(_connect)
    event.listen(pool, "connect", _prepare)
    engine = Engine(pool, first.dialect, first.url, execution_options={"compiled_cache": _COMPILED})
    event.listen(engine, "begin", lambda connection: driver_of(connection).execute("BEGIN"))
    return engine


def _connect() -> Any:  # SQLAlchemy's type for this is a Protocol of its own
    return sqlite3.connect(":memory:", check_same_thread=False)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we issue BEGIN ourselves
    connection.execute("PRAGMA foreign_keys=ON")
    connection.create_function("lower", 1, lower, deterministic=True)


@cache
def _empty() -> bytes:
    """Return the serialized image of a newly created database."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        create_tables(connection)
        image: bytes = driver_of(connection).serialize()
    engine.dispose()  # Python 3.13 warns of connections that are not closed
    return image
