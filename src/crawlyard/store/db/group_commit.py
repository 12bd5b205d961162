"""Group commit: one writer thread; work that arrives while it is busy shares a transaction.

A commit waits for the disk, and the round trip to the thread costs as much as two statements.
For a thousand small jobs with four transactions each, both took a third of the total time.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import Any, TypeVar

from msgspec import Struct
from sqlalchemy import Connection, Engine

from crawlyard.core.jobs.queue import Wakeup
from crawlyard.store.db.dialects import driver_of
from crawlyard.store.db.wakeups import gathered

T = TypeVar("T")

_log = logging.getLogger(__name__)

MOST = 16
"""Most pieces of work in one transaction: other processes that want to write wait for all of it."""


class _Asked(Struct):
    """A piece of work, and its outcome."""

    work: Callable[[Connection], Any]
    answer: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None


class _UndoneError(Exception):
    """The database rolled back the whole transaction because one piece of work failed."""


class GroupWriter:
    """Runs pieces of work in the order of their arrival; each is written completely or not at all.

    Each sees the writes of those before it, and gets its result once it is on disk. A piece that
    fails does not affect the others. *after* is called when work that is due has been written.
    """

    def __init__(self, engine: Engine, after: Callable[[], None] | None) -> None:
        self._engine = engine
        self._after = after
        self._thread = ThreadPoolExecutor(1, "crawlyard-write")
        self._lock = threading.Lock()  # of the three below
        self._waiting: deque[_Asked] = deque()
        self._busy = False
        self._closed = False
        self._connection: Connection | None = None  # the thread's own

    def begin(self, work: Callable[[Connection], T]) -> "asyncio.Future[T]":
        """Queue *work* and return a future of its result; it runs even if nobody waits for it.

        Raises:
            RuntimeError: the writer has been closed.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise RuntimeError("closed")
            self._waiting.append(_Asked(work, answer))
            if not self._busy:
                self._thread.submit(self._work)
                self._busy = True
        return answer

    def close(self) -> None:
        """Return when all queued work is done; don't call this from the event loop's thread."""
        with self._lock:
            self._closed = True
        self._thread.shutdown()
        self._let_go()

    def _work(self) -> None:
        while asked := self._taken():
            try:
                due = self._written(asked)
            except Exception as error:  # noqa: BLE001 - it is passed on to the callers
                for one in asked:
                    one.result, one.error = None, error
            else:
                if due:
                    self._tell()
            _answer(asked)

    def _tell(self) -> None:
        try:
            if self._after is not None:
                self._after()
        except Exception:  # noqa: BLE001 - what was written stays written
            _log.exception("nobody could be told of work that is due")

    def _taken(self) -> Sequence[_Asked]:
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            self._busy = bool(taken)
            return taken

    def _written(self, asked: Sequence[_Asked]) -> bool:
        """Run all pieces in one transaction; return whether any made work that is due."""
        try:
            return bool(self._done_by(asked))
        except _UndoneError:
            # run each in a transaction of its own, so that only the one at fault fails
            due = [self._alone(one) for one in asked]
            return any(due)

    def _alone(self, one: _Asked) -> bool:
        one.result, one.error = None, None
        try:
            return bool(self._done_by((one,)))
        except Exception as error:  # noqa: BLE001 - it is passed on to the caller
            one.error = error
            return False

    def _done_by(self, asked: Sequence[_Asked]) -> set[Wakeup]:
        done = False
        try:
            # kept open: checking it out of the pool and in again takes as long as five statements
            connection = self._connection = self._connection or self._engine.connect()
            with connection.begin():
                gathered(connection)  # drop those of a transaction that was rolled back
                if len(asked) == 1:
                    asked[0].result = asked[0].work(connection)
                    due = set(gathered(connection))
                else:
                    due = {each for one in asked for each in _tried(connection, one)}
                done = True
        except Exception as error:
            self._let_go()
            if done and len(asked) > 1:  # the commit failed, as it does when the disk is full
                raise _UndoneError from error
            raise
        return due

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _tried(connection: Connection, one: _Asked) -> set[Wakeup]:
    """Run one of several pieces of work in a savepoint; return the wakeups it causes."""
    raw = driver_of(connection)
    raw.execute("SAVEPOINT piece")  # through SQLAlchemy, that takes twenty times as long
    try:
        one.result = one.work(connection)
    except Exception as error:
        if not raw.in_transaction:
            raise _UndoneError from error
        raw.execute("ROLLBACK TO piece")
        one.error = error
    raw.execute("RELEASE piece")
    due = set(gathered(connection))
    return set() if one.error is not None else due


def _answer(asked: Sequence[_Asked]) -> None:
    """Resolve the futures; an event loop is woken once for all of its own."""
    for loop, theirs in groupby(asked, key=lambda one: one.answer.get_loop()):
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_settle, list(theirs))


def _settle(asked: Sequence[_Asked]) -> None:
    for one in asked:
        if one.answer.done():
            continue
        if one.error is not None:
            one.answer.set_exception(one.error)
        else:
            one.answer.set_result(one.result)
