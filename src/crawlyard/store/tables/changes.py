"""Tables of what changed from one run of a schedule to the next."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
)

from crawlyard.store.tables.base import CleanText, Instant, Key, metadata

# No foreign keys: rows are deleted with their job, a few at a time.
run_changes = Table(
    "run_changes",
    metadata,
    Column("job_no", BigInteger, nullable=False, autoincrement=False),
    Column("schedule_id", String(36), nullable=False),
    Column("base_id", String(36)),  # the run before it
    Column("compared_at", Instant, nullable=False),
    Column("ended_at", Instant),  # of the run that was compared
    Column("counts", CleanText, nullable=False),  # JSON
    PrimaryKeyConstraint("job_no"),
)

changes = Table(
    "changes",
    metadata,
    Column("seq", Key, primary_key=True),
    Column("job_no", BigInteger, nullable=False, index=True),
    Column("schedule_id", String(36), nullable=False),
    Column("owner", CleanText, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("url", CleanText, nullable=False),
    Column("moved_to", CleanText),
    Column("detail", CleanText, nullable=False),
    Column("before", BigInteger),  # pages
    Column("after", BigInteger),
    Column("added", Integer),  # lines
    Column("removed", Integer),
    Column("share", Float),
    sqlite_autoincrement=True,  # ascending keys: a reader's cursor never misses later changes
)

Index("changes_schedule", changes.c.schedule_id, changes.c.seq)
Index("changes_owner", changes.c.owner, changes.c.seq)
