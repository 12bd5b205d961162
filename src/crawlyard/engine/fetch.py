"""One URL into one response.

Redirects, retries, politeness and robots are not its business: it sends exactly one
request per call, to an address that the guard allows, and returns or says why not.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import aiohttp

from crawlyard.clock import Clock
from crawlyard.core.page import ErrorKind
from crawlyard.engine.decode import DecodeError, Decoder
from crawlyard.engine.dial import asked, guarded_session
from crawlyard.engine.failing import FetchFailed
from crawlyard.engine.guard import BlockedAddress, Guard
from crawlyard.engine.media import charset_of
from crawlyard.engine.names import Names

ACCEPT_ENCODING = "gzip, deflate, br, zstd"

_NAMES = 512  # looked up at once for one job, those included that nobody waits for any more


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it came, decoded and capped."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes  # with its content codings undone
    wire_bytes: int  # of the body, before that
    truncated: str  # why the body is not whole; empty: it is
    elapsed_ms: int

    def header(self, name: str) -> str:
        """Return the first header of that name (in lower case), or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def all_headers(self, name: str) -> list[str]:
        """Return every header of that name (in lower case), in order."""
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def content_type(self) -> str:
        """Return the media type alone, in lower case; empty if there is none."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """Return the charset that the Content-Type names, if it names one."""
        return charset_of(self.header("content-type"))


class Fetcher(Protocol):
    """Sends single requests."""

    async def fetch(
        self, url: str, host: str, headers: Mapping[str, str], max_body: int
    ) -> Response:
        """Return the answer to one GET of *url*.

        Raises:
            FetchFailed: there was none, or none that can be used.
        """
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


class AiohttpFetcher:
    """A fetcher for one job: its connections are shared with no other, as guards differ.

    Nor are its look-ups of names: those of others do not wait for slow ones.
    """

    def __init__(self, guard: Guard, timeout: timedelta, clock: Clock) -> None:
        self._clock = clock
        total = timeout.total_seconds()
        self._timeout_s = total
        self._session = guarded_session(guard, total, Names(_NAMES), keeps_alive=True)

    async def fetch(
        self, url: str, host: str, headers: Mapping[str, str], max_body: int
    ) -> Response:
        """Return the answer to one GET of *url*; see `Fetcher`."""
        started = self._clock.monotonic()
        try:
            async with self._session.get(
                asked(url, host), headers=headers, allow_redirects=False
            ) as response:
                body, wire_bytes, truncated = await _read(response, max_body)
                return Response(
                    status=response.status,
                    headers=tuple(response.headers.items()),
                    body=body,
                    wire_bytes=wire_bytes,
                    truncated=truncated,
                    elapsed_ms=round((self._clock.monotonic() - started) * 1000),
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, DecodeError) as error:
            raise failure_of(error, self._timeout_s) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


@dataclass(frozen=True, slots=True)
class Metered:
    """A fetcher that tells of the size of each body that it brings."""

    fetcher: Fetcher
    spend: Callable[[int], None]

    async def fetch(
        self, url: str, host: str, headers: Mapping[str, str], max_body: int
    ) -> Response:
        """Return the answer of the fetcher behind; see `Fetcher`."""
        response = await self.fetcher.fetch(url, host, headers, max_body)
        self.spend(response.wire_bytes)
        return response

    async def close(self) -> None:
        """Close the fetcher behind."""
        await self.fetcher.close()


def failure_of(error: Exception, timeout_s: float) -> FetchFailed:  # noqa: PLR0911 - a table
    """Return *error* of the client, which was to answer within *timeout_s*, as one of ours."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return FetchFailed(ErrorKind.DNS, f"{error.host} has no address", transient=True)
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return FetchFailed(ErrorKind.TLS, f"no trusted connection: {_plain(error)}")
        case aiohttp.ClientConnectorError(os_error=BlockedAddress() as blocked):
            return FetchFailed(ErrorKind.BLOCKED_ADDRESS, str(blocked))
        case BlockedAddress():
            return FetchFailed(ErrorKind.BLOCKED_ADDRESS, str(error))
        case TimeoutError():
            detail = f"no whole answer within {timeout_s:g} s"
            return FetchFailed(ErrorKind.TIMEOUT, detail, transient=True)
        case aiohttp.ServerDisconnectedError():
            detail = "the server closed the connection without an answer"
            return FetchFailed(ErrorKind.CONNECT, detail, transient=True)
        case DecodeError():
            return FetchFailed(ErrorKind.DECODE, str(error))
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError() | ValueError():
            return _broken(error)
        case _:
            return FetchFailed(ErrorKind.CONNECT, _plain(error), transient=True)


async def _read(response: aiohttp.ClientResponse, max_body: int) -> tuple[bytes, int, str]:
    """Return the decoded body, its size on the wire, and why it is not whole."""
    codings = ", ".join(response.headers.getall("Content-Encoding", ()))
    decoder = Decoder(codings or None, max_body)
    wire_bytes, truncated = 0, ""
    try:
        async for chunk in response.content.iter_any():
            wire_bytes += len(chunk)
            if wire_bytes > max_body:
                chunk = chunk[: len(chunk) - (wire_bytes - max_body)]  # noqa: PLW2901
                wire_bytes = max_body
                truncated = f"the body is larger than {max_body} bytes"
            decoder.feed(chunk)
            if truncated or decoder.full:
                response.close()  # the rest of it would only be thrown away
                break
    except aiohttp.ClientPayloadError as error:
        truncated = f"the body broke off: {_plain(error)}"
    body = decoder.finish()
    return body, wire_bytes, truncated or decoder.truncated


def _broken(error: Exception) -> FetchFailed:
    detail = _plain(error)
    if isinstance(error, aiohttp.ClientResponseError) and "too " in detail.lower():
        return FetchFailed(ErrorKind.TOO_LARGE, f"headers beyond the cap: {detail}")
    return FetchFailed(ErrorKind.PROTOCOL, f"not an HTTP answer: {detail}")


def _plain(error: BaseException) -> str:
    """Return what an error says, in one line of at most 200 characters."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, aiohttp.ClientResponseError):
        text = error.message
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    else:
        text = str(error)
    return " ".join(text.split())[:200] or type(error).__name__
