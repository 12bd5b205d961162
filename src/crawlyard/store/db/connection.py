"""Connection of a transaction: the wakeups that it causes, and the driver's own connection."""

import sqlite3
from collections.abc import Callable, Collection
from typing import TypeAlias

from sqlalchemy import Connection

from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.queue import Wakeup, due_of
from crawlyard.errors import StoreUnavailable

_GATHERED = "crawlyard_due"


OnDue: TypeAlias = Callable[[], None] | None
"""Called after a transaction that made work due; for a SQLite file, from its writer thread."""


def gather(conn: Connection, job: Job, before: Job | None = None) -> None:
    """Note a wakeup for *job* if it is pending, unless it was pending for the same one *before*."""
    if job.state is not State.PENDING:
        return
    due = due_of(job)
    if before is None or before.state is not State.PENDING or due_of(before) != due:
        gather_due(conn, due)


def gather_due(conn: Connection, due: Wakeup) -> None:
    """Note a wakeup."""
    conn.info.setdefault(_GATHERED, set()).add(due)


def pop_wakeups(conn: Connection) -> Collection[Wakeup]:
    """Return the distinct wakeups noted since the last call, and forget them."""
    wakeups: Collection[Wakeup] = conn.info.pop(_GATHERED, frozenset())
    return wakeups


def driver_of(conn: Connection) -> sqlite3.Connection:
    """Return the driver's own connection of *conn*.

    Raises:
        StoreUnavailable: it is closed.
    """
    raw: object = conn.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection):
        raise StoreUnavailable("the connection is closed")
    return raw
