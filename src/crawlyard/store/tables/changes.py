"""Tables of what changed from one run of a schedule to the next."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    false,
)

from crawlyard.store.tables.base import CleanText, Instant, Key, metadata

# No foreign keys: rows are deleted with their job, a few at a time.
run_changes = Table(
    "run_changes",
    metadata,
    Column("job_no", BigInteger, nullable=False, autoincrement=False),
    Column("schedule_id", String(36), nullable=False),
    Column("base_id", String(36)),  # the run before it
    Column("whole_id", String(36)),  # the last run up to it that saw the whole site
    Column("compared_at", Instant, nullable=False),
    Column("ended_at", Instant),  # of the run that was compared
    Column("counts", CleanText, nullable=False),  # JSON
    Column("hidden", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("job_no"),
)

unproven_pages = Table(  # copies: the run that read them may be deleted
    "unproven_pages",
    metadata,
    Column("job_no", BigInteger, nullable=False, autoincrement=False),
    Column("fp", BigInteger, nullable=False, autoincrement=False),
    Column("read_by", String(36), nullable=False),  # the run that read it last
    Column("reach", String(16), nullable=False),  # of that run
    Column("is_broken", Boolean, nullable=False),
    Column("id", BigInteger, nullable=False),  # a page
    Column("url", CleanText, nullable=False),
    Column("status", Integer),
    Column("error", String(32)),
    Column("truncated", CleanText, nullable=False),
    Column("title", CleanText, nullable=False),
    Column("sha256", CleanText, nullable=False),
    Column("content_rule", CleanText, nullable=False),
    Column("content_hash", CleanText, nullable=False),
    Column("content_version", Integer, nullable=False),
    PrimaryKeyConstraint("job_no", "fp"),
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
