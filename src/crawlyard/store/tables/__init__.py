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
    "SCHEMA",
    "UPGRADABLE",
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

UPGRADABLE = ("0121",)
"""Older schemas that `migrations/versions` has a revision of, oldest first."""
