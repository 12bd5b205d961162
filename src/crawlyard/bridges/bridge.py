"""Interface between a server and its bridges.

The module ``crawlyard.bridges.NAME.app`` has a function ``create_bridge()``. It is imported only
while the settings turn that bridge on.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from crawlyard.api.near import NearSurface


class Bridge(Struct, frozen=True, kw_only=True):
    """A protocol that is served at one path and below it."""

    path: str  # "/v2"
    app: ASGIApp  # gets authenticated requests, with their full path
    # of a status, a code, a sentence and headers; None: refusals are problem details
    refuse: Callable[[int, str, str, Mapping[str, str]], Response] | None = None
    lifespan: Callable[[], AbstractAsyncContextManager[None]] | None = None  # of the server


def surface_of(request: Request) -> NearSurface:
    """Return the surface of the user who sent *request*, limited to the scopes of their token."""
    surface: NearSurface = request.state.surface
    return surface
