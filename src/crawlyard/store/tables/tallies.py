"""How many jobs there are, kept ready: nobody counts a million rows to show a number."""

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

# The same of the jobs that a term of the filter language fits: `tag:daily`, `origin:retry`.
term_tallies = Table(
    "term_tallies",
    metadata,
    Column("term", CleanText, nullable=False),
    *_group(),
    Column("jobs", BigInteger, nullable=False),
    PrimaryKeyConstraint("term", "owner", "state", "priority"),
    sqlite_with_rowid=False,  # the key is nearly all that a row has
)

# Each change adds rows here, and somebody sums them up later: were it to write the sum
# itself, all changes of a moment would wait for one row.
tally_steps = Table(
    "tally_steps",
    metadata,
    Column("no", Key, primary_key=True),
    *_group(),
    Column("terms", CleanText, nullable=False),  # that fit these jobs, as JSON, each behind a comma
    Column("jobs", BigInteger, nullable=False),  # more, or fewer
)
