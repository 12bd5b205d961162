"""Transactions: run a plain function of a connection as one, on SQLite or Postgres."""

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import timedelta
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from crawlyard.core.events.event import request_address
from crawlyard.core.workers.measures import Timing
from crawlyard.errors import StoreFull, StoreUnavailable
from crawlyard.store.db.connection import OnDue, driver_of
from crawlyard.store.db.dialects import SqliteCompiler
from crawlyard.store.db.faults import store_error
from crawlyard.store.db.group_commit import GroupWriter
from crawlyard.store.db.reserve import Reserve

T = TypeVar("T")

Work = Callable[[Connection], T]

_INCREMENTAL = 2  # as `PRAGMA auto_vacuum` returns it


class Database(Protocol):
    """Runs functions in transactions: everything is written, or nothing.

    Cancelling a caller does not stop its transaction: `CancelledError` does not mean that
    nothing was written.
    """

    name: str  # for messages
    pool_waits: Timing | None  # for a connection of the pool; None: there is no pool
    reserve: Reserve | None  # None: Crawlyard does not manage the disk

    async def read(self, work: Work[T]) -> T:
        """Return the result of *work*, a single query."""
        ...

    async def read_cached(self, query: Callable[..., T], *arguments: Hashable) -> T:
        """Return the result of *query*, called with a connection and *arguments*, maybe cached.

        A cached result is never older than the last commit. Meant for the
        few queries that are polled: the result must depend on the stored data alone, not on the
        time, and must never be mutated.
        """
        ...

    async def write(self, work: Work[T]) -> T:
        """Run *work* in a transaction and return its result once it is durable.

        Raises:
            StoreUnavailable: nothing was written, and *work* may be tried again.
        """
        ...

    async def compute(self, work: Callable[[], T]) -> T:
        """Return the result of *work*, which takes long and needs no database."""
        ...

    async def close(self) -> None:
        """Wait for all work that has begun."""
        ...


Stamp: TypeAlias = int
"""State of the file; changes with each commit of any process."""


class QueryCache:
    """Cache of query results on a SQLite file, valid until the next commit.

    An idle server runs a dozen polling queries a second, and most find nothing new. A query
    through a thread and a transaction takes 0.5 ms; checking whether the file has changed, 3 µs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open_lock = threading.Lock()
        # It never writes: data_version changes only with the commits of other connections.
        self._connection: sqlite3.Connection | None = None
        self._stamp: Stamp | None = None  # of the cached results
        self._results: dict[Hashable, Any] = {}

    @property
    def is_open(self) -> bool:
        """True once `open` has been called, so that changes can be detected."""
        return self._connection is not None

    def open(self) -> None:
        """Open the file, which must exist; call this from a thread.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        uri = f"file:{quote(os.fspath(self._path.absolute()))}?mode=rw"
        with self._open_lock:
            if self._connection is None:
                # timeout 0: the event loop must never wait for a lock on the file
                self._connection = sqlite3.connect(
                    uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False
                )

    def stamp(self) -> Stamp | None:
        """Return the current state of the file, ``None`` if it cannot be determined.

        Data read after this call is of that state or a later one.

        Source: SQLite's documentation, "PRAGMA data_version".
        """
        if self._connection is None:
            return None
        with suppress(sqlite3.Error):
            stamp: Stamp = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if stamp != self._stamp:
                self._stamp = stamp
                self._results.clear()
            return stamp
        return None

    def lookup(self, key: Hashable) -> list[Any]:
        """Return a list of the result cached for the last `stamp`, empty if there is none."""
        return [self._results[key]] if key in self._results else []

    def store(self, key: Hashable, result: object, stamp: Stamp | None) -> None:
        """Cache a result that was read after *stamp* was returned."""
        if stamp is not None and stamp == self._stamp:
            self._results[key] = result

    def close(self) -> None:
        """Close the file; the cache can be opened again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class SqliteDatabase:
    """A SQLite file: one thread writes, a few read.

    Rejected alternative: aiosqlite. The connection of a cancelled task kept the write lock,
    and 12 of the next 14 writes failed.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout: timedelta = timedelta(seconds=30),
        reader_count: int = 3,
        on_due: OnDue = None,
    ) -> None:
        self.name = f"the database {path}"
        self.pool_waits: Timing | None = None
        self.reserve: Reserve | None = Reserve(path)
        self._path, self._busy_timeout = path, busy_timeout
        self._write_engine = self._create_engine("BEGIN IMMEDIATE", connections=1)
        self._read_engine = self._create_engine("BEGIN", connections=reader_count)
        self._writes = GroupWriter(self._write_engine, on_due)
        self._read_threads = ThreadPoolExecutor(reader_count, "crawlyard-read")
        self._cache = QueryCache(path)

    async def create(self) -> None:
        """Create the file, or set the modes that must be set before its first table."""
        await self._run(self._read_threads, self._create)

    async def read(self, work: Work[T]) -> T:
        """Run *work* in a reader thread, in a read transaction."""
        return await self._run(
            self._read_threads, partial(_run_transaction, self._read_engine, work)
        )

    async def read_cached(self, query: Callable[..., T], *arguments: Hashable) -> T:
        """Return the result of *query*, which is run again only after a commit."""
        if not self._cache.is_open:
            await self._run(self._read_threads, self._cache.open)
        stamp, key = self._cache.stamp(), (query, arguments)
        for cached in self._cache.lookup(key) if stamp is not None else ():
            result: T = cached
            return result
        result = await self.read(lambda conn: query(conn, *arguments))
        self._cache.store(key, result, stamp)
        return result

    async def write(self, work: Work[T]) -> T:
        """Run *work* in a transaction and return its result once it is on disk."""
        if request_address.get():  # of events that the work itself creates
            work = _in_context(work)
        try:
            future = self._writes.begin(work)
        except RuntimeError:
            raise StoreUnavailable(f"{self.name} has been closed") from None
        with self._translate_errors():
            return await future  # cancelling the caller does not stop the thread

    async def compute(self, work: Callable[[], T]) -> T:
        """Return the result of *work*, run in a thread."""
        return await self._run(self._read_threads, work)

    async def close(self) -> None:
        """Wait for the threads; closing the last connection checkpoints the WAL into the file."""
        for close in (self._read_threads.shutdown, self._writes.close):
            await asyncio.to_thread(close)
        self._cache.close()
        self._read_engine.dispose()
        self._write_engine.dispose()

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            future = asyncio.get_running_loop().run_in_executor(threads, work)
        except RuntimeError:
            raise StoreUnavailable(f"{self.name} has been closed") from None
        future.add_done_callback(retrieve_exception)
        with self._translate_errors():
            return await asyncio.shield(future)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error, OSError) as error:
            raise store_error(error, self.name) or error from error

    def _create_engine(self, begin: str, connections: int) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=os.fspath(self._path)),
            pool_size=connections,
            max_overflow=0,
            connect_args={
                "check_same_thread": False,
                "timeout": self._busy_timeout.total_seconds(),
            },
        )
        engine.dialect.statement_compiler = SqliteCompiler

        @event.listens_for(engine, "connect")
        def configure(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # we issue BEGIN ourselves
            # FULL: with NORMAL, a power failure loses jobs that were acknowledged
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            # KiB; writes to the index of a frontier of a million URLs hit pages all over it
            connection.execute("PRAGMA cache_size=-65536")
            connection.create_function("lower", 1, lower, deterministic=True)

        @event.listens_for(engine, "begin")
        def begin_transaction(connection: Connection) -> None:
            # A read transaction that upgrades to a write gets SQLITE_BUSY at once, regardless of
            # the timeout (measured: 3 of 100), so writers start with BEGIN IMMEDIATE.
            driver_of(connection).execute(begin)

        return engine

    def _create(self) -> None:
        create_file(self._path, self._busy_timeout)


def create_file(path: Path, busy_timeout: timedelta) -> None:
    """Create a SQLite file, or set the modes that must be set before its first table.

    Raises:
        OSError, sqlite3.Error: it cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive_lock(path.with_name(path.name + ".lock")):
        # Readable by the owner alone, like a backup: it holds token digests and webhook secrets.
        # An existing file keeps its mode; SQLite creates the files beside it with the same.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=busy_timeout.total_seconds())
        try:
            # In this order: WAL writes the first page, which fixes the vacuum mode.
            # Skipped if the mode is set already: setting it again would write.
            if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()


def lower(text: str | None) -> str | None:
    """Return *text* in lower case, in any alphabet: SQLite's own function handles ASCII alone."""
    return text and text.lower()


def _run_transaction(engine: Engine, work: Work[T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def retrieve_exception(future: "asyncio.Future[Any]") -> None:
    """Retrieve the exception of a future, so that asyncio doesn't log it if the caller is gone."""
    if not future.cancelled():
        future.exception()


@contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on *path* during the block, to keep other processes out."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed or the process ends
        yield


def is_postgres(connection: Connection) -> bool:
    """Return whether this is a connection to Postgres, not SQLite."""
    return connection.dialect.name == "postgresql"


# --- parts of the store: classes whose methods are transactions

P = ParamSpec("P")


class StorePart:
    """A part of the store: each method that `reads` or `writes` is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database


S = TypeVar("S", bound=StorePart)


def _in_context(work: Work[T]) -> Work[T]:
    """Return *work*, to be run with the current context variables in any thread."""
    context = copy_context()
    return lambda conn: context.run(work, conn)


def reads(
    work: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make an async method of *work*, a query on a connection, as `Database.read` runs it."""

    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.read(lambda conn: work(self, conn, *args, **kwargs))

    update_wrapper(method, work)
    return method


def writes(
    work: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make an async method of *work*, changes on a connection, as `Database.write` runs it."""

    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.write(lambda conn: work(self, conn, *args, **kwargs))

    update_wrapper(method, work)
    return method


def frees_space(
    work: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make an async method of *work*, as `writes` does, that also works on a full disk."""

    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await write_freeing_space(
            self._database, lambda conn: work(self, conn, *args, **kwargs)
        )

    update_wrapper(method, work)
    return method


async def write_freeing_space(
    database: Database, work: Work[T], on_full: Work[T] | None = None
) -> T:
    """Run *work*, which frees space; on a full disk, release the reserve and run it again.

    Then *on_full*, if there is one, is run instead of *work*.
    """
    try:
        return await database.write(work)
    except StoreFull:
        if database.reserve is None:
            raise
        await database.compute(database.reserve.release)
        return await database.write(on_full or work)
