"""Interception: sends each request of a page through the fetcher of its job, or blocks it."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias

from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.quantity import count_noun
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render.base import Purpose, SendSubRequest, SubRequest
from crawlyard.engine.render.cdp import CommandFailed, Message
from crawlyard.engine.render.filling import ScriptCookies, cookie_params
from crawlyard.engine.scope import same_site
from crawlyard.engine.urls import Base, canonical, spelled_origin_of
from crawlyard.errors import Invalid

MOST_REQUESTS = 500
"""Requests per page. The largest sites make 300, half of which are images."""

MOST_NAVIGATIONS = 5
"""Navigations of a page: a consent page and a client-side redirect need two."""

_AT_ONCE = 6  # like a browser's connections to a host
_MOST_HOPS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AS_POST = frozenset({307, 308})  # redirects that repeat the request with its body
_NO_CONTENT = frozenset({204, 205})  # a browser stays on its page
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
"""Purposes by CDP's resource type; other types are blocked."""

_DRAWN = frozenset({"Image", "Font"})  # loaded only for a screenshot

_JOB_HEADERS = frozenset(
    {
        *("host", "connection", "cookie", "user-agent", "accept-encoding", "accept-language"),
        *("content-length", "upgrade-insecure-requests", "cache-control", "pragma"),
        *("if-none-match", "if-modified-since", "range", "dnt", "from"),
    }
)
"""Request headers that the job sets itself, or that depend on a browser's cache."""

_DROPPED_HEADERS = frozenset(
    {
        *("content-encoding", "content-length", "transfer-encoding", "connection"),
        *("content-disposition", "strict-transport-security", "alt-svc", "clear-site-data"),
        *("report-to", "reporting-endpoints", "nel", "refresh", "set-cookie"),
    }
)
"""Response headers that are already applied, or useless for a page that is rendered once. A Refresh
is a link of the page, which the crawl follows; the job keeps the cookies of a site."""

_ANY_ORIGIN = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Allow-Methods", "GET, HEAD"),
)

Call: TypeAlias = Callable[..., Awaitable[Message]]
"""Sends a command to the browser, for this page."""


class Interception:
    """Requests of one page, whose *document* was fetched already."""

    def __init__(
        self,
        url: str,
        document: Response,
        send: SendSubRequest,
        call: Call,
        *,
        draws: bool,
        frames: bool,
        frame: str,
        script_cookies: ScriptCookies | None = None,
    ) -> None:
        self._url = url
        self._document: Response | None = document
        self._send_request = send
        self._call = call
        self._draws = draws  # load images and fonts
        self._frames = frames
        self._frame = frame
        # for a login, whose scripts may send cookies in a header
        self._script_cookies = script_cookies
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._navigations = 0
        self.stays = False  # a navigation was blocked; Lightpanda sends no load event then
        self.in_flight = 0
        self.sent = 0
        self.filled = False  # from now on, the page has the values filled into its form
        self.submitted = False

    async def handle(self, paused: Message) -> None:
        """Answer one paused request.

        Raises:
            FetchFailed: the page navigates endlessly.
        """
        request_id = paused["requestId"]
        self.in_flight += 1
        try:
            request = await self._with_cookies(self._read(paused), paused)
            if self._is_page(paused):
                await self._answer_page(request_id, request, paused["request"]["url"])
            elif request is None:
                await self._refuse(request_id, "BlockedByClient")
            elif request.method == "OPTIONS":
                await self._fulfil(request_id, 204, _ANY_ORIGIN, b"")
            else:
                await self._answer(request_id, request)
        except CommandFailed:
            pass  # the page no longer waits for it
        finally:
            self.in_flight -= 1

    def _read(self, paused: Message) -> SubRequest | None:
        """Return the request, ``None`` if it may not be sent."""
        intercepted, kind = paused["request"], paused.get("resourceType", "")
        headers = {name.lower(): value for name, value in intercepted.get("headers", {}).items()}
        purpose = _PURPOSES.get(kind)
        if kind in _DRAWN or headers.get("accept", "").startswith("image/"):
            purpose = Purpose.OTHER if self._draws and kind in _DRAWN else None
        if kind == "Preflight" or intercepted["method"] == "OPTIONS":
            purpose = Purpose.DATA
        if purpose is Purpose.DOCUMENT and not (self._frames or self._is_page(paused)):
            purpose = None  # a frame, or a window of its own
        allowed = purpose is not None and self.sent < MOST_REQUESTS
        allowed &= intercepted["method"] in (_METHODS | {"POST"} if self.filled else _METHODS)
        with suppress(Invalid):
            url = canonical(intercepted["url"])
            own_headers = {name: value for name, value in headers.items() if _is_own_header(name)}
            foreign = purpose is Purpose.DATA and not _same_origin(url, self._url)
            if foreign or intercepted["method"] == "POST":
                own_headers["origin"] = spelled_origin_of(self._url)  # which Lightpanda leaves out
            if allowed and purpose is not None:
                return SubRequest(
                    url=url,
                    purpose=purpose,
                    same_site=same_site(url, self._url),
                    method=intercepted["method"],
                    headers=own_headers,
                    body=_body(intercepted),
                    filled=self.filled,
                )
        return None

    async def _with_cookies(self, request: SubRequest | None, paused: Message) -> SubRequest | None:
        """Return *request* with the cookies that scripts of the page have set."""
        has_some = any(name.lower() == "cookie" for name in paused["request"].get("headers", {}))
        if request is None or not has_some or not request.same_site:
            return request
        # not from the paused request's header: Lightpanda leaves out the values
        cookies = (await self._call("Network.getCookies", urls=[request.url]))["cookies"]
        own = [f"{cookie['name']}={cookie['value']}" for cookie in cookies]
        headers = {**request.headers, "cookie": "; ".join(own)} if own else request.headers
        return replace(request, headers=headers)

    def _is_page(self, paused: Message) -> bool:
        of_page = paused.get("frameId", self._frame) == self._frame
        return paused.get("resourceType") == "Document" and of_page

    async def _answer_page(self, request_id: str, request: SubRequest | None, url: str) -> None:
        """Answer a request for the page itself; the first one with the fetched document."""
        if self._document is not None:
            document, self._document = self._document, None
            await self._set_cookies(canonical(url), document)
            await self._fulfil(request_id, document.status, document.headers, document.body)
            return
        self._navigations += 1
        if self._navigations > MOST_NAVIGATIONS:
            times = count_noun(MOST_NAVIGATIONS, "time")
            detail = f"its scripts navigated more than {times}, lastly to {url[:500]}"
            raise FetchFailed(ErrorKind.RENDER, detail)
        response = await self._fetch_navigation(request) if request is not None else None
        if request is None or response is None or response.status in _NO_CONTENT:
            self.stays = True
            await self._refuse(request_id, "Aborted")
            return
        target = _target(request.url, response)
        if target is None:
            _check_displayable(request.url, response)
            await self._fulfil(request_id, response.status, response.headers, response.body)
        else:  # by another navigation, so that the page has the right URL
            await self._refuse(request_id, "Aborted")
            await self._call("Page.navigate", url=target)

    async def _fetch_navigation(self, request: SubRequest) -> Response | None:
        """Return the response of another page of the origin; ``None`` keeps the current page."""
        # a login checks origins itself
        if not (request.filled or _same_origin(request.url, self._url)):
            return None
        with suppress(FetchFailed):
            return await self._send(request)
        return None

    async def _answer(self, request_id: str, request: SubRequest) -> None:
        """Answer a request of the page, following redirects."""
        try:
            for _ in range(_MOST_HOPS):
                response = await self._send(request)
                target = _target(request.url, response)
                if target is None:
                    break
                request = _follow_redirect(request, response.status, target, self._url)
            else:
                await self._refuse(request_id, "Failed")
                return
        except FetchFailed:
            await self._refuse(request_id, "Failed")
            return
        if response.truncated or not _is_readable(request, response, self._url):
            await self._refuse(request_id, "Failed")
            return
        await self._fulfil(request_id, response.status, response.headers, response.body)

    async def _send(self, request: SubRequest) -> Response:
        self.sent += 1
        self.submitted |= request.filled and (
            request.method == "POST" or request.purpose is Purpose.DOCUMENT
        )
        async with self._slots:
            response = await self._send_request(request)
        if request.same_site:
            await self._set_cookies(request.url, response)
        return response

    async def _set_cookies(self, url: str, response: Response) -> None:
        """Set the cookies of a response in the browser that scripts may read."""
        for cookie in (
            self._script_cookies(url, response) if self._script_cookies is not None else ()
        ):
            with suppress(CommandFailed):
                await self._call("Network.setCookie", **cookie_params(url, cookie))

    async def _fulfil(
        self, request_id: str, status: int, headers: Iterable[tuple[str, str]], body: bytes
    ) -> None:
        header_entries = [
            {"name": name, "value": value}
            for name, value in headers
            if name.lower() not in _DROPPED_HEADERS
        ]
        await self._call(
            "Fetch.fulfillRequest",
            requestId=request_id,
            responseCode=status,
            responseHeaders=header_entries,
            body=b64encode(body).decode(),
        )

    async def _refuse(self, request_id: str, reason: str) -> None:
        await self._call("Fetch.failRequest", requestId=request_id, errorReason=reason)


def _is_own_header(name: str) -> bool:
    return name not in _JOB_HEADERS and not name.startswith(("sec-", "proxy-", ":"))


def _check_displayable(url: str, response: Response) -> None:
    """Raise `FetchFailed` if a browser would save the response instead of showing it.

    Chromium would never finish loading it, and Lightpanda shows an empty page.
    """
    kind = response.content_type
    is_attachment = response.header("content-disposition").lower().startswith("attachment")
    if is_attachment or (kind and not kind.startswith(_DISPLAYABLE)):
        detail = f"its scripts opened {url[:500]}, a download ({kind or 'of unknown type'})"
        raise FetchFailed(ErrorKind.RENDER, detail)


def _target(url: str, response: Response) -> str | None:
    """Return the target of a redirect, ``None`` for any other response."""
    locations = response.all_headers("location")
    if response.status not in _REDIRECTS or len(locations) != 1:
        return None
    return Base(url).join(locations[0])


def _follow_redirect(request: SubRequest, status: int, target: str, page: str) -> SubRequest:
    """Return the request that follows a redirect; Authorization goes to the same origin only."""
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


def _body(intercepted: Message) -> bytes | None:
    """Return the body of a paused POST, ``None`` for other methods."""
    if intercepted["method"] != "POST":
        return None
    entries = intercepted.get("postDataEntries")
    if entries is None:
        return str(intercepted.get("postData", "")).encode()
    return b"".join(b64decode(entry.get("bytes", "")) for entry in entries)


def _is_readable(request: SubRequest, response: Response, page: str) -> bool:
    """Return whether scripts of *page* may read *response*, by the CORS headers of another origin.

    Lightpanda does not check those of an intercepted response.
    """
    if request.purpose is not Purpose.DATA or _same_origin(request.url, page):
        return True
    allowed = response.header("access-control-allow-origin").strip()
    return allowed in {"*", spelled_origin_of(page)}


def _same_origin(url: str, other: str) -> bool:
    return spelled_origin_of(url) == spelled_origin_of(other)
