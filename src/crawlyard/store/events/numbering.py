"""Numbers of events on Postgres: assigned after the commit, by readers.

A number that a transaction takes for itself says nothing about when it commits: a reader that
continues after the last number it saw would miss an event committed late. If transactions took
turns from there to their commits, claims and submits of a whole fleet would be one queue. So
they append to `new_events`, and readers move committed rows to `events`, in one statement
that numbers them under a lock. An event numbered later gets a higher number: no event that a reader
has passed appears behind it. A transaction that takes long delays its own events, no others.

On SQLite, which has one writer at a time, transactions add to `events` themselves. Only a copy of
a database on Postgres brings other events, which are numbered when it is opened.
"""

from sqlalchemy import Connection, delete, insert, select, text

from crawlyard.store.db.database import SqliteDatabase, is_postgres
from crawlyard.store.tables.jobs import events, new_events

# "CYev". Any number works that no other advisory lock on the database uses.
_LOCK = 0x43596576

_NAMES = [each.name for each in new_events.c if each is not new_events.c.no]
_COLUMNS = ", ".join(_NAMES)

# A single statement, so that the lock is held for no round trip. What another call has moved
# while this one waited for the lock is gone for DELETE, which looks at each row again.
_NUMBER = text(f"""
    WITH held AS MATERIALIZED (
      SELECT pg_advisory_xact_lock({_LOCK})
      FROM (SELECT FROM new_events LIMIT 1) AS unnumbered
    ), moved AS (
      DELETE FROM new_events USING held RETURNING no, {_COLUMNS}
    ), numbered AS (
      INSERT INTO events ({_COLUMNS}) SELECT {_COLUMNS} FROM moved ORDER BY no RETURNING seq
    )
    SELECT
      (SELECT max(seq) FROM numbered) AS mine,
      (SELECT max(seq) FROM events) AS before,
      EXISTS (SELECT FROM held) AS waited
""")  # noqa: S608 - names of columns

_LAST = select(events.c.seq).order_by(events.c.seq.desc()).limit(1)


def number(conn: Connection) -> int:
    """Number the events that are committed, and return the seq of the newest; 0: there is none."""
    if not is_postgres(conn):
        return conn.scalar(_LAST) or 0
    result = conn.execute(_NUMBER).one()
    if result.mine is None and result.waited:  # another call has numbered them meanwhile
        return conn.scalar(_LAST) or 0
    newest: int = result.mine or result.before or 0
    return newest


async def number_copied(file: SqliteDatabase) -> None:
    """Number the events that a copy of a database on Postgres has brought."""
    if await file.read(lambda conn: conn.execute(select(new_events).limit(1)).first()):
        await file.write(_number_copied)


def _number_copied(conn: Connection) -> None:
    rest = select(*(new_events.c[name] for name in _NAMES)).order_by(new_events.c.no)
    conn.execute(insert(events).from_select(_NAMES, rest))
    conn.execute(delete(new_events))
