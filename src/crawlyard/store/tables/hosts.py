"""How hosts are treated: what is booked, held and shared, and what operators say of them."""

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
)

from crawlyard.store.tables.base import CleanText, Instant, metadata

hosts = Table(
    "hosts",
    metadata,
    Column("host", CleanText, primary_key=True),
    Column("booked_until", Instant),  # the first instant that is not booked
    Column("held_until", Instant),
    Column("strikes", Integer, nullable=False, server_default="0"),  # refusals in a row
    Column("struck_at", Instant),  # when the last of them came
)

host_rules = Table(
    "host_rules",
    metadata,
    Column("host", CleanText, primary_key=True),
    Column("state", String(8), nullable=False),  # open, paused or blocked
    Column("delay_s", Float),
    Column("at_once", Integer),
    Column("note", CleanText, nullable=False),
    Column("actor", CleanText, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

# How many requests at once each worker may have under way to a host.
host_seats = Table(
    "host_seats",
    metadata,
    Column("host", CleanText, nullable=False),
    Column("worker", String(96), nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("at_once", Integer, nullable=False),  # the most that its jobs wish for
    Column("granted", Integer, nullable=False),
    Column("since", Instant, nullable=False),  # it has had seats, or has waited for one
    Column("every_s", Float, nullable=False),  # the longest delay that its jobs wish for
    Column("until", Instant, nullable=False),
    PrimaryKeyConstraint("host", "worker"),
)

Index("host_seats_worker", host_seats.c.worker)

# The robots.txt of each origin, as it was had last.
robots = Table(
    "robots",
    metadata,
    Column("origin", CleanText, primary_key=True),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),  # a zstd frame
    Column("fetched_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

Index("robots_expires", robots.c.expires_at)
