"""Interface of rendering: requests of a page, and the rendered page."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum, auto
from typing import TypeAlias

from msgspec import Struct, field

from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.urls import spelled_origin_of


class Purpose(StrEnum):
    """Type of a resource that a page requests."""

    DOCUMENT = auto()  # of a frame, or of the page itself when it navigates: obeys robots.txt
    STYLESHEET = auto()
    SCRIPT = auto()
    DATA = auto()  # by XMLHttpRequest or fetch
    OTHER = auto()


class SubRequest(Struct, frozen=True, kw_only=True):
    """A request that a page makes while it is rendered."""

    url: str  # in its canonical spelling
    purpose: Purpose
    same_site: bool
    """As the page. Other sites get no cookies or credentials, as in browsers that block third-party
    cookies: a page could read what they give access to, and send it to its own site."""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the page itself, by lower-case name: accept, origin, referer, those of scripts,
    and as ``cookie`` the cookies that scripts have set. The job adds cookies set by sites and the
    headers that identify the client."""
    body: bytes | None = None  # of a POST
    filled: bool = False  # the page may have the values filled into its form

    def __repr__(self) -> str:
        """Return a text without the values of a login, which must not get into logs."""
        return f"SubRequest({self.method} {spelled_origin_of(self.url)})"


SendSubRequest: TypeAlias = Callable[[SubRequest], Awaitable[Response]]
"""Sends one sub-request through the fetcher of the job; returns the response, also a redirect.

Guard, rate limiter, body size, cookies, proxies and, for a document, robots.txt apply. It raises
`FetchFailed` if there is no response or the request is not allowed: the request fails for the page,
which continues. Any other exception, such as for a used-up byte limit, ends the rendering and is
propagated.
"""


class RenderFailed(FetchFailed):
    """There is no complete page; *cpu_s* is the CPU time of its browser."""

    def __init__(self, failure: FetchFailed, cpu_s: float) -> None:
        super().__init__(failure.kind, failure.detail, transient=failure.transient)
        self.cpu_s = cpu_s


class RenderedPage(Struct, frozen=True, kw_only=True):
    """A page after its scripts have run."""

    html: bytes  # its document, serialised, in UTF-8
    url: str  # in the end; scripts may have changed it
    by: str  # the browser and its version: "lightpanda 1.0.2"
    cpu_s: float  # of the browser's processes
    screenshot: bytes | None = None
    cookies: Sequence[str] = ()  # after a login: all cookies, as Set-Cookie values
    form_remains: bool = False  # after a login: the page still shows its form
