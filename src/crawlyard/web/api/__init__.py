"""The routes, a module for each kind of thing."""

from crawlyard.web.api import schedules, templates, webhooks
from crawlyard.web.api.fleet import (
    attention,
    events,
    health,
    hosts,
    meta,
    operations,
    pages,
    reference,
    stats,
    watch,
    workers,
)

ROUTERS = (
    pages.router,
    templates.router,
    schedules.router,
    webhooks.router,
    workers.router,
    hosts.router,
    watch.router,
    events.router,
    operations.router,
    stats.router,
    attention.router,
    meta.router,
    reference.router,
)
"""All routers, in the order of the document."""

ROOT = (health.root, watch.root)
"""Those that stand beside the API, at the root."""
