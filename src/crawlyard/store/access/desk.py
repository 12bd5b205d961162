"""Stores for saved views, long operations and sections of runtime settings."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update
from sqlalchemy.exc import IntegrityError

from crawlyard.core.access.policy import Section
from crawlyard.core.access.view import SavedView
from crawlyard.core.event import Event
from crawlyard.core.operation import Operation
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.codec.desk import (
    operation_of,
    operation_row,
    section_of,
    section_row,
    view_of,
    view_row,
)
from crawlyard.store.db.bulk_rows import delete_first, insert_new
from crawlyard.store.db.database import Database
from crawlyard.store.db.name_conflicts import taken
from crawlyard.store.db.name_order import plainly
from crawlyard.store.jobs.job_rows import tell
from crawlyard.store.tables.desk import UNDER_WAY, operations, settings, views


class ViewStore(Struct, frozen=True):
    """Saved views. Names are unique per owner and page."""

    _database: Database

    async def add(self, view: SavedView) -> None:
        """Add a new view.

        Raises:
            Conflict: the id is taken, or the owner has a view of that name on the same page.
        """
        await self._database.write(partial(_add_view, view=view))

    async def get(self, view_id: str) -> SavedView:
        """Return a view.

        Raises:
            NotFound: no view has that id.
        """
        return await self._database.read(partial(_view, view_id=view_id))

    async def save(self, view: SavedView) -> None:
        """Replace version ``view.version - 1``.

        Raises:
            Conflict: the stored version is another, the view is gone, or the name is taken.
        """
        await self._database.write(partial(_save_view, view=view))

    async def find(self, owner: str, page: str | None = None) -> list[SavedView]:
        """Return the views of a user, sorted by page and name; *page* ``None`` means all pages."""
        return await self._database.read(partial(_views, owner=owner, page=page))

    async def delete(self, view_id: str, version: int) -> None:
        """Delete a view.

        Raises:
            Conflict: the stored version is another, or the view is gone.
        """
        await self._database.write(partial(_delete_view, view_id=view_id, version=version))


def _add_view(conn: Connection, view: SavedView) -> None:
    if not insert_new(conn, views, [view_row(view)]):
        if conn.scalar(select(views.c.id).where(views.c.id == view.id)) is not None:
            raise Conflict(f"there is a view {view.id} already")
        raise taken("view", view.name)


def _view(conn: Connection, view_id: str) -> SavedView:
    row = conn.execute(select(views).where(views.c.id == view_id)).mappings().first()
    if row is None:
        raise NotFound(f"no view {view_id}")
    return view_of(row)


def _save_view(conn: Connection, view: SavedView) -> None:
    same = (views.c.id == view.id, views.c.version == view.version - 1)
    try:
        saved = conn.execute(update(views).where(*same).values(view_row(view))).rowcount
    except IntegrityError:  # the name is the only unique value that can change
        raise taken("view", view.name) from None
    if not saved:
        raise Conflict(f"view {view.id} is not at version {view.version - 1} any more")


def _views(conn: Connection, owner: str, page: str | None) -> list[SavedView]:
    found = select(views).where(views.c.owner == owner)
    if page is not None:
        found = found.where(views.c.page == page)
    order = (plainly(conn, views.c.page), plainly(conn, views.c.name))
    return [view_of(row) for row in conn.execute(found.order_by(*order)).mappings()]


def _delete_view(conn: Connection, view_id: str, version: int) -> None:
    same = (views.c.id == view_id, views.c.version == version)
    if not conn.execute(delete(views).where(*same)).rowcount:
        raise Conflict(f"view {view_id} is not at version {version} any more")


class OperationStore(Struct, frozen=True):
    """Long-running operations and their leases."""

    _database: Database

    async def add(self, operation: Operation) -> None:
        """Add a new operation.

        Raises:
            Conflict: the id is taken.
        """
        await self._database.write(partial(_add_operation, operation=operation))

    async def get(self, operation_id: str) -> Operation:
        """Return an operation.

        Raises:
            NotFound: no operation has that id.
        """
        return await self._database.read(partial(_operation, operation_id=operation_id))

    async def save(self, operation: Operation) -> None:
        """Replace version ``operation.version - 1``.

        Raises:
            Conflict: the stored version is another: it was cancelled, or another process has it.
        """
        await self._database.write(partial(_save_operation, operation=operation))

    async def find(self, owner: str | None, before: str | None, limit: int) -> list[Operation]:
        """Return at most *limit* operations with ids below *before*, newest first.

        *owner* ``None`` means all users, *before* ``None`` the newest operations.
        """
        asked: list[ColumnElement[bool]] = []
        if owner is not None:
            asked.append(operations.c.owner == owner)
        if before is not None:
            asked.append(operations.c.id < before)
        return await self._database.read(partial(_operations, asked=asked, limit=limit))

    async def claim(self, now: datetime, until: datetime) -> Operation | None:
        # Called every second, nearly always in vain: read first, so that it doesn't block writers.
        """Lease an unfinished operation without a valid lease until *until*.

        Return ``None`` if there is none. Two callers never get the same operation while its lease
        lasts.
        """
        database = self._database
        if not await database.known(_is_any_under_way):
            return None
        if not await database.read(partial(_is_any_free, now=now)):
            return None
        return await database.write(partial(_claim, now=now, until=until))

    async def under_way(self) -> Mapping[str, int]:
        """Return the versions of the operations that have not ended, by id."""
        return await self._database.read(_under_way)

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* operations that ended before *before*; return how many."""
        return await self._database.write(partial(_sweep, before=before, rows=rows))


def _add_operation(conn: Connection, operation: Operation) -> None:
    if not insert_new(conn, operations, [operation_row(operation)]):
        raise Conflict(f"there is an operation {operation.id} already")


def _operation(conn: Connection, operation_id: str) -> Operation:
    found = select(operations).where(operations.c.id == operation_id)
    row = conn.execute(found).mappings().first()
    if row is None:
        raise NotFound(f"no operation {operation_id}")
    return operation_of(row)


def _save_operation(conn: Connection, operation: Operation) -> None:
    before = operation.version - 1
    same = (operations.c.id == operation.id, operations.c.version == before)
    statement = update(operations).where(*same).values(operation_row(operation))
    if not conn.execute(statement).rowcount:
        raise Conflict(f"operation {operation.id} is not at version {before} any more")


def _operations(conn: Connection, asked: list[ColumnElement[bool]], limit: int) -> list[Operation]:
    found = select(operations).where(*asked).order_by(operations.c.id.desc()).limit(limit)
    return [operation_of(row) for row in conn.execute(found).mappings()]


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
    row = conn.execute(first.with_for_update(skip_locked=True)).mappings().first()
    if row is None:
        return None
    found = operation_of(row)
    # a new version, so that the previous holder can't save the operation any more
    mine = replace(found, leased_until=until, version=found.version + 1)
    _save_operation(conn, mine)
    return mine


def _under_way(conn: Connection) -> Mapping[str, int]:
    found = conn.execute(select(operations.c.id, operations.c.version).where(UNDER_WAY))
    return {row.id: row.version for row in found}


def _sweep(conn: Connection, before: datetime, rows: int) -> int:
    return delete_first(conn, (operations.c.id,), operations.c.ended_at < before, rows)


class SettingStore(Struct, frozen=True):
    """Sections of settings that admins can change at runtime."""

    _database: Database

    async def get(self, name: str) -> Section:
        """Return a section; a section that was never saved is empty, at version 0."""
        return await self._database.read(partial(_section, name=name))

    async def save(self, section: Section, event: Event | None = None) -> None:
        """Replace version ``section.version - 1`` and add the event.

        Raises:
            Conflict: the stored version is another.
        """
        await self._database.write(partial(_save_section, section=section, event=event))


def _section(conn: Connection, name: str) -> Section:
    row = conn.execute(select(settings).where(settings.c.name == name)).mappings().first()
    return section_of(row) if row else Section(name=name)


def _save_section(conn: Connection, section: Section, event: Event | None) -> None:
    before, row = section.version - 1, section_row(section)
    if before == 0:
        saved = insert_new(conn, settings, [row])
    else:
        same = (settings.c.name == section.name, settings.c.version == before)
        saved = conn.execute(update(settings).where(*same).values(row)).rowcount
    if not saved:
        raise Conflict(f"settings {section.name} are not at version {before} any more")
    tell(conn, [event] if event else [])
