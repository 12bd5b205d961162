"""Steps and conditions that stores share: versions of a row, names, optional filters."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, collate, delete, or_, select, update

from crawlyard.errors import Conflict
from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.database import is_postgres


def add_row(conn: Connection, table: Table, row: Mapping[str, Any], label: str) -> None:
    """Insert a row with an `id`, and maybe a `name` that is unique for its owner.

    Raises:
        Conflict: the id or the name is taken; *label* names the row in messages: "a view".
    """
    if insert_new(conn, table, [row]):
        return
    same_id = select(table.c.id).where(table.c.id == row["id"])
    if "name" in row and conn.scalar(same_id) is None:
        raise name_taken(label, row["name"])
    raise Conflict(f"{label} {row['id']} already exists")


def put_version(conn: Connection, table: Table, row: Mapping[str, Any], label: str) -> None:
    """Replace version ``row["version"] - 1`` of a row, found by its primary key; insert version 1.

    Raises:
        Conflict: the stored version is another; *label* is the subject of the message.
    """
    before = row["version"] - 1
    if before == 0:
        written = insert_new(conn, table, [row])
    else:
        [key] = table.primary_key
        same = (key == row[key.name], table.c.version == before)
        values = {name: value for name, value in row.items() if name != key.name}
        written = conn.execute(update(table).where(*same).values(values)).rowcount
    if not written:
        raise Conflict(f"{label} not at version {before} any more")


def drop_version(conn: Connection, table: Table, key: str, version: int, label: str) -> None:
    """Delete a row, found by its primary key, if it is at *version*.

    Raises:
        Conflict: it is not, or it is gone; *label* is the subject of the message.
    """
    [column] = table.primary_key
    same = (column == key, table.c.version == version)
    if not conn.execute(delete(table).where(*same)).rowcount:
        raise Conflict(f"{label} not at version {version} any more")


def name_taken(label: str, name: str) -> Conflict:
    """Return the error for a second row of the same name; *label*: "a view"."""
    return Conflict(f"{label} named {name} already exists; choose another name")


def equal(*filters: tuple[ColumnElement[Any], object]) -> list[ColumnElement[bool]]:
    """Return the conditions that columns have the values of a filter; ``None`` doesn't filter."""
    return [column == value for column, value in filters if value is not None]


def by_name(conn: Connection, table: Table) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the expressions to order rows of *table* by: name by code points, then id."""
    return by_code_points(conn, table.c.name), table.c.id


def behind(conn: Connection, table: Table, after: tuple[str, str]) -> ColumnElement[bool]:
    """Return the condition that a row of *table* comes after the (name, id) *after*."""
    name = by_code_points(conn, table.c.name)
    return or_(name > after[0], and_(table.c.name == after[0], table.c.id > after[1]))


def by_code_points(conn: Connection, text: ColumnElement[str]) -> ColumnElement[str]:
    """Return *text* with a collation that compares code points."""
    # a Postgres database may have the collation of any language; SQLite compares bytes
    return collate(text, "C") if is_postgres(conn) else text
