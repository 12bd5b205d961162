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
from crawlyard.store.db.connection import driver_of, pop_wakeups

T = TypeVar("T")

_log = logging.getLogger(__name__)

MOST = 16
"""Most pieces of work in one transaction: other processes that want to write wait for all of it."""


class _Task(Struct):
    """A piece of work with its outcome."""

    work: Callable[[Connection], Any]
    answer: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None


class _UndoneError(Exception):
    """The database rolled back the whole transaction because one piece of work failed."""


class GroupWriter:
    """Runs pieces of work in the order of their arrival; each is written completely or not at all.

    Each piece sees the writes of earlier pieces, and gets its result once it is on disk. A piece
    that fails does not affect the others. *after* is called when work that is due has been written.
    """

    def __init__(self, engine: Engine, after: Callable[[], None] | None) -> None:
        self._engine = engine
        self._after = after
        self._thread = ThreadPoolExecutor(1, "crawlyard-write")
        self._lock = threading.Lock()  # of the three below
        self._waiting: deque[_Task] = deque()
        self._busy = False
        self._closed = False
        self._connection: Connection | None = None  # the thread's own

    def begin(self, work: Callable[[Connection], T]) -> "asyncio.Future[T]":
        """Queue *work* and return a future of its result; it runs even if the future is dropped.

        Raises:
            RuntimeError: the writer has been closed.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise RuntimeError("closed")
            self._waiting.append(_Task(work, answer))
            if not self._busy:
                self._thread.submit(self._work)
                self._busy = True
        return answer

    def close(self) -> None:
        """Return when all queued work is done; don't call this from the event loop's thread."""
        with self._lock:
            self._closed = True
        self._thread.shutdown()
        self._drop_connection()

    def _work(self) -> None:
        while tasks := self._next_tasks():
            try:
                due = self._run_together(tasks)
            except Exception as error:  # noqa: BLE001 - it is passed on to the callers
                for task in tasks:
                    task.result, task.error = None, error
            else:
                if due:
                    self._announce()
            _answer(tasks)

    def _announce(self) -> None:
        try:
            if self._after is not None:
                self._after()
        except Exception:  # noqa: BLE001 - what was written stays written
            _log.exception("announcing due work failed; workers find it by polling")

    def _next_tasks(self) -> Sequence[_Task]:
        with self._lock:
            tasks = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            self._busy = bool(tasks)
            return tasks

    def _run_together(self, tasks: Sequence[_Task]) -> bool:
        """Run all pieces in one transaction; return whether any made work that is due."""
        try:
            return bool(self._commit(tasks))
        except _UndoneError:
            # run each in a transaction of its own, so that only the one at fault fails
            due = [self._run_alone(task) for task in tasks]
            return any(due)

    def _run_alone(self, task: _Task) -> bool:
        task.result, task.error = None, None
        try:
            return bool(self._commit((task,)))
        except Exception as error:  # noqa: BLE001 - it is passed on to the caller
            task.error = error
            return False

    def _commit(self, tasks: Sequence[_Task]) -> set[Wakeup]:
        done = False
        try:
            # kept open: checking it out of the pool and in again takes as long as five statements
            connection = self._connection = self._connection or self._engine.connect()
            with connection.begin():
                pop_wakeups(connection)  # drop those of a transaction that was rolled back
                if len(tasks) == 1:
                    tasks[0].result = tasks[0].work(connection)
                    due = set(pop_wakeups(connection))
                else:
                    due = {
                        wakeup for task in tasks for wakeup in _run_in_savepoint(connection, task)
                    }
                done = True
        except Exception as error:
            self._drop_connection()
            if done and len(tasks) > 1:  # the commit failed, as it does when the disk is full
                raise _UndoneError from error
            raise
        return due

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _run_in_savepoint(connection: Connection, task: _Task) -> set[Wakeup]:
    """Run one of several pieces of work in a savepoint; return the wakeups it causes."""
    raw = driver_of(connection)
    raw.execute("SAVEPOINT piece")  # through SQLAlchemy, that takes twenty times as long
    try:
        task.result = task.work(connection)
    except Exception as error:
        if not raw.in_transaction:
            raise _UndoneError from error
        raw.execute("ROLLBACK TO piece")
        task.error = error
    raw.execute("RELEASE piece")
    due = set(pop_wakeups(connection))
    return set() if task.error is not None else due


def _answer(tasks: Sequence[_Task]) -> None:
    """Resolve the futures; an event loop is woken once for all of its own."""
    for loop, loop_tasks in groupby(tasks, key=lambda task: task.answer.get_loop()):
        with suppress(RuntimeError):  # the loop is closed: its callers are gone
            loop.call_soon_threadsafe(_settle, list(loop_tasks))


def _settle(tasks: Sequence[_Task]) -> None:
    for task in tasks:
        if task.answer.done():
            continue
        if task.error is not None:
            task.answer.set_exception(task.error)
        else:
            task.answer.set_result(task.result)
