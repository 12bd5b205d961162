"""Tables for monitoring: workers, job logs, and the progress of jobs over time."""

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
)

from crawlyard.store.tables.base import CleanText, Instant, metadata

workers = Table(
    "workers",
    metadata,
    Column("id", String(96), primary_key=True),
    Column("report", CleanText, nullable=False),  # JSON
    Column("beat_at", Instant, nullable=False),
    # the operator's order: quiet, stop or none; the worker's own reports don't change it
    Column("wish", String(8), nullable=False, server_default=""),
)

# No foreign keys: lines and courses are written with a checkpoint, whose transaction
# holds a lock on the job.
log_lines = Table(
    "log_lines",
    metadata,
    Column("job_no", BigInteger, nullable=False),
    Column("n", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("message", CleanText, nullable=False),
    Column("url", CleanText, nullable=False),
    PrimaryKeyConstraint("job_no", "n"),
)

courses = Table(
    "courses",
    metadata,
    Column("job_no", BigInteger, nullable=False),
    Column("course", CleanText, nullable=False),  # JSON
    PrimaryKeyConstraint("job_no"),
)
