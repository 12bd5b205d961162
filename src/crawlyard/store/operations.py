"""Operation store: add, read, save and lease long-running operations."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, and_, or_, select

from crawlyard.core.operations.operation import Operation
from crawlyard.store.codec.records import OPERATIONS
from crawlyard.store.db.bulk_rows import delete_first
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import add_row, equal, put_version
from crawlyard.store.tables.desk import UNDER_WAY, operations


class OperationStore(StorePart):
    """Long-running operations and their leases."""

    @writes
    def add(self, conn: Connection, operation: Operation) -> None:
        """Add a new operation.

        Raises:
            Conflict: the id is taken.
        """
        add_row(conn, operations, OPERATIONS.row(operation), "an operation")

    @reads
    def get(self, conn: Connection, operation_id: str) -> Operation:
        """Return an operation.

        Raises:
            NotFound: no operation has that id.
        """
        query = select(operations).where(operations.c.id == operation_id)
        return OPERATIONS.get(conn, query, f"operation {operation_id}")

    @writes
    def save(self, conn: Connection, operation: Operation) -> None:
        """Replace version ``operation.version - 1``.

        Raises:
            Conflict: the stored version is another: it was cancelled, or another process has it.
        """
        _save(conn, operation)

    @reads
    def find(
        self, conn: Connection, owner: str | None, before: str | None, limit: int
    ) -> list[Operation]:
        """Return at most *limit* operations with ids below *before*, newest first.

        *owner* ``None`` means all users, *before* ``None`` the newest operations.
        """
        query = select(operations).where(*equal((operations.c.owner, owner)))
        if before is not None:
            query = query.where(operations.c.id < before)
        return OPERATIONS.all(conn, query.order_by(operations.c.id.desc()).limit(limit))

    async def claim(self, now: datetime, until: datetime) -> Operation | None:
        # Called every second, nearly always in vain: read first, so that it doesn't block writers.
        """Lease an unfinished operation without a valid lease until *until*.

        Return ``None`` if there is none. Two callers never get the same operation while its lease
        lasts.
        """
        database = self._database
        if not await database.read_cached(_is_any_under_way):
            return None
        if not await database.read(partial(_is_any_free, now=now)):
            return None
        return await database.write(partial(_claim, now=now, until=until))

    @reads
    def under_way(self, conn: Connection) -> Mapping[str, int]:
        """Return the versions of the operations that have not ended, by id."""
        rows = conn.execute(select(operations.c.id, operations.c.version).where(UNDER_WAY))
        return {row.id: row.version for row in rows}

    @writes
    def sweep(self, conn: Connection, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* operations that ended before *before*; return how many."""
        return delete_first(conn, (operations.c.id,), operations.c.ended_at < before, rows)


def _save(conn: Connection, operation: Operation) -> None:
    put_version(conn, operations, OPERATIONS.row(operation), f"operation {operation.id} is")


def _free(now: datetime) -> ColumnElement[bool]:
    unleased = or_(operations.c.leased_until.is_(None), operations.c.leased_until <= now)
    return and_(UNDER_WAY, unleased)


_ANY_UNDER_WAY = select(operations.c.id).where(UNDER_WAY).limit(1)


def _is_any_under_way(conn: Connection) -> bool:
    return conn.scalar(_ANY_UNDER_WAY) is not None


def _is_any_free(conn: Connection, now: datetime) -> bool:
    return conn.scalar(select(operations.c.id).where(_free(now)).limit(1)) is not None


def _claim(conn: Connection, now: datetime, until: datetime) -> Operation | None:
    first = select(operations).where(_free(now)).order_by(operations.c.id).limit(1)
    # SQLite has one writer at a time, Postgres skips rows that another claim has locked
    operation = OPERATIONS.first(conn, first.with_for_update(skip_locked=True))
    if operation is None:
        return None
    # a new version, so that the previous holder can't save the operation any more
    mine = replace(operation, leased_until=until, version=operation.version + 1)
    _save(conn, mine)
    return mine
