# made of asynchronous/pages.py by `python -m tests.sync_client`; a test compares it
"""Pages over all jobs: found, searched, exported."""

from collections.abc import Generator
from typing import Unpack

from crawlyard.client.filters import PageFilters
from crawlyard.client.synchronous.calls import Calls
from crawlyard.core.answers.fleet.archive import FoundPageOut, FoundPagesOut

_PAGES = "pages"


class Pages:
    """Finds pages of all jobs that may be seen, the last that was stored first.

    *q* has words that are in URL, title or text, all of them; "…" keeps several together.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self, q: str = "", *, limit: int | None = None, **where: Unpack[PageFilters]
    ) -> Generator[FoundPageOut]:
        """Yield pages, from as many requests as it takes to find *limit*, or all."""
        return self._calls.every(FoundPageOut, _PAGES, {**where, "q": q or None}, limit)

    def search(
        self,
        q: str = "",
        *,
        cursor: str | None = None,
        limit: int = 50,
        **where: Unpack[PageFilters],
    ) -> FoundPagesOut:
        """Return what one request finds within its bounds, and how far it has looked."""
        asked = {**where, "q": q or None, "cursor": cursor, "limit": limit}
        return self._calls.one(FoundPagesOut, "GET", _PAGES, params=asked)

    def export(
        self,
        q: str = "",
        *,
        format: str = "jsonl",  # noqa: A002 - the name of the parameter
        text: bool = False,
        **where: Unpack[PageFilters],
    ) -> Generator[bytes]:
        """Yield all pages as JSON Lines or CSV, in pieces that end anywhere.

        Raises:
            Unavailable: it broke off; what was yielded is not all.
        """
        asked = {**where, "q": q or None, "format": format, "text": text}
        with self._calls.stream(f"{_PAGES}/export", params=asked) as answer:
            for chunk in answer.iter_bytes():
                yield chunk
