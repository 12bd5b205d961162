"""Scripts and styles that the pages of a job share: not asked for again while they are fresh.

Source: RFC 9111, sections 3 and 4.
"""

import re

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.engine.http.fetch import Response

MOST_BYTES = 32 * 1024 * 1024
"""Of all of them; for a new one, the oldest give way."""

UNTOLD_S = 60.0
"""How long one is fresh whose server does not say: long enough for pages that come together."""

_NEVER = re.compile(r"\b(?:no-store|no-cache|must-revalidate)\b")
_MAX_AGE = re.compile(r"\bmax-age\s*=\s*\"?(\d{1,9})")
_SAME_FOR_US = frozenset({"", "accept-encoding", "user-agent"})
"""What an answer may vary by: of one job, these are always the same."""


class _Kept(Struct, frozen=True):
    response: Response
    until: float


class SharedFiles:
    """Answers by URL, and by whether credentials went with the request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, bool], _Kept] = {}
        self._bytes = 0

    def get(self, url: str, *, trusted: bool) -> Response | None:
        """Return the answer of *url* if it is still fresh."""
        kept = self._kept.get((url, trusted))
        if kept is None or self._clock.monotonic() >= kept.until:
            return None
        return kept.response

    def put(self, url: str, response: Response, *, trusted: bool) -> None:
        """Keep an answer for as long as it is fresh."""
        fresh_s, size = _fresh_s(response), len(response.body)
        if fresh_s <= 0 or size > MOST_BYTES // 4:
            return
        self._drop((url, trusted))
        while self._bytes + size > MOST_BYTES:
            self._drop(next(iter(self._kept)))
        self._kept[url, trusted] = _Kept(response, self._clock.monotonic() + fresh_s)
        self._bytes += size

    def _drop(self, key: tuple[str, bool]) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= len(kept.response.body)


def _fresh_s(response: Response) -> float:
    """Return for how long an answer may be used again."""
    told = ",".join(response.all_headers("cache-control")).lower()
    varies = {word.strip().lower() for word in response.header("vary").split(",")}
    whole = response.status == 200 and not response.truncated
    if not whole or _NEVER.search(told) or not varies <= _SAME_FOR_US:
        return 0.0
    if (found := _MAX_AGE.search(told)) is None:
        return UNTOLD_S
    age = response.header("age")
    return float(found[1]) - (float(age[:9]) if age.isascii() and age.isdigit() else 0.0)
