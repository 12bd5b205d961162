"""What a transaction says of itself while it works: what it makes due, and its number."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection

from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.wakeup import Wakeup, due_of

_GATHERED = "crawlyard_due"
_NUMBER = "crawlyard_number"


class Heralds(Struct, frozen=True):
    """Who is told of work that has become due."""

    within: Callable[[Any, Collection[Wakeup]], Awaitable[None]] | None = None
    """Called on Postgres, with the driver's connection, before the transaction is committed."""

    after: Callable[[], None] | None = None
    """Called on SQLite once it is, from the thread that writes."""


NOBODY = Heralds()


def gather(conn: Connection, job: Job, before: Job | None = None) -> None:
    """Remember that *job* waits now, if it does and did not do so, for the same, *before*."""
    if job.state is not State.PENDING:
        return
    due = due_of(job)
    if before is None or before.state is not State.PENDING or due_of(before) != due:
        gather_due(conn, due)


def gather_due(conn: Connection, due: Wakeup) -> None:
    """Remember what waits now."""
    conn.info.setdefault(_GATHERED, set()).add(due)


def gathered(conn: Connection) -> Collection[Wakeup]:
    """Return what was gathered since the last call, each once."""
    found: Collection[Wakeup] = conn.info.pop(_GATHERED, frozenset())
    return found


def number(conn: Connection, given: str) -> None:
    """Remember the number of the transaction, which Postgres gave with its last statement."""
    conn.info[_NUMBER] = given


def numbered(conn: Connection) -> str | None:
    """Return the number that was remembered since the last call, ``None`` if none was."""
    found: str | None = conn.info.pop(_NUMBER, None)
    return found
