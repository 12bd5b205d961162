"""HTTP connections that carry one request at a time, and the pool of one fetcher."""

import asyncio
from collections.abc import Callable
from typing import cast

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.fetch import FetchFailed
from crawlyard.engine.http.response_parser import ResponseParser

LONGEST_IDLE_S = 15.0
MOST_IDLE = 256
"""Idle connections per job, since a crawl of a thousand hosts must not keep one to each."""


class ClientConnection(asyncio.Protocol):
    """Connection with at most one request in flight.

    *on_opened* and *on_lost* are called when it opens and when it is lost. Data that arrives
    without a request closes it, because it would be taken for the next response.
    """

    def __init__(
        self,
        on_opened: Callable[["ClientConnection"], None],
        on_lost: Callable[["ClientConnection"], None],
    ) -> None:
        self.key = ""  # its key in the pool; set by the connector
        self._on_opened = on_opened
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None
        self._done: asyncio.Future[None] | None = None
        self._is_unsolicited = False
        self._is_lost = False
        self._error: Exception | None = None

    @property
    def usable(self) -> bool:
        """True if another request may be sent on it, as far as is known."""
        transport = self._transport
        return not (
            self._is_unsolicited or self._is_lost or transport is None or transport.is_closing()
        )

    async def send(self, request: bytes, parser: ResponseParser, deadline: float) -> None:
        """Send *request* and return when its response, fed to *parser*, has ended.

        The connection is closed if this fails or is cancelled. Nothing is ever sent twice.

        Raises:
            TimeoutError: the response had not ended at *deadline*, by the loop's clock.
            FetchFailed: data arrived before the request.
        """
        if self._is_unsolicited:
            detail = "not an HTTP response: data arrived before the request"
            raise FetchFailed(ErrorKind.PROTOCOL, detail)
        loop = asyncio.get_running_loop()
        self._parser = parser
        done = self._done = loop.create_future()
        timer = loop.call_at(deadline, self._on_timeout)
        try:
            if self._is_lost or self._transport is None:
                parser.end(self._error)
            else:
                self._transport.write(request)
                await done
        except BaseException:
            self.abort()  # even if the response has arrived, since it will not be read
            raise
        finally:
            timer.cancel()
            parser.release()
            self._parser = self._done = None
            if not parser.reusable:
                self.abort()

    def abort(self) -> None:
        """Close it at once; a request in flight gets what has arrived so far."""
        if self._transport is not None:
            self._error = self._error or ConnectionAbortedError("the connection was aborted")
            self._transport.abort()

    def abandon(self) -> None:
        """Mark it as lost because opening it was interrupted.

        uvloop 0.23 does not call `connection_lost` if that happens between `connection_made`
        and the return of `create_connection`, so code waiting for the loss would hang.
        """
        self.abort()
        self.connection_lost(None)

    def _on_timeout(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(TimeoutError())

    def _finish(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    # --- callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the transport, or close it if the connection is lost already."""
        self._transport = cast("asyncio.Transport", transport)
        if self._is_lost:
            self.abort()
        else:
            self._on_opened(self)

    def data_received(self, data: bytes) -> None:
        """Feed data to the response parser."""
        if self._parser is None:
            self._is_unsolicited = True
            self.abort()
        elif self._parser.feed(data):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Mark the connection as lost and end the response in flight."""
        if self._is_lost:
            return
        self._is_lost = True
        self._error = exc or self._error
        self._on_lost(self)
        if self._parser is not None:
            self._parser.end(self._error)
            self._finish()


class ConnectionPool:
    """Pool of connections by origin and proxy; the most recently used is reused first.

    At most *most* connections stay idle, each for up to *idle_s* seconds.
    """

    def __init__(self, idle_s: float = LONGEST_IDLE_S, most: int = MOST_IDLE) -> None:
        self._idle_s = idle_s
        self._most = most
        self._open: set[ClientConnection] = set()
        self._idle: dict[ClientConnection, tuple[str, float]] = {}  # longest idle first
        self._by_origin: dict[str, list[ClientConnection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing: asyncio.Future[None] | None = None

    def new_connection(self) -> ClientConnection:
        """Return a new connection, not yet opened, that belongs to the pool."""
        return ClientConnection(self._add_open, self._remove_lost)

    def take(self, origin: str) -> ClientConnection | None:
        """Remove and return an idle connection to *origin*, ``None`` if there is none."""
        connections = self._by_origin.get(origin, ())
        while connections:
            connection = connections[-1]
            _, since = self._idle[connection]
            self._remove_idle(connection)
            if connection.usable and asyncio.get_running_loop().time() - since < self._idle_s:
                return connection
            connection.abort()
        return None

    def keep(self, origin: str, connection: ClientConnection) -> None:
        """Keep a connection idle for the next request to *origin*."""
        if self._closing is not None or not connection.usable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        self._idle[connection] = (origin, loop.time())
        self._by_origin.setdefault(origin, []).append(connection)
        if len(self._idle) > self._most:
            self._close_idle(next(iter(self._idle)))
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_s, self._sweep)

    async def close(self) -> None:
        """Close all connections and wait for that; those opened later are closed at once."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            await asyncio.shield(self._closing)

    def _add_open(self, connection: ClientConnection) -> None:
        self._open.add(connection)
        if self._closing is not None:
            connection.abort()

    def _remove_lost(self, connection: ClientConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._remove_idle(connection)
        if self._closing is not None and not self._open and not self._closing.done():
            self._closing.set_result(None)

    def _sweep(self) -> None:
        """Close connections that have been idle for too long."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        while self._idle:
            connection, (_, since) = next(iter(self._idle.items()))
            if loop.time() - since < self._idle_s:
                self._sweeper = loop.call_at(since + self._idle_s, self._sweep)
                return
            self._close_idle(connection)

    def _close_idle(self, connection: ClientConnection) -> None:
        self._remove_idle(connection)
        connection.abort()

    def _remove_idle(self, connection: ClientConnection) -> None:
        origin, _ = self._idle.pop(connection)
        connections = self._by_origin[origin]
        connections.remove(connection)
        if not connections:
            del self._by_origin[origin]
