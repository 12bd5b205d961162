"""Idempotency keys: stored replies to requests that may be repeated."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from crawlyard.core.endpoints.idempotency import StoredReply
from crawlyard.store.codec.records import REPLIES
from crawlyard.store.db.bulk_rows import delete_first
from crawlyard.store.db.database import StorePart, is_postgres, writes
from crawlyard.store.db.dialects import postgresql, sqlite
from crawlyard.store.tables.desk import replies

_OPEN = replies.c.status == 0
_ANSWER = ("status", "headers", "body")


class ReplyStore(StorePart):
    """Replies to requests with an idempotency key."""

    @writes
    def begin(
        self, conn: Connection, reply: StoredReply, forgotten: datetime, dead: datetime
    ) -> StoredReply | None:
        """Mark a request as in progress and return ``None``, or return the reply already stored.

        A reply stored before *forgotten* counts as unknown; a request that has been in progress
        since before *dead* is taken over.
        """
        created_at = replies.c.created_at
        over = or_(created_at < forgotten, and_(_OPEN, created_at < dead))
        while True:
            # one of several concurrent requests inserts or takes over; the others wait, see its row
            if _first(conn, reply, over):
                return None
            query = select(replies).where(_of(reply.asker, reply.key))
            row = conn.execute(query).mappings().first()
            if row is not None:
                return REPLIES.record(row)
            # the row was deleted between the two statements: try again

    @writes
    def settle(self, conn: Connection, reply: StoredReply) -> None:
        """Store the reply to a request that is in progress."""
        row = REPLIES.row(reply)
        same = (_of(reply.asker, reply.key), _OPEN, replies.c.request == reply.request)
        conn.execute(update(replies).where(*same).values({name: row[name] for name in _ANSWER}))

    @writes
    def drop(self, conn: Connection, asker: str, key: str) -> None:
        """Delete a request that is in progress, so that it can be retried."""
        conn.execute(delete(replies).where(_of(asker, key), _OPEN))

    @writes
    def sweep(self, conn: Connection, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* replies created before *before*; return how many."""
        key = (replies.c.asker, replies.c.key)
        return delete_first(conn, key, replies.c.created_at < before, rows)


def _first(conn: Connection, reply: StoredReply, over: ColumnElement[bool]) -> bool:
    """Insert *reply*, or replace that of its key if *over* holds; return whether it was written."""
    insert = postgresql.insert(replies) if is_postgres(conn) else sqlite.insert(replies)
    row = REPLIES.row(reply)
    statement = insert.values(row).on_conflict_do_update(
        index_elements=["asker", "key"], set_=row, where=over
    )
    return conn.execute(statement.returning(replies.c.status)).first() is not None


def _of(asker: str, key: str) -> ColumnElement[bool]:
    return and_(replies.c.asker == asker, replies.c.key == key)
