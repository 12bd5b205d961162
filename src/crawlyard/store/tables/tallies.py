"""How many jobs there are, kept ready: nobody counts a million rows to show a number."""

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, SmallInteger, String, Table

from crawlyard.store.tables.base import CleanText, Key, metadata

tallies = Table(
    "tallies",
    metadata,
    Column("owner", CleanText, nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("jobs", BigInteger, nullable=False),
    PrimaryKeyConstraint("owner", "state", "priority"),
)

# Each change adds rows here, and somebody sums them up later: were it to write the sum
# itself, all changes of a moment would wait for one row.
tally_steps = Table(
    "tally_steps",
    metadata,
    Column("no", Key, primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("jobs", BigInteger, nullable=False),  # more, or fewer
)
