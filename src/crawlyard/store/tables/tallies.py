"""Tables of job counts by owner, state and priority, maintained so that nothing is counted."""

from typing import Any

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, SmallInteger, String, Table

from crawlyard.store.tables.base import CleanText, Key, metadata


def _group() -> tuple[Column[Any], ...]:
    """Return the columns that jobs are grouped by."""
    return (
        Column("owner", CleanText, nullable=False),
        Column("state", String(16), nullable=False),
        Column("priority", SmallInteger, nullable=False),
    )


tallies = Table(
    "tallies",
    metadata,
    *_group(),
    Column("jobs", BigInteger, nullable=False),
    PrimaryKeyConstraint("owner", "state", "priority"),
)

# Each change appends rows here, which are added up later: if it updated the sum itself,
# concurrent changes would all wait for the lock of one row.
tally_steps = Table(
    "tally_steps",
    metadata,
    Column("no", Key, primary_key=True),
    *_group(),
    Column("jobs", BigInteger, nullable=False),  # the difference, positive or negative
)
