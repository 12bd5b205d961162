"""The schema, once, for SQLite and Postgres alike; `migrations/` makes it step by step."""

from crawlyard.store.tables import access, desk, hosts, jobs, schedules, templates, watch, webhooks
from crawlyard.store.tables.base import metadata

__all__ = [
    "SCHEMA",
    "access",
    "desk",
    "hosts",
    "jobs",
    "metadata",
    "schedules",
    "templates",
    "watch",
    "webhooks",
]

SCHEMA = "0008"
"""The revision in `migrations/versions` that makes these tables."""
