"""New databases: creates the tables and indexes.

SQLAlchemy generates the statements from `store/tables`: 0.015 s on SQLite. Alembic, which only
upgrades need, would take 0.1 s to load.
"""

from datetime import UTC, datetime

from sqlalchemy import Connection, insert
from sqlalchemy.schema import CreateIndex, CreateTable

from crawlyard.core.access.user import LOCAL
from crawlyard.store.db.database import is_postgres
from crawlyard.store.tables import SCHEMA, page_search
from crawlyard.store.tables.access import users
from crawlyard.store.tables.base import in_order, versions
from crawlyard.store.tables.every import metadata
from crawlyard.store.tables.jobs import SHARDS_OF_JOB
from crawlyard.store.tables.webhooks import cursors

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def create_tables(conn: Connection) -> None:
    """Create all tables, and the rows that every database starts with."""
    for table in metadata.sorted_tables:
        conn.execute(CreateTable(table))
        for index in in_order(table.indexes):
            if is_postgres(conn):
                where = index.dialect_options["sqlite"]["where"]
                index.dialect_options["postgresql"]["where"] = where
            conn.execute(CreateIndex(index))
    for table in page_search.INDEX.sorted_tables:
        conn.execute(CreateTable(table))
    if is_postgres(conn):
        conn.exec_driver_sql(SHARDS_OF_JOB)
    for statement in page_search.ON_POSTGRES if is_postgres(conn) else page_search.ON_SQLITE:
        conn.exec_driver_sql(statement)
    no_turn = {"holder": "", "until": _EPOCH, "loose": False}
    conn.execute(insert(page_search.marks).values(id=1, low=0, high=0, **no_turn))
    local = {"id": LOCAL.id, "role": LOCAL.role, "quota": "{}", "limited": False, "version": 1}
    conn.execute(insert(users).values(created_at=_EPOCH, updated_at=_EPOCH, **local))
    conn.execute(insert(cursors).values(name="webhooks", seq=0))
    conn.execute(CreateTable(versions))
    conn.execute(insert(versions).values(version_num=SCHEMA))
