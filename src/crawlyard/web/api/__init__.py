"""The routes, a module for each kind of thing."""

from crawlyard.web.api import schedules, templates, webhooks
from crawlyard.web.api.access import auth, settings, tokens, users, views
from crawlyard.web.api.fleet import (
    events,
    watch,
)

ROUTERS = (
    auth.router,
    users.router,
    tokens.router,
    templates.router,
    schedules.router,
    webhooks.router,
    watch.router,
    events.router,
    settings.router,
    views.router,
)
"""All routers, in the order of the document."""

ROOT = (watch.root,)
"""Those that stand beside the API, at the root."""
