"""How many jobs there are of each user, state and priority: kept ready, not counted."""

from typing import Any

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, SmallInteger, String, Table

from crawlyard.store.tables.base import CleanText, Key, metadata


def _group() -> tuple[Column[Any], ...]:
    """Return the columns of what is counted together."""
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

# Each change adds rows here, and somebody sums them up later: were it to write the sum
# itself, all changes of a moment would wait for one row.
tally_steps = Table(
    "tally_steps",
    metadata,
    Column("no", Key, primary_key=True),
    *_group(),
    Column("jobs", BigInteger, nullable=False),  # more, or fewer
)
