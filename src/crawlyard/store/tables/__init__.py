"""Database schema, the same for SQLite and Postgres; `migrations/` upgrades older databases."""

from crawlyard.store.tables import (
    access,
    changes,
    desk,
    hosts,
    jobs,
    page_search,
    schedules,
    tallies,
    templates,
    watch,
    webhooks,
)
from crawlyard.store.tables.base import metadata

__all__ = [
    "FIRST",
    "SCHEMA",
    "access",
    "changes",
    "desk",
    "hosts",
    "jobs",
    "metadata",
    "page_search",
    "schedules",
    "tallies",
    "templates",
    "watch",
    "webhooks",
]

SCHEMA = "0126"
"""The last revision in `migrations/versions`; new databases are created with it."""

FIRST = "0102"
"""The oldest schema that can be upgraded: that of the first release."""
