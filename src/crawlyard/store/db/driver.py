"""The driver's own SQLite connection, where going through SQLAlchemy would be slower."""

import sqlite3

from sqlalchemy import Connection

from crawlyard.errors import StoreUnavailable


def driver_of(conn: Connection) -> sqlite3.Connection:
    """Return the driver's own connection of *conn*.

    Raises:
        StoreUnavailable: it is closed.
    """
    raw: object = conn.connection.dbapi_connection
    if not isinstance(raw, sqlite3.Connection):
        raise StoreUnavailable("the connection is closed")
    return raw
