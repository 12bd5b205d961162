"""Fetcher interface, response record, and errors of a request.

A fetcher sends exactly one request per call, to an address that the guard allows, and returns
the response or raises. It does not handle redirects, retries, politeness or robots.txt.
"""

import os
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from errno import errorcode
from typing import Protocol, TypeAlias

from msgspec import Struct, field
from msgspec.structs import force_setattr

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.proxy import Proxies

ACCEPT_ENCODING = "gzip, deflate, br, zstd"


class FetchFailed(Exception):
    """There was no usable response; *transient* says whether a retry may get one."""

    def __init__(self, kind: ErrorKind, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.transient = transient


class NotSent(Exception):
    """A request was not sent because its host, or every proxy, isn't ready; it is sent later."""


class NotContacted(Exception):
    """The receiver was not contacted, for reasons on our side; don't count it as its failure."""


def plain(error: BaseException) -> str:
    """Return the message of an error in one line of at most 200 characters.

    An error of the operating system is in its words, "Connection refused", without the addresses
    and numbers that asyncio and aiohappyeyeballs put there.
    """
    return " ".join(_message(error).split())[:200] or type(error).__name__


def _message(error: BaseException) -> str:
    text = str(error)
    if not isinstance(error, OSError):
        return text
    if isinstance(error, ssl.SSLError):  # its number is one of OpenSSL
        return error.strerror or text
    # if addresses failed in different ways: "Multiple exceptions: [Errno 111] …, [Errno 101] …"
    numbers = [error.errno] if error.errno else map(int, _ERRNO.findall(text))
    words = dict.fromkeys(os.strerror(number) for number in numbers if number in errorcode)
    return ", ".join(words) or error.strerror or text


_ERRNO = re.compile(r"\[Errno (\d+)\]")


class Response(Struct, frozen=True):
    """Response, decoded and capped."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes  # with its content codings decoded
    wire_bytes: int  # size of the body before decoding
    truncated: str  # why the body is incomplete; empty: it is complete
    elapsed_ms: int
    cookies: str = ""  # the Cookie header of the request, if it came from the jar
    content_type: str = ""  # of its header, without parameters and in lower case
    _by_name: dict[str, list[str]] = field(default_factory=dict)  # index of the headers

    def __post_init__(self) -> None:
        by_name: dict[str, list[str]] = {}  # 5 look-ups a page, mostly misses
        for key, value in self.headers:
            by_name.setdefault(key.lower(), []).append(value)
        force_setattr(self, "_by_name", by_name)
        kind = self.header("content-type").partition(";")[0].strip().lower()
        force_setattr(self, "content_type", kind)

    def header(self, name: str) -> str:
        """Return the first header named *name* (in lower case), or an empty string."""
        values = self._by_name.get(name)
        return values[0] if values else ""

    def all_headers(self, name: str) -> list[str]:
        """Return all headers named *name* (in lower case), in order."""
        return self._by_name.get(name, [])

    @property
    def charset(self) -> str | None:
        """The charset of the Content-Type, ``None`` if it names none."""
        return charset_of(self.header("content-type"))


def charset_of(content_type: str) -> str | None:
    """Return the charset of a Content-Type, ``None`` if it names none."""
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None


def retry_after_s(value: str, now: datetime) -> float | None:
    """Return the delay in seconds that a Retry-After asks for, ``None`` if it cannot be parsed.

    Source: RFC 9110, section 10.2.3.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # for example a year of twenty digits
        return None
    if at.tzinfo is None:  # "-0000": UTC, without a known time zone
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def is_refusal(response: Response) -> bool:
    """Return whether the response asks for a pause of all requests to its host."""
    return response.status == 429 or (
        response.status == 503 and bool(response.header("retry-after"))
    )


BeforeSend: TypeAlias = Callable[[], Awaitable[None]]
"""Awaited when the connection is open, directly before the request is written."""


async def at_once() -> None:
    """Send a request as soon as its connection is open."""


class Fetcher(Protocol):
    """Sends single requests."""

    async def fetch(
        self,
        url: str,
        headers: Mapping[str, str],
        max_body: int,
        before_send: BeforeSend = at_once,
        *,
        head: bool = False,
        body: bytes | None = None,
    ) -> Response:
        """Send one GET (or HEAD) for a canonical *url*; return the response.

        With a *body* it is a POST. It is sent when *before_send* returns; an exception of that is
        propagated, and nothing is sent.

        Raises:
            NotSent: no proxy is usable now.
            FetchFailed: there was no response, or no usable one.
        """
        ...

    async def close(self) -> None:
        """Close all connections, idle and in use."""
        ...


class MakeFetcher(Protocol):
    """Creates a fetcher for one job; *timeout* applies to each request.

    Fetchers share neither connections nor DNS look-ups, because their guards differ. With
    *proxies*, a fetcher sends nothing directly.
    """

    def __call__(
        self, guard: Guard, timeout: timedelta, clock: Clock, *, proxies: Proxies | None = None
    ) -> Fetcher:
        """Return the fetcher, which its caller closes."""
        ...
