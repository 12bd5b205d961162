"""Webhook POST: sends one message per request, only to addresses that the guard allows."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from msgspec import Struct

from crawlyard.core.webhooks.webhook import EXCERPT
from crawlyard.engine.http.client import failure_of, request_of
from crawlyard.engine.http.connect import Connector
from crawlyard.engine.http.connection import ConnectionPool
from crawlyard.engine.http.dns import Crowded, Resolver
from crawlyard.engine.http.fetch import NotContacted
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.response_parser import ResponseParser
from crawlyard.engine.urls import canonical

TIMEOUT = timedelta(seconds=15)
"""Time for a message and its response together.

Source: Standard Webhooks, "Operational considerations": 15 to 30 s.
"""

_NAMES = 256  # concurrent DNS look-ups, including abandoned ones


class PostResponse(Struct, frozen=True, kw_only=True):
    """Status and beginning of a receiver's response."""

    status: int
    retry_after: str  # the header as received; empty: there was none
    excerpt: str  # the beginning of the body


class Poster:
    """Sends messages, each on a connection of its own; redirects are not followed."""

    def __init__(
        self,
        agent: str,
        timeout: timedelta = TIMEOUT,
        names: Resolver | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._ca_file = ca_file
        self._agent = agent
        self._timeout_s = timeout.total_seconds()
        self._names = names or Resolver(_NAMES)

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, guard: Guard
    ) -> PostResponse:
        """Send one POST of *body* to *url*; return the response.

        The body is JSON unless *headers* has another `Content-Type`.
        Only the status matters: a response whose body breaks off or never ends is valid.

        Raises:
            FetchFailed: there was no response.
            NotContacted: the receiver was not contacted, because too many look-ups are running.
            Invalid: *url* is not a URL.
        """
        url = canonical(url)
        own = {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        incoming = ResponseParser(EXCERPT, decodes=False)
        try:
            await self._send(url, request_of(url, own | dict(headers), body), guard, incoming)
        except Crowded as error:
            raise NotContacted(str(error)) from error
        except (OSError, RuntimeError, ValueError) as error:
            if not incoming.has_head:
                raise failure_of(error, url, self._timeout_s) from error
            incoming.end(error)
        response = incoming.response(0)
        return PostResponse(
            status=response.status,
            retry_after=response.header("retry-after"),
            excerpt=response.body.decode(errors="replace"),
        )

    async def _send(self, url: str, request: bytes, guard: Guard, incoming: ResponseParser) -> None:
        """Send *request*; return when its response is over and the connection is closed."""
        until = asyncio.get_running_loop().time() + self._timeout_s
        pool = ConnectionPool()
        try:
            async with asyncio.timeout_at(until):
                connection = await Connector(guard, self._names, self._ca_file).dial(
                    url, pool.new_connection
                )
            await connection.send(request, incoming, until)
        finally:
            await pool.close()
