"""The two databases: their SQL dialects, and the driver's own SQLite connection."""

import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite

from crawlyard.errors import StoreUnavailable
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.store.db import on_postgres as postgresql
else:
    postgresql = lazily("crawlyard.store.db.on_postgres")

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
