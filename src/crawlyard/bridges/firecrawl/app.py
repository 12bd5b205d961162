"""Routes of Firecrawl's API, and its errors."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from crawlyard.bridges.bridge import Bridge, refusal_of
from crawlyard.bridges.firecrawl import account, jobs, monitors, pages, watcher
from crawlyard.errors import CrawlyardError

_ROUTES = {
    ("POST", "/v2/scrape"): pages.scrape,
    ("POST", "/v2/map"): pages.map_site,
    ("POST", "/v2/crawl"): jobs.start_crawl,
    ("POST", "/v2/batch/scrape"): jobs.start_batch,
    ("GET", "/v2/crawl/active"): jobs.active,
    ("GET", "/v2/crawl/{job}"): jobs.status,
    ("DELETE", "/v2/crawl/{job}"): jobs.cancel,
    ("GET", "/v2/crawl/{job}/errors"): jobs.errors,
    ("GET", "/v2/batch/scrape/{job}"): jobs.status,
    ("DELETE", "/v2/batch/scrape/{job}"): jobs.cancel,
    ("GET", "/v2/batch/scrape/{job}/errors"): jobs.errors,
    **account.ROUTES,
    **monitors.ROUTES,
}

_WATCHED = ("/v2/crawl/{job}", "/v2/batch/scrape/{job}")


def create_bridge() -> Bridge:
    """Return the bridge of Firecrawl's API."""
    routes = [Route(path, call, methods=[method]) for (method, path), call in _ROUTES.items()]
    app = Starlette(
        routes=[*routes, *(WebSocketRoute(path, watcher.watch) for path in _WATCHED)],
        exception_handlers={404: _unsupported, 405: _unsupported, CrawlyardError: _answer_error},
    )
    app.router.redirect_slashes = False
    return Bridge(path="/v2", app=app, websockets=True, refuse=refuse)


def refuse(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error as Firecrawl's clients read it: they know no 422."""
    status = 400 if status == 422 else status
    content = {"success": False, "code": code.upper(), "error": detail}
    return JSONResponse(content, status, headers)


async def _unsupported(request: Request, _: Exception) -> Response:
    name = f"{request.method} {request.url.path}"
    return refuse(400, "unsupported", f"{name} is not supported by this server")


async def _answer_error(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, CrawlyardError)  # noqa: S101 - as it was registered
    return refusal_of(connection, error)
