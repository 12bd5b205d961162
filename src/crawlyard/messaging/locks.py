"""Liveness on Postgres: each worker holds an advisory lock on a connection of its own.

The server releases the lock at the instant the connection ends, however it ends. A worker that
loses its lock must assume that the others consider it dead; it sends nothing until it has the
lock again. The same connection listens for notices of work that is due.

A look reads the locks of all workers, so looks by each at a fixed interval would cost the server
the square of their number. Instead, the fleet as a whole looks at a fixed rate, at random
instants. The first worker to miss a lock takes the jobs back for all. No worker is elected for it:
a leader that is stopped would keep the others from noticing anything.
"""

import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any

from psycopg import AsyncConnection, Error

from crawlyard.clock import Clock
from crawlyard.core.jobs.notices import CHANNEL

LOOK_EVERY_S = 0.4
"""Time between two looks of one worker; in a large fleet `LOOKS_PER_S` makes it longer."""

LOOKS_PER_S = 25
"""Looks of a whole fleet per second, from ten workers on."""

CONFIRM_S = 0.35
"""How long a lock must be free before its worker counts as dead, as a cut connection may return."""

SETTLE_S = 3.0
"""After the server's start or the loss of our own lock, wait: others may be reconnecting too."""

_ANSWER_S = 3.0  # a server that takes longer is considered away
_AGAIN_S = 0.1
_REMEMBERED_S = 60.0

_LISTEN = f"LISTEN {CHANNEL}"
_PING = "SELECT 1"  # a connection that was cut silently is noticed by no other means
_TAKE = "SELECT pg_try_advisory_lock(%s) AS taken"
# A lock with our key can only be our own, from a session whose end the server hasn't noticed.
_END_FORMER = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND ((classid::bigint << 32) | objid::bigint) = %s
"""
_LOOK = """
    SELECT extract(epoch FROM now() - pg_postmaster_start_time())::float8,
      ARRAY(SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_CONNECTION: dict[str, Any] = {
    "autocommit": True,
    "application_name": "crawlyard presence",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_log = logging.getLogger(__name__)


_SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?://")


def key_of(worker: str) -> int:
    """Return the key of a worker's lock, a signed 64-bit integer."""
    return int.from_bytes(blake2b(worker.encode(), digest_size=8).digest(), signed=True)


def pause_s(fleet: int, chance: float) -> float:
    """Return the time between two looks of one worker of a *fleet*; *chance* is from 0 to 1.

    At random, as after a restart of the server all workers begin at once.
    """
    return max(LOOK_EVERY_S, fleet / LOOKS_PER_S * (0.5 + chance))


class LockPresence:
    """Lock of one worker, and looks at the locks of the others.

    *on_notice* is called with each notice that the connection receives.
    """

    def __init__(
        self,
        url: str,
        worker: str,
        clock: Clock,
        changed: Callable[[], None],
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._url = _SCHEME.sub("postgresql://", url)  # libpq knows no names of drivers
        self._on_notice = on_notice
        self._key = key_of(worker)
        self._clock = clock
        self._changed = changed
        self._holding = False
        self._judges_from: float | None = None  # None: it knows nothing about others
        self._lost = False  # the lock was lost at least once
        self._warned = False  # a warning was logged since the lock was last held
        self._alive: frozenset[int] = frozenset()  # keys, as of the last check
        self._looked_at = 0.0
        self._looks_at = 0.0  # the next one
        self._absent: dict[int, float] = {}  # missing keys, and since when

    @property
    def holding(self) -> bool:
        """True if the others can see that this worker is alive."""
        return self._holding

    @property
    def fleet(self) -> int:
        """Number of workers that were alive at the last look, this one included."""
        return max(1, len(self._alive))

    def filter_known(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* whose liveness is known: all or none."""
        return set(workers) if self._knows_others() else set()

    def dead(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* whose lock has been free for at least `CONFIRM_S`."""
        if not self._knows_others():
            return set()
        keys = {key_of(worker): worker for worker in workers}
        for key in keys.keys() - self._alive - self._absent.keys():
            self._absent[key] = self._clock.monotonic()
            self._looks_at = 0.0  # it may have come since the last look
        return {worker for key, worker in keys.items() if self._is_gone(key)}

    @asynccontextmanager
    async def hold_lock(self) -> AsyncIterator[None]:
        """Hold the lock for the block; take it again whenever it is lost."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait((keeping,))

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(2 * _ANSWER_S):
                    connection = await AsyncConnection.connect(self._url, **_CONNECTION)
                async with connection:
                    await self._hold(connection)
            except (Error, OSError) as error:
                if not (self._holding or self._warned):
                    # a time-out has no message
                    late = f"the database did not respond within {_ANSWER_S:g} s"
                    self._warned, why = True, str(error).partition("\n")[0] or late
                    _log.warning("this worker cannot get its lock, so it runs no jobs: %s", why)
                self._lose()
            except asyncio.CancelledError:
                if _is_to_end():
                    raise
                self._lose()  # a time-out in a library leaked its cancellation
            except Exception:  # noqa: BLE001 - try again after any error
                # without a lock, this worker would stay idle forever
                _log.exception("the lock of this worker cannot be watched")
                self._lose()
            await asyncio.sleep(_AGAIN_S)

    async def _hold(self, connection: AsyncConnection[Any]) -> None:
        """Take the lock and watch it until the connection is lost."""
        await self._execute(
            connection, _LISTEN
        )  # before its worker looks, so that nothing is missed
        while not (await self._execute(connection, _TAKE, self._key))[0]:
            await self._execute(connection, _END_FORMER, self._key)
            await asyncio.sleep(_AGAIN_S)
        self._judges_from = self._clock.monotonic() + (SETTLE_S if self._lost else 0.0)
        await self._look(connection)
        self._holding, self._warned = True, False
        self._changed()
        while True:
            # fails at once when the server ends the connection
            async for notice in connection.notifies(timeout=LOOK_EVERY_S):
                self._on_notice(notice.payload)
            if self._clock.monotonic() >= self._looks_at:
                await self._look(connection)
            else:
                await self._execute(connection, _PING)

    async def _look(self, connection: AsyncConnection[Any]) -> None:
        up_s, keys = await self._execute(connection, _LOOK)
        now, before = self._clock.monotonic(), self._looked_at
        if up_s < SETTLE_S:
            self._judges_from = max(self._judges_from or 0.0, now + SETTLE_S - up_s)
        vanished, self._alive = self._alive - frozenset(keys), frozenset(keys)
        recent = {k: t for k, t in self._absent.items() if now - t < _REMEMBERED_S}
        self._absent = {k: t for k, t in recent.items() if k not in self._alive}
        self._absent |= dict.fromkeys(vanished, now)
        self._looked_at, self._looks_at = now, now + self._pause_s()
        if any(before < t + CONFIRM_S <= now for t in self._absent.values()):
            self._changed()

    def _pause_s(self) -> float:
        """Return the time until the next look, short while a worker is missing."""
        if any(self._looked_at - since < CONFIRM_S for since in self._absent.values()):
            return LOOK_EVERY_S  # its loss must be confirmed
        return pause_s(self.fleet, random.random())

    def _is_gone(self, key: int) -> bool:
        since = self._absent.get(key)
        return since is not None and self._looked_at - since >= CONFIRM_S

    async def _execute(
        self, connection: AsyncConnection[Any], query: Any, *arguments: object
    ) -> Any:
        async with asyncio.timeout(_ANSWER_S):
            cursor = await connection.execute(query, arguments or None)
            return await cursor.fetchone() if cursor.description else None

    def _lose(self) -> None:
        if not self._holding:
            return
        self._holding, self._judges_from = False, None
        self._lost = True
        self._alive, self._absent = frozenset(), {}
        try:
            self._changed()
        except Exception:  # noqa: BLE001 - the state of the lock doesn't depend on it
            _log.exception("the loss of the lock could not be told")

    def _knows_others(self) -> bool:
        return self._judges_from is not None and self._clock.monotonic() >= self._judges_from


def _is_to_end() -> bool:
    """Return whether this task is being cancelled."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
