"""One URL into one response.

Redirects, retries, politeness and robots are not its business: it sends exactly one
request per call, to an address that the guard allows, and returns or says why not.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol, TypeAlias

from msgspec import Struct, field
from msgspec.structs import force_setattr

from crawlyard.clock import Clock
from crawlyard.engine.http.content_type import charset_of
from crawlyard.engine.http.guard import Guard

ACCEPT_ENCODING = "gzip, deflate, br, zstd"


class Response(Struct, frozen=True):
    """An answer as it came, decoded and capped."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes  # with its content codings undone
    wire_bytes: int  # of the body, before that
    truncated: str  # why the body is not whole; empty: it is
    elapsed_ms: int
    _by_name: dict[str, list[str]] = field(default_factory=dict)  # the headers again; made here

    def __post_init__(self) -> None:
        by_name: dict[str, list[str]] = {}  # asked seven times a page, mostly for what is not there
        for key, value in self.headers:
            by_name.setdefault(key.lower(), []).append(value)
        force_setattr(self, "_by_name", by_name)

    def header(self, name: str) -> str:
        """Return the first header of that name (in lower case), or an empty string."""
        values = self._by_name.get(name)
        return values[0] if values else ""

    def all_headers(self, name: str) -> list[str]:
        """Return every header of that name (in lower case), in order."""
        return self._by_name.get(name, [])

    @property
    def content_type(self) -> str:
        """Return the media type alone, in lower case; empty if there is none."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """Return the charset that the Content-Type names, if it names one."""
        return charset_of(self.header("content-type"))


Go: TypeAlias = Callable[[], Awaitable[None]]
"""Awaited when the connection is made, directly before the request is written to it."""


async def at_once() -> None:
    """Let a request be sent as soon as its connection is made."""


class Fetcher(Protocol):
    """Sends single requests."""

    async def fetch(
        self, url: str, headers: Mapping[str, str], max_body: int, go: Go = at_once
    ) -> Response:
        """Return the answer to one GET of a canonical *url*, sent when *go* returns.

        What *go* raises is raised here, and nothing is sent.

        Raises:
            FetchFailed: there was none, or none that can be used.
        """
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


MakeFetcher: TypeAlias = Callable[[Guard, timedelta, Clock], Fetcher]
"""Makes a fetcher for one job, from its guard and the time that one request may take.

Its connections are shared with no other, as guards differ, nor are its look-ups of names.
"""


class Metered(Struct, frozen=True):
    """A fetcher that tells of the size of each body that it brings."""

    fetcher: Fetcher
    spend: Callable[[int], None]

    async def fetch(
        self, url: str, headers: Mapping[str, str], max_body: int, go: Go = at_once
    ) -> Response:
        """Return the answer of the fetcher behind; see `Fetcher`."""
        response = await self.fetcher.fetch(url, headers, max_body, go)
        self.spend(response.wire_bytes)
        return response

    async def close(self) -> None:
        """Close the fetcher behind."""
        await self.fetcher.close()
