"""The schema, once, for SQLite and Postgres alike; `migrations/` makes it step by step."""

from crawlyard.store.tables import (
    access,
    desk,
    hosts,
    jobs,
    schedules,
    tallies,
    templates,
    watch,
    webhooks,
)
from crawlyard.store.tables.base import metadata

__all__ = [
    "SCHEMA",
    "access",
    "desk",
    "hosts",
    "jobs",
    "metadata",
    "schedules",
    "tallies",
    "templates",
    "watch",
    "webhooks",
]

SCHEMA = "0011"
"""The revision in `migrations/versions` that makes these tables."""
