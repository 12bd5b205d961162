"""The two databases: their SQL dialects, and the driver's own SQLite connection."""

import sqlite3

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from crawlyard.errors import StoreUnavailable
from crawlyard.lazy import lazily

with lazily():
    from sqlalchemy.dialects import postgresql

__all__ = ["driver_of", "postgresql", "sqlite"]


def driver_of(conn: Connection) -> sqlite3.Connection:
    """Return the driver's own connection of *conn*.

    Raises:
        StoreUnavailable: it is closed.
    """
    raw: object = conn.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection):
        raise StoreUnavailable("the connection is closed")
    return raw
