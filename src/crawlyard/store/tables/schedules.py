"""Tables of schedules and their ticks: the outcome of each instant at which one was due."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    false,
)

from crawlyard.store.tables.base import CleanText, Instant, metadata

schedules = Table(
    "schedules",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("name", CleanText, nullable=False),
    Column("search", CleanText, nullable=False),  # name and description, case-folded
    Column("template_id", ForeignKey("templates.id"), index=True),
    Column("plan", CleanText, nullable=False),  # JSON: all fields that no query filters by
    Column("trusted", Boolean, nullable=False),
    Column("private", Boolean, nullable=False, server_default=false()),
    Column("runs_left", BigInteger),
    Column("paused_at", Instant),
    Column("next_at", Instant),
    Column("fire_at", Instant),
    Column("waiting_at", Instant),
    Column("fresh_beat", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("owner", "name"),
)

FIRES = schedules.c.fire_at.is_not(None)
WAITS = schedules.c.waiting_at.is_not(None)

Index("schedules_fire", schedules.c.fire_at, sqlite_where=FIRES)
Index("schedules_waiting", schedules.c.waiting_at, sqlite_where=WAITS)

ticks = Table(
    "ticks",
    metadata,
    Column("schedule_id", String(36), nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("detail", CleanText, nullable=False),
    Column("job_id", String(36)),
    Column("decided_at", Instant, nullable=False, index=True),
    Column("beat", BigInteger, nullable=False),
    PrimaryKeyConstraint("schedule_id", "due_at"),
)
