"""Middleware: request ids, the names of the server, size limits, security headers."""

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crawlyard.core.events.event import request_address
from crawlyard.ids import new_id
from crawlyard.web import problems
from crawlyard.web.auth import address_of
from crawlyard.web.forwarded import with_client
from crawlyard.web.site import MAX_HEAD_BYTES, Site, SiteOptions

_FILES = re.compile(r"/api/v\d+/templates/(import|validate)")
"""Paths that accept whole files, as text in JSON."""

_VERSIONS = frozenset({"1.0", "1.1", "2", "3"})

_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_CLOSE = {"Connection": "close"}  # the end of its body is uncertain, so the next request is too
_DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"


_SLASH = re.compile(rb"%(2f|25)", re.IGNORECASE)
_ENCODED_SLASHES = (
    "crawlyard.encoded_slashes"  # of a request whose path still has its encoded slashes
)


class _TooLarge(Exception):
    """The body has more bytes than allowed."""


class Gate:
    """Adds request ids and response headers; refuses unknown hosts and large bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        scope = keep_encoded_slashes(scope)
        site: Site = scope["app"].state.site
        headers = Headers(scope=scope)
        options = site.options
        if options.trusted_proxies or options.public_url:
            scope = with_client(scope, headers, options.trusted_proxies, options.public_url)
        client_id = headers.get("x-request-id", "")
        scope.setdefault("state", {})["request_id"] = (
            client_id if _SAFE_ID.fullmatch(client_id) else f"req_{new_id()}"
        )
        request = Request(opening_scope(scope), receive)
        request_address.set(address_of(request))
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] in _STARTS:
                begun = True
                _add_headers(request, MutableHeaders(scope=message))
            await send(message)

        if (refusal := _refusal(scope, headers, site)) is not None:
            code, detail = refusal
            closing = _CLOSE if code == "malformed" else None
            await problems.answer(request, code, detail, headers=closing)(
                scope, receive, send_with_headers
            )
            return
        most = _body_limit(scope["path"], options)
        try:
            _check_length(headers, most)
            await self._app(scope, _limit_body(receive, most), send_with_headers)
        except ClientDisconnect:
            return  # disconnected within its body: there is no client to answer
        except _TooLarge:
            if begun:
                raise
            detail = f"expected at most {most:,} bytes"
            await problems.answer(request, "payload_too_large", detail)(
                scope, receive, send_with_headers
            )


def opening_scope(scope: Scope) -> Scope:
    """Return the scope of the request that opens a WebSocket; of a request, its own."""
    return scope if scope["type"] == "http" else {**scope, "type": "http", "method": "GET"}


def _refusal(scope: Scope, headers: Headers, site: Site) -> tuple[str, str] | None:
    """Return the problem of a request that no route should see; ``None`` if there is none."""
    url = (scope.get("raw_path") or b"") + scope.get("query_string", b"")
    size = len(url) + sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size > MAX_HEAD_BYTES:
        detail = f"expected a URL and headers of at most {MAX_HEAD_BYTES:,} bytes"
        return "head_too_large", detail
    if (version := scope.get("http_version", "1.1")) not in _VERSIONS:
        return "malformed", f"HTTP/{version[:10]} is not version here"
    if "transfer-encoding" in headers and "content-length" in headers:
        return "malformed", "expected Transfer-Encoding or Content-Length, not both"
    host = headers.get("host", "")
    if not _is_known(host, site):
        return "misdirected", f"{host!r} is not a name of this server"
    if b"%00" in url:
        return "malformed", "expected a URL without NUL (%00)"  # Postgres cannot store it in text
    return None


def _is_known(host: str, site: Site) -> bool:
    """Return whether a Host header names this server: other pages may rebind their own names.

    Source: "DNS rebinding", Jackson et al., 2007.
    """
    if site.options.any_host:
        return True
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name.lower() in {allowed_host.strip("[]").lower() for allowed_host in site.options.hosts}


def _body_limit(path: str, options: SiteOptions) -> int:
    return options.max_file_bytes if _FILES.fullmatch(path) else options.max_body_bytes


def _check_length(headers: Headers, most: int) -> None:
    length = headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > most:
        raise _TooLarge


def _limit_body(receive: Receive, most: int) -> Receive:
    """Wrap *receive* to fail after more than *most* bytes of a body."""
    received = 0

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise _TooLarge
        return message

    return receive_counted


def _add_headers(request: Request, headers: MutableHeaders) -> None:
    headers["X-Request-Id"] = request.state.request_id
    for name, value in _SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", _DEFAULT_POLICY)
    headers.setdefault("Cache-Control", "no-store")
    for name, value in getattr(request.state, "rate_headers", {}).items():
        headers.setdefault(name, value)


# --- paths with encoded slashes: ``OWNER%2FNAME``


def keep_encoded_slashes(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return *scope* with a path in which encoded slashes don't separate segments.

    Source: RFC 3986, section 2.2: ``%2F`` is data, ``/`` separates segments.
    """
    raw: bytes = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return scope
    path = unquote(_SLASH.sub(rb"%25\1", raw).decode("ascii", "replace"))
    return {**scope, "path": path, _ENCODED_SLASHES: True}


def has_encoded_slashes(request: Request) -> bool:
    """Return whether the path of a request still has encoded slashes."""
    return bool(request.scope.get(_ENCODED_SLASHES))
