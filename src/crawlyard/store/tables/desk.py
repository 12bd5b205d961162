"""Tables of views, dismissed notices, bulk operations, settings, and replies kept for keys."""

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)

from crawlyard.store.tables.base import CleanText, Instant, metadata

views = Table(
    "views",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("name", CleanText, nullable=False),
    Column("page", String(32), nullable=False),
    Column("query", CleanText, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("owner", "page", "name"),
)

dismissals = Table(
    "dismissals",
    metadata,
    Column("owner", CleanText, nullable=False),
    Column("notice", CleanText, nullable=False),  # its id
    Column("dismissed_at", Instant, nullable=False),
    PrimaryKeyConstraint("owner", "notice"),
)

operations = Table(
    "operations",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("request", CleanText, nullable=False),  # JSON
    Column("state", String(16), nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("failures", CleanText, nullable=False),  # JSON
    Column("cursor", CleanText, nullable=False),
    Column("detail", CleanText, nullable=False),
    Column("leased_until", Instant),
    Column("version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("ended_at", Instant),
)

UNDER_WAY = operations.c.state == literal_column("'running'")

Index("operations_owner", operations.c.owner, operations.c.id)
Index(
    "operations_running",
    operations.c.id,
    sqlite_where=UNDER_WAY,
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", CleanText, nullable=False),  # JSON
    Column("version", Integer, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("actor", CleanText, nullable=False),
)

replies = Table(
    "replies",
    metadata,
    Column("asker", String(36), nullable=False),
    Column("key", CleanText, nullable=False),
    Column("request", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", CleanText, nullable=False),  # JSON
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
    PrimaryKeyConstraint("asker", "key"),
)
