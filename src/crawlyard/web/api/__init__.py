"""The routes, a module for each kind of thing."""

from crawlyard.web.api.access import auth, settings, tokens, users, views

ROUTERS = (
    auth.router,
    users.router,
    tokens.router,
    settings.router,
    views.router,
)
"""All routers, in the order of the document."""
