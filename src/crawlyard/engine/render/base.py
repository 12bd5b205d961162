"""What rendering takes and gives: the requests of a page, and what its scripts made of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum, auto
from typing import TypeAlias

from msgspec import Struct, field

from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.urls import spelled_origin_of


class Purpose(StrEnum):
    """What a page makes a request for."""

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
    """As the page: another site is sent no cookies and no credentials, as browsers do it that
    block third-party cookies. A page could read what they open, and tell it to its own site."""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the page itself says, by names in lower case: accept, origin, referer, headers of its
    scripts, and as ``cookie`` what these have set in the page. Cookies that sites have set are the
    job's, and so is all by which a browser presents itself."""
    body: bytes | None = None  # of a POST
    filled: bool = False  # the page may know by now what was filled into its form

    def __repr__(self) -> str:
        """Return a text without what a login sends, which must not get into logs."""
        return f"SubRequest({self.method} {spelled_origin_of(self.url)})"


Ask: TypeAlias = Callable[[SubRequest], Awaitable[Response]]
"""Sends one sub-request through the fetcher of the job and returns its answer, a redirect as well.

Guard, pace, size of a body, cookies, proxies and, for a document, robots.txt hold in it. It raises
`FetchFailed` if there is no answer, or if it may not be sent: the page is told that its request
failed, and goes on. Every other exception, such as that the job has no bytes left, ends the
rendering and is propagated.
"""


class RenderFailed(FetchFailed):
    """There is no whole page; *cpu_s* is what its browser spent on it."""

    def __init__(self, failure: FetchFailed, cpu_s: float) -> None:
        super().__init__(failure.kind, failure.detail, transient=failure.transient)
        self.cpu_s = cpu_s


class RenderedPage(Struct, frozen=True, kw_only=True):
    """A page after its scripts have run."""

    html: bytes  # its document, serialised, in UTF-8
    url: str  # at the end: scripts may have changed it
    by: str  # the browser and its version: "lightpanda 1.0.2"
    cpu_s: float  # of the browser's processes
    screenshot: bytes | None = None
    cookies: Sequence[str] = ()  # after a login: all of them, as its site would set them
    form_again: bool = False  # after a login: the page shows its form
