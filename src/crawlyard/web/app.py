"""Web application: all routes behind the middleware, with uniform errors."""

from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response

from crawlyard.core.answer import API
from crawlyard.web import pages, problems, reader, reference, shared
from crawlyard.web.bridges import BridgeRoute, run_bridges
from crawlyard.web.by_hand import BY_HAND, ENDPOINTS
from crawlyard.web.endpoints import routes_of
from crawlyard.web.middleware import Gate
from crawlyard.web.site import Site


async def _not_found(request: Request, error: Exception) -> Response:
    if pages.is_for_people(request):
        return pages.not_found_page(request)
    return await problems.answer_http_error(request, error)


def has_websockets(app: Starlette) -> bool:
    """Return whether a bridge of *app* serves WebSockets."""
    return any(isinstance(route, BridgeRoute) and route.bridge.websockets for route in app.routes)


def create_app(site: Site) -> Starlette:
    """Return the application that serves *site*."""
    routes = [*routes_of(API, ENDPOINTS, BY_HAND), *reference.ROUTES]
    routes += [*reader.ROUTES, *shared.ROUTES, *pages.ROUTES]
    bridges = [BridgeRoute(site, name) for name in site.options.bridges]
    app = Starlette(routes=[*routes, *bridges], lifespan=lambda _: run_bridges(bridges))
    app.router.redirect_slashes = False
    app.state.site = site
    problems.install(app)
    app.add_exception_handler(404, _not_found)
    app.add_middleware(GZipMiddleware, minimum_size=1024)
    app.add_middleware(Gate)
    return app
