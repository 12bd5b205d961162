"""All tables of a database; a command loads those that it uses."""

from crawlyard.store.tables import (
    access,
    changes,
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
    "access",
    "changes",
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
