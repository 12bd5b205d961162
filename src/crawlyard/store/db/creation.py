"""Creation of all tables in an empty database, with the current schema.

SQLAlchemy generates the statements from `store/tables`: 0.015 s on SQLite, once per database.
Alembic, which only upgrades need, would take 0.1 s to load.
"""

from datetime import UTC, datetime
from importlib.resources import files

from sqlalchemy import Connection, insert
from sqlalchemy.schema import CreateIndex, CreateTable

from crawlyard.core.access.user import LOCAL
from crawlyard.store.db.database import is_postgres
from crawlyard.store.tables import SCHEMA, metadata
from crawlyard.store.tables.access import users
from crawlyard.store.tables.base import in_order, versions
from crawlyard.store.tables.webhooks import cursors

TICKETS_STEP = "03.04.00_50"
"""The last migration of Procrastinate's schema that ours includes.

When a Procrastinate release adds migrations, add a revision of ours that applies them.
"""

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
    if is_postgres(conn):
        _create_tickets(conn)
    local = {"id": LOCAL.id, "role": LOCAL.role, "quota": "{}", "limited": False, "version": 1}
    conn.execute(insert(users).values(created_at=_EPOCH, updated_at=_EPOCH, **local))
    conn.execute(insert(cursors).values(name="webhooks", seq=0))
    conn.execute(CreateTable(versions))
    conn.execute(insert(versions).values(version_num=SCHEMA))


def _create_tickets(conn: Connection) -> None:
    """Create Procrastinate's tables, which carry wakeups for due jobs."""
    steps = sorted(files("procrastinate.sql.migrations").iterdir(), key=lambda step: step.name)
    for step in steps:
        if step.name.endswith(".sql") and step.name[: len(TICKETS_STEP)] <= TICKETS_STEP:
            # doubled: the driver takes a single % for a parameter
            conn.exec_driver_sql(step.read_text("utf-8").replace("%", "%%"))
