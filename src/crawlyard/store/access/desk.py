"""Stores for saved views, dismissed notices, long operations and sections of settings."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select
from sqlalchemy.exc import IntegrityError

from crawlyard.core.access.policy import Section
from crawlyard.core.access.view import SavedView
from crawlyard.core.event import Event
from crawlyard.core.operation import Operation
from crawlyard.store.codec.records import OPERATIONS, SECTIONS, VIEWS
from crawlyard.store.db.bulk_rows import delete_first, put_rows
from crawlyard.store.db.rows import (
    add_row,
    by_code_points,
    drop_version,
    equal,
    name_taken,
    put_version,
)
from crawlyard.store.db.transactions import StorePart, reads, writes
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.tables.desk import UNDER_WAY, dismissals, operations, settings, views


class ViewStore(StorePart):
    """Saved views. Names are unique per owner and page."""

    @writes
    def add(self, conn: Connection, view: SavedView) -> None:
        """Add a new view.

        Raises:
            Conflict: the id is taken, or the owner has a view of that name on the same page.
        """
        add_row(conn, views, VIEWS.row(view), "a view")

    @reads
    def get(self, conn: Connection, view_id: str) -> SavedView:
        """Return a view.

        Raises:
            NotFound: no view has that id.
        """
        return VIEWS.get(conn, select(views).where(views.c.id == view_id), f"view {view_id}")

    @writes
    def save(self, conn: Connection, view: SavedView) -> None:
        """Replace version ``view.version - 1``.

        Raises:
            Conflict: the stored version is another, the view is gone, or the name is taken.
        """
        try:
            put_version(conn, views, VIEWS.row(view), f"view {view.id} is")
        except IntegrityError:  # the name is the only unique value that can change
            raise name_taken("a view", view.name) from None

    @reads
    def find(self, conn: Connection, owner: str, page: str | None = None) -> list[SavedView]:
        """Return the views of a user, sorted by page and name; *page* ``None`` means all pages."""
        matching = select(views).where(*equal((views.c.owner, owner), (views.c.page, page)))
        order = (by_code_points(conn, views.c.page), by_code_points(conn, views.c.name))
        return VIEWS.all(conn, matching.order_by(*order))

    @writes
    def delete(self, conn: Connection, view_id: str, version: int) -> None:
        """Delete a view.

        Raises:
            Conflict: the stored version is another, or the view is gone.
        """
        drop_version(conn, views, view_id, version, f"view {view_id} is")


MOST_DISMISSED = 500
"""Most dismissals kept per user; the latest are kept."""


class DismissalStore(StorePart):
    """Notices that users have dismissed, each for themselves."""

    @reads
    def find(self, conn: Connection, owner: str) -> Mapping[str, datetime]:
        """Return the times at which a user dismissed notices, by notice id."""
        own = select(dismissals.c.notice, dismissals.c.dismissed_at).where(_of(owner))
        return {row.notice: row.dismissed_at for row in conn.execute(own)}

    @writes
    def add(
        self, conn: Connection, owner: str, notice: str, now: datetime, before: datetime
    ) -> None:
        """Record that a user dismisses a notice *now*; delete dismissals made *before*."""
        row = {"owner": owner, "notice": notice, "dismissed_at": now}
        put_rows(conn, dismissals, [row])
        latest = (
            select(dismissals.c.notice)
            .where(_of(owner))
            .order_by(dismissals.c.dismissed_at.desc())
            .limit(MOST_DISMISSED)
        )
        old = or_(dismissals.c.dismissed_at < before, dismissals.c.notice.not_in(latest))
        conn.execute(delete(dismissals).where(_of(owner), old))

    @writes
    def drop(self, conn: Connection, owner: str, notice: str | None) -> None:
        """Delete a user's dismissal of a notice, or of all notices if *notice* is ``None``."""
        conn.execute(delete(dismissals).where(_of(owner), *equal((dismissals.c.notice, notice))))


def _of(owner: str) -> ColumnElement[bool]:
    return dismissals.c.owner == owner


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
    claimed = replace(operation, leased_until=until, version=operation.version + 1)
    _save(conn, claimed)
    return claimed


class SettingStore(StorePart):
    """Sections of settings that admins can change at runtime."""

    @reads
    def get(self, conn: Connection, name: str) -> Section:
        """Return a section; a section that was never saved is empty, at version 0."""
        section = SECTIONS.first(conn, select(settings).where(settings.c.name == name))
        return section or Section(name=name)

    @writes
    def save(self, conn: Connection, section: Section, event: Event | None = None) -> None:
        """Replace version ``section.version - 1`` and add the event.

        Raises:
            Conflict: the stored version is another.
        """
        put_version(conn, settings, SECTIONS.row(section), f"settings {section.name} are")
        add_events(conn, [event] if event else [])
