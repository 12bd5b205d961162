"""Tables of hosts: booked and held times, request slots, operators' rules, robots.txt files."""

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
    Column("booked_until", Instant),  # the first instant that is free
    Column("held_until", Instant),
    Column("strikes", Integer, nullable=False, server_default="0"),  # consecutive refusals
    Column("struck_at", Instant),  # time of the last refusal
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

# Slots: how many concurrent requests to a host each worker may have.
host_seats = Table(
    "host_seats",
    metadata,
    Column("host", CleanText, nullable=False),
    Column("worker", String(96), nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("at_once", Integer, nullable=False),  # most requests of all workers, by its jobs
    Column("granted", Integer, nullable=False),
    Column("since", Instant, nullable=False),  # it has held slots, or waited for one, since then
    Column("every_s", Float, nullable=False),  # the longest delay that its jobs ask for
    Column("until", Instant, nullable=False),
    PrimaryKeyConstraint("host", "worker"),
)

Index("host_seats_worker", host_seats.c.worker)

# The cached robots.txt of each origin.
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
