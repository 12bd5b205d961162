"""The routes, a module for each kind of thing."""

from crawlyard.web.api import schedules
from crawlyard.web.api.access import auth, settings, tokens, users, views

ROUTERS = (
    auth.router,
    users.router,
    tokens.router,
    schedules.router,
    settings.router,
    views.router,
)
"""All routers, in the order of the document."""
