"""MCP over HTTP, at `/mcp` of a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp.server.context import ServerRequestContext
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from crawlyard.bridges.bridge import Bridge, surface_of
from crawlyard.bridges.mcp.tools import AgentTools

if TYPE_CHECKING:
    from crawlyard.api.surface import Surface


@asynccontextmanager
async def _yards(context: ServerRequestContext[Any, Any]) -> AsyncIterator["Surface"]:
    request = context.request
    assert isinstance(request, Request)  # noqa: S101 - the SDK passes on that of its transport
    yield surface_of(request)


def create_bridge() -> Bridge:
    """Return the bridge of MCP, without sessions: any process can answer any request."""
    server = AgentTools(_yards).server()
    # its list of hosts would repeat that of the server, which refuses names of others first
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = server.streamable_http_app(stateless_http=True, transport_security=security)
    return Bridge(path="/mcp", app=_SameOrigin(app), lifespan=server.session_manager.run)


class _SameOrigin:
    """Refuses requests that a page of another site sent, as DNS rebinding lets it do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Request(scope).headers
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            text = f"Origin {origin} is not this server; send none unless a browser does"
            await PlainTextResponse(text, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)
