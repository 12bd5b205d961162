"""Routes of Firecrawl's API, and its errors."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crawlyard.bridges.bridge import Bridge
from crawlyard.bridges.firecrawl import account, jobs, monitors, pages
from crawlyard.errors import (
    Conflict,
    CrawlyardError,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    QuotaExceeded,
    Unavailable,
)

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

_STATUSES: tuple[tuple[type[CrawlyardError], int], ...] = (
    (Invalid, 400),
    (NotFound, 404),
    (Forbidden, 403),
    (QuotaExceeded, 429),
    (IllegalMove, 409),
    (Conflict, 409),
    (Unavailable, 503),
)


def create_bridge() -> Bridge:
    """Return the bridge of Firecrawl's API."""
    app = Starlette(
        routes=[Route(path, call, methods=[method]) for (method, path), call in _ROUTES.items()],
        exception_handlers={404: _unsupported, 405: _unsupported, CrawlyardError: _answer_error},
    )
    app.router.redirect_slashes = False
    return Bridge(path="/v2", app=app, refuse=refuse)


def refuse(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error as Firecrawl's clients read it."""
    content = {"success": False, "code": code.upper(), "error": detail}
    return JSONResponse(content, status, headers)


async def _unsupported(request: Request, _: Exception) -> Response:
    name = f"{request.method} {request.url.path}"
    return refuse(400, "unsupported", f"{name} is not supported by this server")


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, CrawlyardError)  # noqa: S101 - as it was registered
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 400)
    return refuse(status, error.code, str(error))
