"""Lists in pages: cursors that only this server can make, and that hold for one filter."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import Request

from crawlyard.web.problems import Problem

MOST = 200
DEFAULT = 50
_MAC_BYTES = 12
_OF_THE_PAGE = frozenset({"cursor", "limit", "fields", "expand", "count"})
"""What a list is asked besides its filter."""

T = TypeVar("T")
S = TypeVar("S")

Position = Sequence[str | int]


class Cursors:
    """Writes and reads cursors; *key* is the yard's own secret."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, filters: str, position: Position) -> str:
        """Return the cursor of what follows *position* in the list that *filters* make."""
        told = json.dumps(list(position), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(filters, told) + told).decode().rstrip("=")

    def read(self, filters: str, cursor: str) -> list[Any]:
        """Return the position in a cursor.

        Raises:
            Problem: it was not made by this server, or for another list.
        """
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        mac, told = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(filters, told)):
            detail = "begin the list anew: its filter has changed, or the cursor is no cursor"
            raise Problem("invalid_cursor", detail)
        position: list[Any] = json.loads(told)
        return position

    def _mac(self, filters: str, told: bytes) -> bytes:
        sealed = filters.encode("utf-8", "replace") + b"\0" + told
        return hmac.new(self._key, sealed, hashlib.sha256).digest()[:_MAC_BYTES]


def position_of(request: Request, cursor: str) -> str:
    """Return the position in a cursor of the list that is asked for.

    Raises:
        Problem: it was not made by this server, or for another list.
    """
    return str(_cursors(request).read(_filters(request), cursor)[0])


def next_page(request: Request, position: str) -> tuple[str, str]:
    """Return the cursor of the page behind *position*, and the header that links to it."""
    cursor = _cursors(request).write(_filters(request), [position])
    url = request.url.include_query_params(cursor=cursor)
    # a name in it may have letters that no header has
    path = quote(url.path, safe="/%:@!$&'()*+,;=~")
    return cursor, f'<{path}?{url.query}>; rel="next"'


def _cursors(request: Request) -> Cursors:
    cursors: Cursors = request.app.state.site.cursors
    return cursors


def _filters(request: Request) -> str:
    asked = request.query_params.multi_items()
    kept = sorted((n, v) for n, v in asked if n not in _OF_THE_PAGE)
    return request.url.path + json.dumps(kept)
