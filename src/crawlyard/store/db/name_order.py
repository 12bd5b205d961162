"""Order by (name, id), the same on every database."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, collate, or_

from crawlyard.store.db.database import is_postgres


def by_name(conn: Connection, table: Table) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the expressions to order rows of *table* by: name by code points, then id."""
    return plainly(conn, table.c.name), table.c.id


def behind(conn: Connection, table: Table, after: tuple[str, str]) -> ColumnElement[bool]:
    """Return the condition that a row of *table* comes after the (name, id) *after*."""
    name = plainly(conn, table.c.name)
    return or_(name > after[0], and_(table.c.name == after[0], table.c.id > after[1]))


def plainly(conn: Connection, text: ColumnElement[str]) -> ColumnElement[str]:
    """Return *text* with a collation that compares code points."""
    # a Postgres database may have the collation of any language; SQLite compares bytes
    return collate(text, "C") if is_postgres(conn) else text
