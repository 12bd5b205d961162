"""The schema, once, for SQLite and Postgres alike; `migrations/` makes it step by step."""

from crawlyard.store.tables import jobs, schedules, templates, webhooks
from crawlyard.store.tables.base import metadata

__all__ = ["SCHEMA", "jobs", "metadata", "schedules", "templates", "webhooks"]

SCHEMA = "0002"
"""The revision in `migrations/versions` that makes these tables."""
