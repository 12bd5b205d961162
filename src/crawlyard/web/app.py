"""The application: all routes, behind one gate, with one shape of errors."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware

from crawlyard.about import VERSION
from crawlyard.core.answers.base import API as PREFIX
from crawlyard.web import pages
from crawlyard.web.api import ROOT, ROUTERS
from crawlyard.web.by_hand import BY_HAND, ENDPOINTS
from crawlyard.web.documenting import document, operation_id
from crawlyard.web.endpoints import routes_of
from crawlyard.web.errors import problems
from crawlyard.web.gate import Gate
from crawlyard.web.routes import Route
from crawlyard.web.site import Site

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(site: Site, lifespan: Lifespan | None = None) -> FastAPI:
    """Return the application that serves *site*."""
    app = FastAPI(
        title="Crawlyard",
        version=VERSION,
        summary="Jobs, templates, schedules and results of a yard",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    app.state.site = site
    app.router.routes += routes_of(PREFIX, ENDPOINTS, BY_HAND)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    for router in (*ROOT, pages.router):
        app.include_router(router)
    routes = [
        (prefix + one.path_format, one)
        for prefix, routers in ((PREFIX, ROUTERS), ("", ROOT))
        for each in routers
        for one in each.routes
        if isinstance(one, Route)
    ]
    app.openapi = document(app, routes)  # type: ignore[method-assign] # as FastAPI's own pages tell
    app.add_middleware(GZipMiddleware, minimum_size=1024)
    app.add_middleware(Gate, site=lambda: app.state.site)
    return app
