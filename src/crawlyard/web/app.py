"""The application: all routes, behind one gate, with one shape of errors."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware

from crawlyard.core.answers.base import API
from crawlyard.web import pages
from crawlyard.web.by_hand import BY_HAND, ENDPOINTS
from crawlyard.web.documenting import document, document_route
from crawlyard.web.endpoints import routes_of
from crawlyard.web.errors import problems
from crawlyard.web.gate import Gate
from crawlyard.web.plain import PLAIN
from crawlyard.web.site import Site

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(site: Site, lifespan: Lifespan | None = None) -> Starlette:
    """Return the application that serves *site*."""
    plain = [one.route for one in PLAIN]
    routes = [*routes_of(API, ENDPOINTS, BY_HAND), document_route(API), *plain, *pages.ROUTES]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.state.site, app.state.document = site, document
    problems.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=1024)
    app.add_middleware(Gate, site=lambda: app.state.site)
    return app
