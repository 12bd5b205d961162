"""Routes of Firecrawl's API."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crawlyard.bridges.bridge import Bridge


def create_bridge() -> Bridge:
    """Return the bridge of Firecrawl's API."""
    app = Starlette(exception_handlers={404: _unsupported, 405: _unsupported})
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
