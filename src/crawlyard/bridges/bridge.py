"""Interface between a server and its bridges.

The module ``crawlyard.bridges.NAME.app`` has a function ``create_bridge()``. It is imported only
while the settings turn that bridge on.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from msgspec import Struct
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp

from crawlyard.api.near import NearSurface
from crawlyard.errors import CrawlyardError


class Bridge(Struct, frozen=True, kw_only=True):
    """A protocol that is served at one path and below it."""

    path: str  # "/v2"
    app: ASGIApp  # gets authenticated requests, with their full path
    websockets: bool = False  # it gets those too
    # of a status, a code, a sentence and headers; None: refusals are problem details
    refuse: Callable[[int, str, str, Mapping[str, str]], Response] | None = None
    lifespan: Callable[[], AbstractAsyncContextManager[None]] | None = None  # of the server


def surface_of(connection: HTTPConnection) -> NearSurface:
    """Return the surface of the user of *connection*, limited to the scopes of their token."""
    surface: NearSurface = connection.state.surface
    return surface


def refusal_of(connection: HTTPConnection, error: CrawlyardError) -> Response:
    """Return the response for *error*, made by `Bridge.refuse`, with the status of the API."""
    response: Response = connection.state.refusal(error)
    return response
