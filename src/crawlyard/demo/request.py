"""Reading the head of one HTTP/1.1 request, strictly."""

import re
from collections.abc import Mapping

from msgspec import Struct

# RFC 9110, section 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Bytes above 0x7F stand: a site must see what a client makes of raw UTF-8 in a Location.
_TARGET = re.compile(r"(?:https?://[^/?#\s]+)?(/[^\x00-\x20\x7f]*)", re.IGNORECASE)
# Controls but the tab; latin-1 has some above 0x7F, which are obs-text and stand.
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


class BadRequest(Exception):
    """What came is no request that is answered; *status* says why."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Request(Struct, frozen=True):
    """The head of one request."""

    method: str
    path: str  # with its query; of an absolute URL, what follows the host
    host: str
    headers: Mapping[str, str]  # names in lower case, repeated ones joined by ", "
    keep_alive: bool  # whether another request may follow on the connection
    has_body: bool


def parse(head: bytes) -> Request:
    """Return the request whose head is *head*, the empty line at its end included.

    Raises:
        BadRequest: it breaks the grammar, or its HTTP version is not ours.
    Source: RFC 9112, sections 2 to 6.
    """
    line, *rest = head[:-4].decode("latin-1").split("\r\n")
    parts = line.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]):
        raise BadRequest(400, "the request line is malformed")
    method, target, version = parts
    if version not in {"HTTP/1.1", "HTTP/1.0"}:
        raise BadRequest(505 if version.startswith("HTTP/") else 400, "expected HTTP/1.1")
    found = _TARGET.fullmatch(target)
    if found is None:
        raise BadRequest(400, "the request target is malformed")
    headers = _fields(rest)
    host = headers.get("host", "")
    if version == "HTTP/1.1" and ("host" not in headers or ", " in host):
        raise BadRequest(400, "expected one Host header")
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    asked_to_close = "close" in headers.get("connection", "").lower()
    keep_alive = version == "HTTP/1.1" and not asked_to_close and not has_body
    return Request(method, found[1], host, headers, keep_alive, has_body)


def _fields(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadRequest(400, "a header line is malformed")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
