"""Transactions on Postgres, over a connection pool.

Imported lazily, by `open` alone: SQLAlchemy's asyncio extension takes 0.1 s to load, and the
embedded store does not need it.
"""

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Hashable,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from crawlyard.clock import Clock, SystemClock
from crawlyard.config import DEFAULT_LEASE_S
from crawlyard.core.jobs.notices import CHANNEL, encode_notices
from crawlyard.core.jobs.queue import Wakeup
from crawlyard.core.workers.measures import Timing
from crawlyard.errors import StoreUnavailable
from crawlyard.store.db.commit_fate import FATE, ITS_RECEIPT, STANDBY, UNKNOWN, pop_receipt
from crawlyard.store.db.connection import OnDue, pop_wakeups
from crawlyard.store.db.database import Work, retrieve_exception
from crawlyard.store.db.faults import (
    Overtaken,
    TransactionAborted,
    retryability,
    sqlstate,
    store_error,
)
from crawlyard.store.db.reserve import Reserve

T = TypeVar("T")

# Delays before the second and third attempt: a server that restarts is back within a second.
_RETRY_DELAYS_S = (0.1, 1.0)

# Delays between queries for the outcome of a commit, while the server is unreachable: 10 s in all.
_FATE_RETRY_DELAYS_S = (0.1, 0.4, *(0.5,) * 19)

_MOST_OVERTAKEN = 10  # attempts at a transaction while its rows change

_PING_S = "5"

_UNKNOWN_ID = "22023"  # the id is in the future of this server


_LONGEST_IDLE_S = 30.0

_RENEWAL_S = 3.0
"""Part of its lease that a worker may have used when it begins to wait for a lock: 2 s, and 1 s
in which it renews the lease after that."""


def longest_idle_s(lease_s: float) -> float:
    """Return the idle time after which the server ends a transaction.

    A process that is frozen, or whose machine is lost, in the middle of a transaction keeps its
    locks. Transactions that wait for them must get them before their leases lapse. A process that
    only runs slowly keeps its transaction as long as that allows: with longer leases, for longer.
    """
    return min(_LONGEST_IDLE_S, lease_s - _RENEWAL_S)


class PostgresDatabase:
    """A pool of psycopg connections, for all tasks of one event loop.

    Rejected alternative: psycopg's pipeline mode, in which BEGIN or COMMIT shares a round trip
    with a statement. On a single machine that took a fifth longer, as it waits for the socket
    more often.
    """

    reserve: Reserve | None = None

    def __init__(
        self,
        url: URL,
        *,
        connections: int = 10,
        on_due: OnDue = None,
        pooled: bool = False,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> None:
        where = url.host or url.normalized_query.get("host", ("a local socket",))[0]
        self.name = f"the database {url.database or 'postgres'} on {where}"
        self._engine = create_async_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="READ COMMITTED",  # SKIP LOCKED and our row locks rely on it
            pool_size=connections,
            max_overflow=0,
            hide_parameters=True,
            connect_args={
                "application_name": "crawlyard",
                "connect_timeout": 10,
                # a peer that vanishes silently is given up after 25 to 30 s
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 30_000,
                "prepare_threshold": None if pooled else 5,
            },
        )
        prepare = partial(_prepare, longest_idle_s(lease_s))
        event.listen(self._engine.sync_engine, "connect", prepare)
        self._clock = SystemClock()
        self._waits = Timing()
        self.pool_waits: Timing | None = self._waits
        ping_idle(self._engine.sync_engine, self._clock)
        # a single query needs no BEGIN and ROLLBACK, which are two round trips
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._on_due = on_due
        self._notices = Notices(self._notify)
        self._begun: set[asyncio.Task[Any]] = set()
        self._threads = ThreadPoolExecutor(1, "crawlyard-compute")
        self._closed = False

    async def read(self, work: Work[T]) -> T:
        """Return the result of *work*; it may be run more than once."""
        return await self._shield(self._retry(partial(self._run_query, work)))

    async def read_cached(self, query: Callable[..., T], *arguments: Hashable) -> T:
        """Return the result of *query*; not cached, as a check for changes would cost as much."""
        return await self.read(lambda conn: query(conn, *arguments))

    async def write(self, work: Work[T]) -> T:
        """Return the result of *work* once it is committed; it may be run more than once."""
        return await self._shield(self._retry(partial(self._run_transaction, work)))

    async def compute(self, work: Callable[[], T]) -> T:
        """Return the result of *work*, run in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def close(self) -> None:
        """Wait for the transactions under way, then close all connections."""
        self._closed = True
        if self._begun:
            await asyncio.wait(self._begun)
        await self._notices.close()
        await self._engine.dispose()
        self._threads.shutdown()

    async def _shield(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise StoreUnavailable(f"{self.name} has been closed")
        begun = asyncio.ensure_future(work)
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)
        begun.add_done_callback(retrieve_exception)
        return await asyncio.shield(begun)

    async def _retry(self, once: Callable[[], Coroutine[Any, Any, T]]) -> T:
        waits, overtaken = iter(_RETRY_DELAYS_S), 0
        while True:
            try:
                return await once()
            except Overtaken as error:
                overtaken += 1
                if overtaken == _MOST_OVERTAKEN:
                    raise StoreUnavailable(f"{self.name} is too busy; try retryability") from error
            except PoolTimeout as error:
                raise StoreUnavailable(f"{self.name} is too slow: no connection is free") from error
            except DBAPIError as error:
                retry, wait_s = retryability(error), next(waits, None)
                if retry is TransactionAborted.NO or wait_s is None:
                    raise store_error(error, self.name) or error from error
                if retry is TransactionAborted.RECONNECTED:
                    await asyncio.sleep(wait_s)

    @asynccontextmanager
    async def _connection(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        began = self._clock.monotonic()
        async with engine.connect() as connection:
            self._waits.add(self._clock.monotonic() - began)
            yield connection

    async def _run_query(self, work: Work[T]) -> T:
        async with self._connection(self._reader) as connection:
            return await connection.run_sync(work)

    async def _run_transaction(self, work: Work[T]) -> T:
        async with self._connection(self._engine) as connection:
            result, due, receipt = await connection.run_sync(partial(_run_work, work))
            receipt = receipt or await connection.scalar(ITS_RECEIPT)
            try:
                await connection.commit()
            except DBAPIError as error:
                # The commit may have succeeded: without this check, a job that was added
                # could be reported as refused.
                await connection.invalidate()
                await connection.close()  # frees its place in the pool for such checks
                if receipt is None or not await self._is_committed(receipt, error):
                    raise
        if due:
            self._notices.add(due)
            if self._on_due is not None:
                self._on_due()
        return result

    async def _notify(self, notices: Sequence[str]) -> None:
        parameters = {"channel": CHANNEL, "notices": list(notices)}
        work = partial(Connection.execute, statement=text(NOTIFY), parameters=parameters)
        await self._retry(partial(self._run_query, work))

    async def _is_committed(self, receipt: str, error: DBAPIError) -> bool:
        """Return whether a transaction whose commit failed with *error* was committed.

        Wait for a server that restarts: work that was committed must not be repeated.

        Raises:
            StoreUnavailable: the outcome is unknown: the server stays unreachable, or another
                has taken over.
        """
        for wait_s in _FATE_RETRY_DELAYS_S:
            try:
                fate = await self._fate(receipt)
                if fate == UNKNOWN:
                    message = (
                        "failed over during a change, which may be lost; check before repeating it"
                    )
                    raise StoreUnavailable(f"{self.name} {message}") from error
                if fate != STANDBY:
                    return fate == "committed"
            except DBAPIError as lost:
                if sqlstate(lost) == _UNKNOWN_ID:
                    return False  # a standby took over that never received the transaction
                if retryability(lost) is not TransactionAborted.RECONNECTED:
                    raise
            await asyncio.sleep(wait_s)
        raise store_error(error, self.name) or error

    async def _fate(self, receipt: str) -> str | None:
        async with self._reader.connect() as connection:
            while True:
                fate: str | None = await connection.scalar(FATE, {"receipt": receipt})
                if fate != "in progress":
                    return fate
                await asyncio.sleep(0.05)  # its backend has not yet noticed the lost connection


def answers(url: URL) -> bool:
    """Return whether a server accepts connections, though perhaps not to this database or user.

    libpq tells these apart by the code of the refusal, which it keeps to itself.
    """
    libpq = url.set(drivername="postgresql+psycopg").get_dialect().import_dbapi().pq
    direct_url = url.set(drivername="postgresql").update_query_dict({"connect_timeout": _PING_S})
    status = libpq.PGconn.ping(direct_url.render_as_string(hide_password=False).encode())
    return bool(status == libpq.Ping.OK)


def _run_work(work: Work[T], connection: Connection) -> tuple[T, Collection[Wakeup], str | None]:
    """Return the result of *work*, the wakeups it causes, and its receipt if it is known."""
    for pop in (pop_wakeups, pop_receipt):
        pop(connection)  # drop those of a transaction that was rolled back
    result = work(connection)
    return result, pop_wakeups(connection), pop_receipt(connection)


def _prepare(idle_s: float, connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = {round(idle_s * 1000)}")
    cursor.close()
    connection.commit()


IDLE_S = 5.0
"""A connection that has been idle for longer than this is pinged first."""

_RETURNED_AT = "crawlyard_left_at"


def ping_idle(engine: Engine, clock: Clock) -> None:
    """Make *engine* ping idle connections at checkout, and replace those that are dead."""

    @event.listens_for(engine, "checkin")
    def note_return(_: object, record: Any) -> None:
        record.info[_RETURNED_AT] = clock.monotonic()

    @event.listens_for(engine, "checkout")
    def take(connection: Any, record: Any, _: object) -> None:
        returned_at = record.info.get(_RETURNED_AT)
        if returned_at is None or clock.monotonic() - returned_at < IDLE_S:
            return
        if not _answers(engine, connection):
            raise DisconnectionError  # makes the pool reconnect


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False


NOTIFY = "SELECT pg_notify(:channel, notice) FROM unnest(CAST(:notices AS text[])) AS notice"

_SEND_PAUSE_S = 0.02
"""Pause between two sends of one process. Each wakes every listening session on the server."""

_log = logging.getLogger(__name__)


class Notices:
    """Sends wakeups to the workers of all processes; a notice that is lost costs them a poll.

    They are sent after the commit. Within the transaction they would cost it a round trip, and
    Postgres lets one transaction commit at a time while it has notifications to queue.
    """

    def __init__(self, send: Callable[[Sequence[str]], Awaitable[object]]) -> None:
        self._send = send
        self._waiting: set[Wakeup] = set()
        self._sending: asyncio.Task[None] | None = None

    def add(self, dues: Collection[Wakeup]) -> None:
        """Send *dues* soon, together with wakeups that are added until then."""
        self._waiting.update(dues)
        if self._waiting and self._sending is None:
            self._sending = asyncio.create_task(self._send_waiting())
            self._sending.add_done_callback(self._report_failure)

    async def close(self) -> None:
        """Wait until all waiting wakeups are sent."""
        if self._sending is not None:
            await asyncio.wait((self._sending,))

    async def _send_waiting(self) -> None:
        while self._waiting:
            dues, self._waiting = self._waiting, set()
            try:
                await self._send(encode_notices(dues))
            except StoreUnavailable as error:
                _log.debug("a notice was lost: %s", error)
            if self._waiting:
                await asyncio.sleep(_SEND_PAUSE_S)

    def _report_failure(self, task: "asyncio.Task[None]") -> None:
        self._sending = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("notices cannot be sent; workers find work by polling", exc_info=error)
