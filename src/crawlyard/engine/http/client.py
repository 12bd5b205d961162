"""HTTP/1.1 client that reuses connections within a job."""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.workers.measures import Requests
from crawlyard.engine.http.connect import Connector
from crawlyard.engine.http.connection import ConnectionPool
from crawlyard.engine.http.dns import MOST_NAMES, Crowded, Resolver
from crawlyard.engine.http.fetch import BeforeSend, FetchFailed, Response, at_once, plain
from crawlyard.engine.http.guard import BlockedAddress, Guard
from crawlyard.engine.http.proxied import ProxiedConnector
from crawlyard.engine.http.proxy import Proxies
from crawlyard.engine.http.response_parser import ResponseParser
from crawlyard.engine.http.tunnel import NoTunnel, ProxyFailed
from crawlyard.engine.urls import host_of, path_of


class HttpFetcher:
    """Fetcher for one job; see `MakeFetcher`."""

    def __init__(
        self,
        guard: Guard,
        timeout: timedelta,
        clock: Clock,
        names: Resolver | None = None,
        ca_file: Path | None = None,
        measured: Requests | None = None,
        *,
        proxies: Proxies | None = None,
    ) -> None:
        self._clock = clock
        self._measured = measured or Requests()
        self._timeout_s = timeout.total_seconds()
        connector = Connector(guard, names or Resolver(MOST_NAMES), ca_file)
        self._connector = (
            connector if proxies is None else ProxiedConnector(connector, proxies, self._timeout_s)
        )
        self._pool = ConnectionPool()

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
        """Send one request for a canonical *url*; return the response. See `Fetcher`."""
        started = self._clock.monotonic()
        try:
            request = request_of(url, headers, body, method="HEAD" if head else "GET")
            parser = ResponseParser(max_body, decodes=not head, head=head)
            incoming, waited_s = await self._exchange(url, request, parser, before_send)
        except (OSError, RuntimeError, ValueError) as error:
            failure = failure_of(error, url, self._timeout_s)
            self._measured.failures[failure.kind] += 1
            raise failure from error
        took_s = self._clock.monotonic() - started - waited_s
        response = incoming.response(round(took_s * 1000))
        self._measured.count_response(response.status, took_s)
        return response

    async def close(self) -> None:
        """Close the connections, idle and in use."""
        await self._pool.close()

    async def _exchange(
        self, url: str, request: bytes, incoming: ResponseParser, before_send: BeforeSend
    ) -> tuple[ResponseParser, float]:
        """Return the parsed response, and the seconds that its request waited to be sent."""
        loop = asyncio.get_running_loop()
        until, waited_s = loop.time() + self._timeout_s, 0.0
        is_retry = False
        while True:
            connection = self._pool.take(self._connector.pool_key(url))
            if connection is None:
                async with asyncio.timeout_at(until + waited_s):
                    connection = await self._connector.dial(url, self._pool.new_connection)
            before = loop.time()
            try:
                await before_send()
            except BaseException:
                self._pool.keep(connection.key, connection)
                raise
            waited_s += loop.time() - before
            if connection.usable or is_retry:
                break
            is_retry = True  # the connection was closed while it waited; twice is a failure
        await connection.send(request, incoming, until + waited_s)
        if incoming.reusable:
            self._pool.keep(connection.key, connection)
        return incoming, waited_s


def request_of(
    url: str, headers: Mapping[str, str], body: bytes | None = None, *, method: str = "GET"
) -> bytes:
    """Return the bytes of a request for a canonical *url*; it is a POST if there is a *body*.

    Raises:
        ValueError: the URL or a header contains a line break or a zero byte.
    """
    method = method if body is None else "POST"
    # a dot at the end only matters to resolvers; servers are not configured with one
    host, colon, port = host_of(url).partition(":") if "[" not in url else (host_of(url), "", "")
    lines = [f"{method} {path_of(url)} HTTP/1.1", f"Host: {host.rstrip('.')}{colon}{port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise ValueError("a line break in the URL or in a header of the request")
    return f"{text}\r\n\r\n".encode() + (body or b"")


def failure_of(error: Exception, url: str, timeout_s: float) -> FetchFailed:
    """Convert an error of a request for *url*, before any response, to `FetchFailed`."""
    kind, detail, transient = ErrorKind.CONNECT, plain(error), True
    match error:
        case ssl.SSLError():
            kind, detail, transient = ErrorKind.TLS, f"no trusted connection: {detail}", False
        case BlockedAddress():
            kind, detail, transient = ErrorKind.BLOCKED_ADDRESS, str(error), False
        case Crowded():
            kind, detail = ErrorKind.DNS, str(error)
        case ProxyFailed() | NoTunnel():
            kind, detail = ErrorKind.PROXY, str(error)
        case TimeoutError():
            kind, detail = ErrorKind.TIMEOUT, f"no complete response within {timeout_s:g} s"
        case ConnectionRefusedError():
            detail = f"connection refused by {host_of(url)}"
        case ValueError():
            kind, detail, transient = ErrorKind.PROTOCOL, f"not a request: {detail}", False
    return FetchFailed(kind, detail, transient=transient)
