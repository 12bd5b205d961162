"""How a plain function of a connection becomes one transaction, on either database."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from crawlyard.errors import StoreUnavailable
from crawlyard.store.db.change_stamp import Unchanged
from crawlyard.store.db.driver import driver_of
from crawlyard.store.db.faults import told
from crawlyard.store.db.group_commit import GroupWriter
from crawlyard.store.db.wakeups import NOBODY, Heralds

T = TypeVar("T")

Work = Callable[[Connection], T]

_INCREMENTAL = 2  # as `PRAGMA auto_vacuum` tells it


class Database(Protocol):
    """Runs work in transactions: all of it is written, or nothing.

    A caller that is cancelled leaves its transaction to end as if it had not been:
    `CancelledError` does not mean that nothing was written.
    """

    name: str  # as messages call it

    async def read(self, work: Work[T]) -> T:
        """Return what *work*, a single query, found."""
        ...

    async def known(self, ask: Callable[..., T], *given: Hashable) -> T:
        """Return what *ask* found, of a connection and *given*: now, or since the last commit.

        For the few questions of polls: what is found depends on what is stored alone, not on
        the time, and nobody changes it.
        """
        ...

    async def write(self, work: Work[T]) -> T:
        """Return what *work* returned, once it is written for good.

        Raises:
            StoreUnavailable: it is not written, and *work* may be tried again.
        """
        ...

    async def compute(self, work: Callable[[], T]) -> T:
        """Return what *work*, which takes long and needs no database, returned."""
        ...

    async def close(self) -> None:
        """Return when all that was begun has ended."""
        ...


class SqliteDatabase:
    """One file: one thread writes, a few read.

    Tried and refused: aiosqlite, where a cancelled task's connection kept the write
    lock, and 12 of the next 14 writes failed.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy: timedelta = timedelta(seconds=30),
        readers: int = 3,
        heralds: Heralds = NOBODY,
    ) -> None:
        self.name = f"the database {path}"
        self._path, self._busy = path, busy
        self._writer = self._engine("BEGIN IMMEDIATE", connections=1)
        self._reader = self._engine("BEGIN", connections=readers)
        self._writes = GroupWriter(self._writer, heralds.after)
        self._read_threads = ThreadPoolExecutor(readers, "crawlyard-read")
        self._unchanged = Unchanged(path)

    async def create(self) -> None:
        """Make the file, or see to it that it is as it has to be before its first table."""
        await self._run(self._read_threads, self._create)

    async def read(self, work: Work[T]) -> T:
        """Return what *work* found."""
        return await self._run(self._read_threads, partial(_transaction, self._reader, work))

    async def known(self, ask: Callable[..., T], *given: Hashable) -> T:
        """Return what *ask* found; it is not asked again before somebody has written."""
        if not self._unchanged.is_open:
            await self._run(self._read_threads, self._unchanged.open)
        stamp, question = self._unchanged.stamp(), (ask, given)
        for answer in self._unchanged.kept(question) if stamp is not None else ():
            found: T = answer
            return found
        found = await self.read(lambda conn: ask(conn, *given))
        self._unchanged.keep(question, found, stamp)
        return found

    async def write(self, work: Work[T]) -> T:
        """Return what *work* returned, once it is on the disk."""
        try:
            begun = self._writes.begin(work)
        except RuntimeError:
            raise StoreUnavailable(f"{self.name} has been closed") from None
        with self._faults():
            return await begun  # who waits no longer stops nothing: the thread goes on

    async def compute(self, work: Callable[[], T]) -> T:
        """Return what *work* returned, from a thread."""
        return await self._run(self._read_threads, work)

    async def close(self) -> None:
        """Wait for the threads; the last connection folds the log into the file."""
        for close in (self._read_threads.shutdown, self._writes.close):
            await asyncio.to_thread(close)
        self._unchanged.close()
        self._reader.dispose()
        self._writer.dispose()

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            begun = asyncio.get_running_loop().run_in_executor(threads, work)
        except RuntimeError:
            raise StoreUnavailable(f"{self.name} has been closed") from None
        begun.add_done_callback(heard)
        with self._faults():
            return await asyncio.shield(begun)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error, OSError) as error:
            raise told(error, self.name) or error from error

    def _engine(self, begin: str, connections: int) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=os.fspath(self._path)),
            pool_size=connections,
            max_overflow=0,
            connect_args={"check_same_thread": False, "timeout": self._busy.total_seconds()},
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # BEGIN is ours
            # FULL: with NORMAL, jobs that were acknowledged are lost when the power fails
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            # KiB; the index of a frontier of a million URLs is written all over
            connection.execute("PRAGMA cache_size=-65536")
            connection.create_function("lower", 1, lower, deterministic=True)

        @event.listens_for(engine, "begin")
        def start(connection: Connection) -> None:
            # A reader that turns into a writer gets SQLITE_BUSY at once, whatever its
            # time-out (3 of 100 measured): a writer says so at the beginning.
            driver_of(connection).execute(begin)

        return engine

    def _create(self) -> None:
        create_file(self._path, self._busy)


def create_file(path: Path, busy: timedelta) -> None:
    """Make a SQLite file, or see to it that it is as it has to be before its first table.

    Raises:
        OSError, sqlite3.Error: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_name(path.name + ".lock")):
        # nobody else's to read, as a backup: digests of tokens and secrets of webhooks are in
        # it. One that is there keeps its mode; SQLite gives the files beside it the same.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=busy.total_seconds())
        try:
            # In this order: WAL writes the first page, which fixes the vacuum mode.
            # A file that has both already is left as it is: to set the mode again would write.
            if connection.execute("PRAGMA auto_vacuum").fetchone() != (_INCREMENTAL,):
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()


def lower(text: str | None) -> str | None:
    """Return *text* in lower case, in any alphabet: SQLite's own knows ASCII alone."""
    return text and text.lower()


def _transaction(engine: Engine, work: Work[T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def heard(begun: "asyncio.Future[Any]") -> None:
    """Take the outcome of what was begun: of a caller that was cancelled, nobody else asks."""
    if not begun.cancelled():
        begun.exception()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes out as long as the block lasts."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # goes with the file, or with its process
        yield


def is_postgres(connection: Connection) -> bool:
    """Tell which of the two databases this is."""
    return connection.dialect.name == "postgresql"
