"""Lists in pages: cursors that only this server can make, and that hold for one filter."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Depends, Query, Request, Response
from msgspec import Struct

from crawlyard.core.answers.lists import ListOut
from crawlyard.web.errors.problems import Problem

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


class Paging(Struct, frozen=True):
    """What a request for a list says of the page that it wants."""

    request: Request
    response: Response
    limit: int
    cursor: str | None

    @property
    def position(self) -> list[Any]:
        """Return behind what the page begins; empty: at the beginning."""
        if self.cursor is None:
            return []
        return self._cursors.read(self._filters, self.cursor)

    @property
    def more(self) -> int:
        """Return how many to look for: one more than the page holds tells whether more come."""
        return self.limit + 1

    def page(
        self,
        found: Sequence[S],
        shape: Callable[[S], T],
        position: Callable[[S], Position],
        total: int | None = None,
    ) -> ListOut[T]:
        """Return the page of what was found with `more` as its limit."""
        shown = found[: self.limit]
        cursor = self.following(position(shown[-1])) if len(found) > self.limit else None
        items = [shape(one) for one in shown]
        return ListOut(items=items, next_cursor=cursor, has_more=cursor is not None, total=total)

    def following(self, position: Position) -> str:
        """Return the cursor of the page behind *position*, and name that page in a header."""
        cursor = self._cursors.write(self._filters, position)
        url = self.request.url.include_query_params(cursor=cursor)
        # a name in it may have letters that no header has
        path = quote(url.path, safe="/%:@!$&'()*+,;=~")
        self.response.headers["Link"] = f'<{path}?{url.query}>; rel="next"'
        return cursor

    @property
    def _cursors(self) -> Cursors:
        cursors: Cursors = self.request.app.state.site.cursors
        return cursors

    @property
    def _filters(self) -> str:
        asked = self.request.query_params.multi_items()
        kept = sorted((n, v) for n, v in asked if n not in _OF_THE_PAGE)
        return self.request.url.path + json.dumps(kept)


def _paging(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Items of a page.")] = DEFAULT,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="`next_cursor` of the page before.")
    ] = None,
) -> Paging:
    return Paging(request, response, limit, cursor)


def position_of(request: Request, cursor: str) -> str:
    """Return the position in a cursor of the list that is asked for.

    Raises:
        Problem: it was not made by this server, or for another list.
    """
    return str(Paging(request, Response(), DEFAULT, cursor).position[0])


def next_page(request: Request, position: str) -> tuple[str, str]:
    """Return the cursor of the page behind *position*, and the header that links to it."""
    headers = Response()
    cursor = Paging(request, headers, DEFAULT, None).following([position])
    return cursor, headers.headers["Link"]


Pages = Annotated[Paging, Depends(_paging)]


def whole(items: Sequence[T]) -> ListOut[T]:
    """Return a list that has all there is."""
    return ListOut(items=list(items), next_cursor=None, has_more=False, total=None)
