"""One connection of our own client, over which one request after the other is asked."""

import asyncio
from collections.abc import Callable
from typing import cast

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.errors import FetchFailed
from crawlyard.engine.http.response_parser import ResponseParser


class HttpConnection(asyncio.Protocol):
    """A connection that has one request under way at most; *opened* and *lost* are told of it.

    What comes while nothing was asked ends it: it would be taken for the next answer.
    """

    def __init__(
        self, opened: Callable[["HttpConnection"], None], lost: Callable[["HttpConnection"], None]
    ) -> None:
        self._opened = opened
        self._told_lost = lost
        self._transport: asyncio.Transport | None = None
        self._incoming: ResponseParser | None = None
        self._answered: asyncio.Future[None] | None = None
        self._unasked = False
        self._lost = False
        self._error: Exception | None = None

    @property
    def usable(self) -> bool:
        """Tell whether another request may be sent over it, as far as one can know."""
        transport = self._transport
        return not (self._unasked or self._lost or transport is None or transport.is_closing())

    async def ask(self, request: bytes, incoming: ResponseParser, until: float) -> None:
        """Send *request* and return once *incoming*, its answer, is over.

        The connection is closed if that breaks off. Nothing is ever sent twice.

        Raises:
            TimeoutError: it was not over at *until*, by the clock of the loop.
            FetchFailed: something came before it was asked for.
        """
        if self._unasked:
            detail = "not an HTTP answer: it came before it was asked for"
            raise FetchFailed(ErrorKind.PROTOCOL, detail)
        loop = asyncio.get_running_loop()
        self._incoming = incoming
        answered = self._answered = loop.create_future()
        timer = loop.call_at(until, self._late)
        try:
            if self._lost or self._transport is None:
                incoming.end(self._error)
            else:
                self._transport.write(request)
                await answered
        except BaseException:
            self.abort()  # also where the answer was there already: nobody takes it
            raise
        finally:
            timer.cancel()
            incoming.release()
            self._incoming = self._answered = None
            if not incoming.reusable:
                self.abort()

    def abort(self) -> None:
        """Close it at once; whoever waits for an answer gets what there is."""
        if self._transport is not None:
            self._error = self._error or ConnectionAbortedError("the connection was given up")
            self._transport.abort()

    def forsake(self) -> None:
        """Count it as lost, as making it was broken off.

        uvloop 0.23 calls no `connection_lost` if that happens between `connection_made` and
        the return of `create_connection`: whoever waits for it would wait for ever.
        """
        self.abort()
        self.connection_lost(None)

    def _late(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(TimeoutError())

    def _settle(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        if self._lost:
            self.abort()
        else:
            self._opened(self)

    def data_received(self, data: bytes) -> None:
        """Hand on what has come."""
        if self._incoming is None:
            self._unasked = True
            self.abort()
        elif self._incoming.feed(data):
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and with it the answer that is under way."""
        if self._lost:
            return
        self._lost = True
        self._error = exc or self._error
        self._told_lost(self)
        if self._incoming is not None:
            self._incoming.end(self._error)
            self._settle()
