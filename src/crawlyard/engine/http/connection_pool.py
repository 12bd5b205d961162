"""Connection pool of one fetcher: its open connections, idle ones included."""

import asyncio

from crawlyard.engine.http.connection import HttpConnection

LONGEST_IDLE_S = 15.0
MOST_IDLE = 256
"""Idle connections per job, since a crawl of a thousand hosts must not keep one to each."""


class ConnectionPool:
    """Pool of connections by origin; the most recently used is reused first.

    At most *most* connections stay idle, each for up to *idle_s* seconds.
    """

    def __init__(self, idle_s: float = LONGEST_IDLE_S, most: int = MOST_IDLE) -> None:
        self._idle_s = idle_s
        self._most = most
        self._open: set[HttpConnection] = set()
        self._idle: dict[HttpConnection, tuple[str, float]] = {}  # longest idle first
        self._by_origin: dict[str, list[HttpConnection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing: asyncio.Future[None] | None = None

    def made(self) -> HttpConnection:
        """Return a new connection, not yet opened, that belongs to the pool."""
        return HttpConnection(self._opened, self._lost)

    def take(self, origin: str) -> HttpConnection | None:
        """Remove and return an idle connection to *origin*, ``None`` if there is none."""
        wires = self._by_origin.get(origin, ())
        while wires:
            wire = wires[-1]
            _, since = self._idle[wire]
            self._forget(wire)
            if wire.usable and asyncio.get_running_loop().time() - since < self._idle_s:
                return wire
            wire.abort()
        return None

    def keep(self, origin: str, wire: HttpConnection) -> None:
        """Keep a connection idle for the next request to *origin*."""
        if self._closing is not None or not wire.usable:
            wire.abort()
            return
        loop = asyncio.get_running_loop()
        self._idle[wire] = (origin, loop.time())
        self._by_origin.setdefault(origin, []).append(wire)
        if len(self._idle) > self._most:
            self._drop(next(iter(self._idle)))
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_s, self._sweep)

    async def close(self) -> None:
        """Close all connections and wait for that; those opened later are closed at once."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
        for wire in tuple(self._open):
            wire.abort()
        if self._open:
            await asyncio.shield(self._closing)

    def _opened(self, wire: HttpConnection) -> None:
        self._open.add(wire)
        if self._closing is not None:
            wire.abort()

    def _lost(self, wire: HttpConnection) -> None:
        self._open.discard(wire)
        if wire in self._idle:
            self._forget(wire)
        if self._closing is not None and not self._open and not self._closing.done():
            self._closing.set_result(None)

    def _sweep(self) -> None:
        """Close connections that have been idle for too long."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        while self._idle:
            wire, (_, since) = next(iter(self._idle.items()))
            if loop.time() - since < self._idle_s:
                self._sweeper = loop.call_at(since + self._idle_s, self._sweep)
                return
            self._drop(wire)

    def _drop(self, wire: HttpConnection) -> None:
        self._forget(wire)
        wire.abort()

    def _forget(self, wire: HttpConnection) -> None:
        origin, _ = self._idle.pop(wire)
        wires = self._by_origin[origin]
        wires.remove(wire)
        if not wires:
            del self._by_origin[origin]
