"""Pagination: signed cursors, each valid for one list and its filters."""

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
_PAGE_PARAMETERS = frozenset({"cursor", "limit", "fields", "expand", "count"})
"""Parameters of a list that are not filters."""

T = TypeVar("T")
S = TypeVar("S")

Position = Sequence[str | int]


class Cursors:
    """Signs and verifies cursors; *key* is a secret of the yard."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, filters: str, position: Position) -> str:
        """Return the cursor after *position* in the list that *filters* select."""
        payload = json.dumps(list(position), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(filters, payload) + payload).decode().rstrip("=")

    def read(self, filters: str, cursor: str) -> list[Any]:
        """Return the position in a cursor.

        Raises:
            Problem: the cursor is not of this server or of this list.
        """
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(filters, payload)):
            detail = "start the list again: its filters have changed, or the cursor is not valid"
            raise Problem("invalid_cursor", detail)
        position: list[Any] = json.loads(payload)
        return position

    def _mac(self, filters: str, payload: bytes) -> bytes:
        sealed = filters.encode("utf-8", "replace") + b"\0" + payload
        return hmac.new(self._key, sealed, hashlib.sha256).digest()[:_MAC_BYTES]


def position_of(request: Request, cursor: str) -> str:
    """Return the position in a cursor of the requested list.

    Raises:
        Problem: the cursor is not of this server or of this list.
    """
    return str(_cursors(request).read(_filters(request), cursor)[0])


def next_page(request: Request, position: str) -> tuple[str, str]:
    """Return the cursor of the page after *position*, and the Link header to it."""
    cursor = _cursors(request).write(_filters(request), [position])
    url = request.url.include_query_params(cursor=cursor)
    # it may have letters that headers do not allow
    path = quote(url.path, safe="/%:@!$&'()*+,;=~")
    return cursor, f'<{path}?{url.query}>; rel="next"'


def _cursors(request: Request) -> Cursors:
    cursors: Cursors = request.app.state.site.cursors
    return cursors


def _filters(request: Request) -> str:
    params = request.query_params.multi_items()
    filters = sorted((n, v) for n, v in params if n not in _PAGE_PARAMETERS)
    return request.url.path + json.dumps(filters)
