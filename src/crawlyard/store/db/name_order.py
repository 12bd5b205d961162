"""The order of things that have names: by (name, id), alike on every database."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, collate, or_

from crawlyard.store.db.database import is_postgres


def by_name(conn: Connection, table: Table) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return what to order rows of *table* by, names by their code points."""
    return plainly(conn, table.c.name), table.c.id


def behind(conn: Connection, table: Table, after: tuple[str, str]) -> ColumnElement[bool]:
    """Return the condition that a row of *table* comes behind (name, id) *after*."""
    name = plainly(conn, table.c.name)
    return or_(name > after[0], and_(table.c.name == after[0], table.c.id > after[1]))


def plainly(conn: Connection, text: ColumnElement[str]) -> ColumnElement[str]:
    """Return *text* as it is compared by its code points."""
    # a database may have been made with the order of any language; SQLite compares bytes
    return collate(text, "C") if is_postgres(conn) else text
