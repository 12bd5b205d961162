"""Bridges of a server: other protocols behind the same middleware, tokens and rate limits."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.datastructures import URLPath
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Message, Receive, Scope, Send

from crawlyard.about import install_line
from crawlyard.api.near import NearSurface
from crawlyard.config import BridgeName
from crawlyard.errors import CrawlyardError, Forbidden, Unauthenticated, Unavailable
from crawlyard.lazy import is_installed
from crawlyard.web import problems
from crawlyard.web.auth import authorize, is_own_origin
from crawlyard.web.live.stream import Stream, Subscription
from crawlyard.web.middleware import opening_scope
from crawlyard.web.routes import check_body
from crawlyard.web.site import Site

if TYPE_CHECKING:
    from crawlyard.bridges.bridge import Bridge

_NEEDS = {BridgeName.FIRECRAWL: "websockets", BridgeName.MCP: "mcp"}
"""The package that a bridge needs; the extra that installs it has the name of the bridge."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@asynccontextmanager
async def run_bridges(routes: Iterable["BridgeRoute"]) -> AsyncIterator[None]:
    """Run what bridges do in the background for the block."""
    async with AsyncExitStack() as stack:
        for route in routes:
            if route.bridge.lifespan is not None:
                await stack.enter_async_context(route.bridge.lifespan())
        yield


class BridgeRoute(BaseRoute):
    """Passes authenticated requests for a path, and for what is below it, to a bridge.

    The bridge is imported here, by its name, so that a server without it does not load it.
    """

    def __init__(self, site: Site, name: BridgeName) -> None:
        self._site = site
        needs = _NEEDS.get(name)
        if needs and not is_installed(needs):
            raise Unavailable(f"the bridge {name} needs {needs}: {install_line(name)}")
        module = import_module(f"crawlyard.bridges.{name}.app")
        self.bridge: Bridge = module.create_bridge()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the bridge answers a request."""
        path = scope.get("path", "")
        is_below = path == self.bridge.path or path.startswith(f"{self.bridge.path}/")
        is_served = scope["type"] == "http" or self.bridge.websockets
        return (Match.FULL if is_below and is_served else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        """Raise `NoMatchFound`: a bridge makes its own URLs."""
        raise NoMatchFound(name, dict(path_params))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        request = Request(opening_scope(scope), receive)
        request.state.refusal = partial(self._refusal, request)
        if scope["type"] == "websocket":
            await self._serve_socket(request, scope, receive, send)
            return
        changes = request.method not in _SAFE_METHODS
        try:
            request.state.surface = await self._surface_of(request)
            if changes:
                await check_body(request)
                receive = _received(await request.body(), receive)
        except (problems.Problem, CrawlyardError) as error:
            await self._refusal(request, error)(scope, receive, send)
            return
        await self.bridge.app(scope, receive, send)
        if changes:
            await self._site.yard.bus.notify_events_stored()  # it may have stored an event

    async def _serve_socket(
        self, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass a WebSocket to the bridge until its token ends; it counts as a stream of that.

        A browser cannot send headers with it: the token may be its subprotocol.
        """
        token = next(iter(scope["subprotocols"]), "")
        if token and "authorization" not in request.headers:
            headers = [*scope["headers"], (b"authorization", f"Bearer {token}".encode())]
            request = Request({**request.scope, "headers": headers}, receive)
        try:
            origin = request.headers.get("origin")
            if origin is not None and not is_own_origin(request, origin):
                raise Forbidden(f"the page {origin:.200} is not of this server")
            request.state.surface = await self._surface_of(request)
            stream = await self._site.live.open(request.state.caller, Subscription())
        except (problems.Problem, CrawlyardError) as error:
            await self._refusal(request, error)(scope, receive, send)
            return
        app = asyncio.ensure_future(self.bridge.app(scope, receive, send))
        end = asyncio.create_task(_until_ended(stream))
        try:
            await asyncio.wait((app, end), return_when=asyncio.FIRST_COMPLETED)
            if not app.done():
                app.cancel()
                await asyncio.wait((app,))
                await send(_GONE if self._site.live.closed else _REVOKED)
            elif not app.cancelled():
                app.result()
        finally:
            app.cancel()
            end.cancel()
            self._site.live.leave(stream)

    async def _surface_of(self, request: Request) -> NearSurface:
        """Return the surface of the sender of *request*, limited to the scopes of their token.

        The request counts against the rate limit of the token.

        Raises:
            Unauthenticated: no valid token was sent.
            Problem: too many requests.
        """
        if "authorization" not in request.headers:  # a cookie could be sent by another site
            raise Unauthenticated("send 'Authorization: Bearer cyt_…'")
        caller = await authorize(request, self._site)
        return NearSurface(self._site.yard.services, caller.actor, caller.permits, caller)

    def _refusal(self, request: Request, error: Exception) -> Response:
        if isinstance(error, problems.Problem):
            code, detail, headers = error.code, error.detail, dict(error.headers)
        else:
            assert isinstance(error, CrawlyardError)  # noqa: S101 - `handle` catches no other
            code, detail, headers = problems.code_of(error), str(error), {}
        if self.bridge.refuse is None:
            return problems.answer(request, code, detail, headers=headers)
        return self.bridge.refuse(problems.KINDS[code].status, code, detail, headers)


_REVOKED = {"type": "websocket.close", "code": 1008, "reason": "the token is no longer valid"}
_GONE = {"type": "websocket.close", "code": 1012, "reason": "the server is shutting down"}
"""Source: RFC 6455, section 7.4, and the IANA registry of close codes."""


async def _until_ended(stream: Stream) -> None:
    while not stream.ended:
        await stream.wait_for_news()
        stream.take()  # pings, which WebSockets have of their own


def _received(body: bytes, receive: Receive) -> Receive:
    """Return a *receive* that has the whole *body*, which was read, as its first message."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
