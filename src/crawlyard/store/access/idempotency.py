"""Idempotency keys: stored replies to requests that may be repeated."""

from datetime import datetime
from functools import partial

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from crawlyard.core.idempotency import Reply
from crawlyard.store.codec.desk import answer_row, reply_of, reply_row
from crawlyard.store.db.bulk_rows import delete_first
from crawlyard.store.db.database import Database, is_postgres
from crawlyard.store.db.dialects import postgresql, sqlite
from crawlyard.store.tables.desk import replies

_OPEN = replies.c.status == 0


class ReplyStore(Struct, frozen=True):
    """Replies to requests with an idempotency key."""

    _database: Database

    async def begin(self, reply: Reply, forgotten: datetime, dead: datetime) -> Reply | None:
        """Mark a request as in progress and return ``None``, or return the reply already stored.

        A reply stored before *forgotten* counts as unknown; a request that has been in progress
        since before *dead* is taken over.
        """
        work = partial(_begin, reply=reply, forgotten=forgotten, dead=dead)
        return await self._database.write(work)

    async def settle(self, reply: Reply) -> None:
        """Store the reply to a request that is in progress."""
        await self._database.write(partial(_settle, reply=reply))

    async def drop(self, asker: str, key: str) -> None:
        """Delete a request that is in progress, so that it can be retried."""
        await self._database.write(partial(_drop, asker=asker, key=key))

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* replies created before *before*; return how many."""
        return await self._database.write(partial(_sweep, before=before, rows=rows))


def _begin(conn: Connection, reply: Reply, forgotten: datetime, dead: datetime) -> Reply | None:
    created_at = replies.c.created_at
    over = or_(created_at < forgotten, and_(_OPEN, created_at < dead))
    while True:
        # of concurrent requests one inserts or takes over; the others wait for it and see its row
        if _first(conn, reply, over):
            return None
        row = conn.execute(select(replies).where(_of(reply.asker, reply.key))).mappings().first()
        if row is not None:
            return reply_of(row)
        # the row was deleted between the two statements: try again


def _first(conn: Connection, reply: Reply, over: ColumnElement[bool]) -> bool:
    """Insert *reply*, or replace that of its key if *over* holds; return whether it was written."""
    insert = postgresql.insert(replies) if is_postgres(conn) else sqlite.insert(replies)
    row = reply_row(reply)
    statement = insert.values(row).on_conflict_do_update(
        index_elements=["asker", "key"], set_=row, where=over
    )
    return conn.execute(statement.returning(replies.c.status)).first() is not None


def _settle(conn: Connection, reply: Reply) -> None:
    same = (_of(reply.asker, reply.key), _OPEN, replies.c.request == reply.request)
    conn.execute(update(replies).where(*same).values(answer_row(reply)))


def _drop(conn: Connection, asker: str, key: str) -> None:
    conn.execute(delete(replies).where(_of(asker, key), _OPEN))


def _sweep(conn: Connection, before: datetime, rows: int) -> int:
    key = (replies.c.asker, replies.c.key)
    return delete_first(conn, key, replies.c.created_at < before, rows)


def _of(asker: str, key: str) -> ColumnElement[bool]:
    return and_(replies.c.asker == asker, replies.c.key == key)
