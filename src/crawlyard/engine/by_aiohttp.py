"""The client on aiohttp: the elder of the two, chosen by ``http_client = "aiohttp"``."""

import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import aiohttp

from crawlyard.clock import Clock
from crawlyard.core.page import ErrorKind
from crawlyard.engine.decode import DecodeError, Decoder
from crawlyard.engine.dial import asked, go_of, guarded_session
from crawlyard.engine.failing import FetchFailed, plain
from crawlyard.engine.fetch import Go, Response, at_once
from crawlyard.engine.guard import BlockedAddress, Guard
from crawlyard.engine.names import MOST_NAMES, Names


class AiohttpFetcher:
    """A fetcher for one job; see `MakeFetcher`."""

    def __init__(
        self,
        guard: Guard,
        timeout: timedelta,
        clock: Clock,
        names: Names | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._clock = clock
        total = timeout.total_seconds()
        self._timeout_s = total
        self._session = guarded_session(
            guard, total, names or Names(MOST_NAMES), ca_file, keeps_alive=True
        )

    async def fetch(
        self, url: str, headers: Mapping[str, str], max_body: int, go: Go = at_once
    ) -> Response:
        """Return the answer to one GET of a canonical *url*; see `Fetcher`."""
        started = self._clock.monotonic()
        go_of.set(go)
        try:
            async with self._session.get(
                asked(url), headers=headers, allow_redirects=False
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
    """Return what an error of the client says, in one line."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return plain(error.os_error)
    if isinstance(error, aiohttp.ClientResponseError):
        return plain(Exception(error.message))
    return plain(error)
