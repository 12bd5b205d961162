"""Cache of the scripts and style sheets that the pages of a job share.

Source: RFC 9111, sections 3 and 4.
"""

import re

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.engine.http.fetch import Response

MAX_BYTES = 32 * 1024 * 1024
"""Size of the cache; the oldest entries are dropped for a new one."""

DEFAULT_FRESH_S = 60.0
"""Freshness of a response without `max-age`; enough for pages that are fetched together."""

_NOT_REUSABLE = re.compile(r"\b(?:no-store|no-cache|must-revalidate)\b")
_MAX_AGE = re.compile(r"\bmax-age\s*=\s*\"?(\d{1,9})")
_CONSTANT_VARY = frozenset({"", "accept-encoding", "user-agent"})
"""Values of `Vary` that are the same for all requests of a job."""


class _Entry(Struct, frozen=True):
    response: Response
    fresh_until: float


class SharedFiles:
    """Cache of responses, by URL and by whether the request was sent with credentials."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, bool], _Entry] = {}
        self._bytes = 0

    def get(self, url: str, *, with_credentials: bool) -> Response | None:
        """Return the cached response of *url* if it is still fresh."""
        entry = self._entries.get((url, with_credentials))
        if entry is None or self._clock.monotonic() >= entry.fresh_until:
            return None
        return entry.response

    def add(self, url: str, response: Response, *, with_credentials: bool) -> None:
        """Cache a response for as long as it is fresh."""
        fresh_s, size = _freshness_s(response), len(response.body)
        if fresh_s <= 0 or size > MAX_BYTES // 4:
            return
        self._drop((url, with_credentials))
        while self._bytes + size > MAX_BYTES:
            self._drop(next(iter(self._entries)))
        self._entries[url, with_credentials] = _Entry(response, self._clock.monotonic() + fresh_s)
        self._bytes += size

    def _drop(self, key: tuple[str, bool]) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._bytes -= len(entry.response.body)


def _freshness_s(response: Response) -> float:
    """Return the seconds for which a response may be reused."""
    directives = ",".join(response.all_headers("cache-control")).lower()
    vary = {word.strip().lower() for word in response.header("vary").split(",")}
    is_complete = response.status == 200 and not response.truncated
    if not is_complete or _NOT_REUSABLE.search(directives) or not vary <= _CONSTANT_VARY:
        return 0.0
    if (max_age := _MAX_AGE.search(directives)) is None:
        return DEFAULT_FRESH_S
    age = response.header("age")
    return float(max_age[1]) - (float(age[:9]) if age.isascii() and age.isdigit() else 0.0)
