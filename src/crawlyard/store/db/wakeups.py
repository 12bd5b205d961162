"""Wakeups that a transaction causes, noted while it runs."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection

from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.queue import Wakeup, due_of

_GATHERED = "crawlyard_due"


class Heralds(Struct, frozen=True):
    """Callbacks for work that becomes due."""

    within: Callable[[Any, Collection[Wakeup]], Awaitable[None]] | None = None
    """Called on Postgres before the transaction is committed, with the driver's connection."""

    after: Callable[[], None] | None = None
    """Called on SQLite after the transaction is committed, from the writer thread."""


NOBODY = Heralds()


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


def gathered(conn: Connection) -> Collection[Wakeup]:
    """Return the distinct wakeups noted since the last call, and forget them."""
    found: Collection[Wakeup] = conn.info.pop(_GATHERED, frozenset())
    return found
