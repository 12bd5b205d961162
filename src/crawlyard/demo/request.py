"""Strict parser of HTTP/1.1 request heads."""

import re
from collections.abc import Mapping

from msgspec import Struct

# RFC 9110, section 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Bytes above 0x7F are allowed: they show how a client requests a Location with raw UTF-8.
_TARGET = re.compile(r"(?:https?://[^/?#\s]+)?(/[^\x00-\x20\x7f]*)", re.IGNORECASE)
# No control characters except tab; those above 0x7F in latin-1 are obs-text, which is allowed.
_FIELD_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


class BadRequest(Exception):
    """The request cannot be answered; *status* is the HTTP status to reply with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpRequest(Struct, frozen=True):
    """Head of a request that a site server received."""

    method: str
    path: str  # with its query; for an absolute URL, the part after the host
    host: str
    headers: Mapping[str, str]  # names in lower case, repeated ones joined by ", "
    keep_alive: bool  # another request may follow on the connection
    has_body: bool
    body: bytes = b""  # empty unless the site reads bodies


def parse(head: bytes) -> HttpRequest:
    """Parse *head*, the head of a request including the empty line at its end.

    Raises:
        BadRequest: the head is malformed, or its HTTP version is not supported.
    Source: RFC 9112, sections 2 to 6.
    """
    request_line, *header_lines = head[:-4].decode("latin-1").split("\r\n")
    parts = request_line.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]):
        raise BadRequest(400, "the request line is malformed")
    method, target, version = parts
    if version not in {"HTTP/1.1", "HTTP/1.0"}:
        raise BadRequest(505 if version.startswith("HTTP/") else 400, "expected HTTP/1.1")
    match = _TARGET.fullmatch(target)
    if match is None:
        raise BadRequest(400, "the request target is malformed")
    headers = _parse_headers(header_lines)
    host = headers.get("host", "")
    if version == "HTTP/1.1" and ("host" not in headers or ", " in host):
        raise BadRequest(400, "expected one Host header")
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    closes = "close" in headers.get("connection", "").lower()
    keep_alive = version == "HTTP/1.1" and not closes and not has_body
    return HttpRequest(method, match[1], host, headers, keep_alive, has_body)


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise BadRequest(400, "a header line is malformed")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
