"""The routes, a module for each kind of thing."""

from crawlyard.web.api import schedules
from crawlyard.web.api.access import auth, settings, tokens, users, views
from crawlyard.web.api.fleet import (
    attention,
    health,
    hosts,
    meta,
    operations,
    pages,
    reference,
    stats,
    workers,
)

ROUTERS = (
    auth.router,
    users.router,
    tokens.router,
    pages.router,
    schedules.router,
    workers.router,
    hosts.router,
    settings.router,
    operations.router,
    views.router,
    stats.router,
    attention.router,
    meta.router,
    reference.router,
)
"""All routers, in the order of the document."""

ROOT = (health.root,)
"""Those that stand beside the API, at the root."""
