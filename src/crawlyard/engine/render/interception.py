"""Interception: each request of a page, answered by the fetcher of its job or not at all."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias

from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.quantity import counted
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render.base import Ask, Purpose, SubRequest
from crawlyard.engine.render.cdp import CommandFailed, Message
from crawlyard.engine.render.filling import Shown, kept
from crawlyard.engine.scope import same_site
from crawlyard.engine.urls import Base, canonical, spelled_origin_of
from crawlyard.errors import Invalid

MOST_REQUESTS = 500
"""Of one page. The largest sites make 300, half of which are images."""

MOST_NAVIGATIONS = 5
"""By which a page replaces itself: a consent page and a client-side redirect need two."""

_AT_ONCE = 6  # as browsers have connections to a host
_MOST_HOPS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AS_POST = frozenset({307, 308})  # redirects that repeat the request with its body
_NO_CONTENT = frozenset({204, 205})  # a browser stays where it is
_DISPLAYABLE = ("text/", "image/", "application/xhtml+xml", "application/xml", "application/json")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_PURPOSES: Mapping[str, Purpose] = {
    "Document": Purpose.DOCUMENT,
    "Stylesheet": Purpose.STYLESHEET,
    "Script": Purpose.SCRIPT,
    "XHR": Purpose.DATA,
    "Fetch": Purpose.DATA,
    "Other": Purpose.OTHER,  # scripts of workers
}
"""By CDP's type of a resource; others are blocked."""

_DRAWN = frozenset({"Image", "Font"})  # for a screenshot they are loaded

_NOT_OURS = frozenset(
    {
        *("host", "connection", "cookie", "user-agent", "accept-encoding", "accept-language"),
        *("content-length", "upgrade-insecure-requests", "cache-control", "pragma"),
        *("if-none-match", "if-modified-since", "range", "dnt", "from"),
    }
)
"""Headers that are the job's to send, or depend on what a browser remembers."""

_NOT_FOR_IT = frozenset(
    {
        *("content-encoding", "content-length", "transfer-encoding", "connection"),
        *("content-disposition", "strict-transport-security", "alt-svc", "clear-site-data"),
        *("report-to", "reporting-endpoints", "nel", "refresh", "set-cookie"),
    }
)
"""Headers of an answer that are undone already, or that a page that is rendered once does without.
A Refresh is a link of the page, which the crawl follows; cookies of a site are kept by the job."""

_ANY_ORIGIN = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Allow-Methods", "GET, HEAD"),
)

Call: TypeAlias = Callable[..., Awaitable[Message]]
"""Sends a command to the browser, for this page."""


class Interception:
    """The requests of one page, which has been answered with *document* already."""

    def __init__(
        self,
        url: str,
        document: Response,
        ask: Ask,
        call: Call,
        *,
        draws: bool,
        frames: bool,
        frame: str,
        shown: Shown | None = None,
    ) -> None:
        self._url = url
        self._document: Response | None = document
        self._ask = ask
        self._call = call
        self._draws = draws  # images and fonts are wanted
        self._frames = frames
        self._frame = frame
        self._shown = shown  # of a login: its page sees cookies, as it may send them in a header
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._navigations = 0
        self.stays = False  # was kept from going elsewhere, in Lightpanda without a load event
        self.in_flight = 0
        self.sent = 0
        self.filled = False  # from now on, the page knows what was filled into its form
        self.submitted = False

    async def handle(self, paused: Message) -> None:
        """Answer one request that the browser holds.

        Raises:
            FetchFailed: the page navigates without end.
        """
        held = paused["requestId"]
        self.in_flight += 1
        try:
            request = await self._with_cookies(self._read(paused), paused)
            if self._is_page(paused):
                await self._answer_page(held, request, paused["request"]["url"])
            elif request is None:
                await self._refuse(held, "BlockedByClient")
            elif request.method == "OPTIONS":
                await self._fulfil(held, 204, _ANY_ORIGIN, b"")
            else:
                await self._answer(held, request)
        except CommandFailed:
            pass  # the page has gone on without it
        finally:
            self.in_flight -= 1

    def _read(self, paused: Message) -> SubRequest | None:
        """Return the request, ``None`` if it may not be sent."""
        asked, kind = paused["request"], paused.get("resourceType", "")
        headers = {name.lower(): value for name, value in asked.get("headers", {}).items()}
        purpose = _PURPOSES.get(kind)
        if kind in _DRAWN or headers.get("accept", "").startswith("image/"):
            purpose = Purpose.OTHER if self._draws and kind in _DRAWN else None
        if kind == "Preflight" or asked["method"] == "OPTIONS":
            purpose = Purpose.DATA
        if purpose is Purpose.DOCUMENT and not (self._frames or self._is_page(paused)):
            purpose = None  # a frame, or a window of its own
        allowed = purpose is not None and self.sent < MOST_REQUESTS
        allowed &= asked["method"] in (_METHODS | {"POST"} if self.filled else _METHODS)
        with suppress(Invalid):
            url = canonical(asked["url"])
            told = {name: value for name, value in headers.items() if _is_told(name)}
            foreign = purpose is Purpose.DATA and not _same_origin(url, self._url)
            if foreign or asked["method"] == "POST":
                told["origin"] = spelled_origin_of(self._url)  # which Lightpanda leaves out
            if allowed and purpose is not None:
                return SubRequest(
                    url=url,
                    purpose=purpose,
                    same_site=same_site(url, self._url),
                    method=asked["method"],
                    headers=told,
                    body=_body(asked),
                    filled=self.filled,
                )
        return None

    async def _with_cookies(self, request: SubRequest | None, paused: Message) -> SubRequest | None:
        """Return *request* with the cookies that scripts of the page have set."""
        has_some = any(name.lower() == "cookie" for name in paused["request"].get("headers", {}))
        if request is None or not has_some or not request.same_site:
            return request
        # not the header that is held: Lightpanda leaves out the values
        held = (await self._call("Network.getCookies", urls=[request.url]))["cookies"]
        own = [f"{one['name']}={one['value']}" for one in held]
        headers = {**request.headers, "cookie": "; ".join(own)} if own else request.headers
        return replace(request, headers=headers)

    def _is_page(self, paused: Message) -> bool:
        of_page = paused.get("frameId", self._frame) == self._frame
        return paused.get("resourceType") == "Document" and of_page

    async def _answer_page(self, held: str, request: SubRequest | None, url: str) -> None:
        """Answer a request for the page itself: the first with what is there already."""
        if self._document is not None:
            document, self._document = self._document, None
            await self._show(canonical(url), document)
            await self._fulfil(held, document.status, document.headers, document.body)
            return
        self._navigations += 1
        if self._navigations > MOST_NAVIGATIONS:
            times = counted(MOST_NAVIGATIONS, "time")
            detail = f"its scripts went to another page more than {times}, lastly to {url[:500]}"
            raise FetchFailed(ErrorKind.RENDER, detail)
        response = await self._elsewhere(request) if request is not None else None
        if request is None or response is None or response.status in _NO_CONTENT:
            self.stays = True
            await self._refuse(held, "Aborted")
            return
        target = _target(request.url, response)
        if target is None:
            _check_displayable(request.url, response)
            await self._fulfil(held, response.status, response.headers, response.body)
        else:  # by a request of its own, so that the page knows where it is
            await self._refuse(held, "Aborted")
            await self._call("Page.navigate", url=target)

    async def _elsewhere(self, request: SubRequest) -> Response | None:
        """Return the answer of another page of the origin; ``None``: the page stays."""
        if not (request.filled or _same_origin(request.url, self._url)):  # a login judges itself
            return None
        with suppress(FetchFailed):
            return await self._sent(request)
        return None

    async def _answer(self, held: str, request: SubRequest) -> None:
        """Answer a request of the page, wherever redirects lead."""
        try:
            for _ in range(_MOST_HOPS):
                response = await self._sent(request)
                target = _target(request.url, response)
                if target is None:
                    break
                request = _moved(request, response.status, target, self._url)
            else:
                await self._refuse(held, "Failed")
                return
        except FetchFailed:
            await self._refuse(held, "Failed")
            return
        if response.truncated or not _is_readable(request, response, self._url):
            await self._refuse(held, "Failed")
            return
        await self._fulfil(held, response.status, response.headers, response.body)

    async def _sent(self, request: SubRequest) -> Response:
        self.sent += 1
        self.submitted |= request.filled and (
            request.method == "POST" or request.purpose is Purpose.DOCUMENT
        )
        async with self._turn:
            response = await self._ask(request)
        if request.same_site:
            await self._show(request.url, response)
        return response

    async def _show(self, url: str, response: Response) -> None:
        """Give the browser the cookies of a response that scripts may see."""
        for cookie in self._shown(url, response) if self._shown is not None else ():
            with suppress(CommandFailed):
                await self._call("Network.setCookie", **kept(url, cookie))

    async def _fulfil(
        self, held: str, status: int, headers: Iterable[tuple[str, str]], body: bytes
    ) -> None:
        told = [
            {"name": name, "value": value}
            for name, value in headers
            if name.lower() not in _NOT_FOR_IT
        ]
        await self._call(
            "Fetch.fulfillRequest",
            requestId=held,
            responseCode=status,
            responseHeaders=told,
            body=b64encode(body).decode(),
        )

    async def _refuse(self, held: str, reason: str) -> None:
        await self._call("Fetch.failRequest", requestId=held, errorReason=reason)


def _is_told(name: str) -> bool:
    return name not in _NOT_OURS and not name.startswith(("sec-", "proxy-", ":"))


def _check_displayable(url: str, response: Response) -> None:
    """Raise `FetchFailed` if a browser would save the response instead of showing it.

    Chromium would never finish loading it, and Lightpanda shows an empty page.
    """
    kind = response.content_type
    saved = response.header("content-disposition").lower().startswith("attachment")
    if saved or (kind and not kind.startswith(_DISPLAYABLE)):
        detail = f"its scripts opened {url[:500]}, a download ({kind or 'of unknown type'})"
        raise FetchFailed(ErrorKind.RENDER, detail)


def _target(url: str, response: Response) -> str | None:
    """Return where a response leads, ``None`` if it is no redirect."""
    locations = response.all_headers("location")
    if response.status not in _REDIRECTS or len(locations) != 1:
        return None
    return Base(url).join(locations[0])


def _moved(request: SubRequest, status: int, target: str, page: str) -> SubRequest:
    """Return the request that follows a redirect; what scripts added goes to its origin alone."""
    same = _same_origin(target, request.url)
    repeats = request.method != "POST" or status in _AS_POST
    return replace(
        request,
        url=target,
        same_site=same_site(target, page) and request.same_site,
        method=request.method if repeats else "GET",
        headers={n: v for n, v in request.headers.items() if same or n != "authorization"},
        body=request.body if repeats else None,
    )


def _body(asked: Message) -> bytes | None:
    """Return what a held request posts."""
    if asked["method"] != "POST":
        return None
    entries = asked.get("postDataEntries")
    if entries is None:
        return str(asked.get("postData", "")).encode()
    return b"".join(b64decode(entry.get("bytes", "")) for entry in entries)


def _is_readable(request: SubRequest, response: Response, page: str) -> bool:
    """Return whether scripts of *page* may read *response*, by the CORS headers of another origin.

    Lightpanda does not look at those of an answer that it is given.
    """
    if request.purpose is not Purpose.DATA or _same_origin(request.url, page):
        return True
    allowed = response.header("access-control-allow-origin").strip()
    return allowed in {"*", spelled_origin_of(page)}


def _same_origin(url: str, other: str) -> bool:
    return spelled_origin_of(url) == spelled_origin_of(other)
