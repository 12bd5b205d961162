"""A server that sends exactly the bytes of a test, and records requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Protocol, TypeAlias

import pytest

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Say: TypeAlias = Callable[["RawRequest"], Awaitable[None]]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class RawRequest:
    """One request, on the connection with that number; both count from 1."""

    connection: int
    number: int  # on its connection
    head: bytes
    reader: Reader
    writer: Writer

    async def say(self, *parts: bytes) -> None:
        """Send *parts*, as far as the client takes them."""
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def wait_closed(self) -> None:
        """Return once the client has left."""
        while await self.reader.read(65_536):
            pass


@dataclass
class RawServer:
    """A raw server, with the requests that it received."""

    say: Say
    host: str = "127.0.0.1"
    scheme: str = "http"
    port: int = 0
    asked: list[bytes] = field(default_factory=list)  # the heads of all requests
    connections: int = 0
    ended: int = 0  # connections that have ended
    welcome: bytes = b""  # said to each connection before it asks

    @property
    def url(self) -> str:
        """URL of its only page."""
        return f"{self.scheme}://{self.host}:{self.port}/page?q=1"

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Answer one connection until one of both ends it."""
        self.connections += 1
        connection, number = self.connections, 0
        writer.write(self.welcome)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                number += 1
                self.asked.append(head)
                await self.say(RawRequest(connection, number, head, reader, writer))
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
            self.ended += 1


class ServeRaw(Protocol):
    """Starts a raw server with a handler; the fixture `raw_server`."""

    def __call__(
        self, say: Say, *, welcome: bytes = ..., tls: SSLContext | None = ...
    ) -> Awaitable[RawServer]: ...


@asynccontextmanager
async def serving(server: RawServer, tls: SSLContext | None) -> AsyncIterator[RawServer]:
    """Serve until left."""
    listener = await asyncio.start_server(server.serve, server.host, 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@pytest.fixture
async def raw_server() -> AsyncIterator[ServeRaw]:
    """Start raw servers, and close them when the test ends."""
    async with AsyncExitStack() as stack:

        async def serve(
            say: Say, *, welcome: bytes = b"", tls: SSLContext | None = None
        ) -> RawServer:
            scheme = "http" if tls is None else "https"
            server = RawServer(say, scheme=scheme, welcome=welcome)
            return await stack.enter_async_context(serving(server, tls))

        yield serve


def saying(*parts: bytes, close: bool = False) -> Say:
    """Return what says *parts* to every request, and closes or not."""

    async def say(call: RawRequest) -> None:
        await call.say(*parts)
        if close:
            call.writer.close()

    return say


def answer(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    fields = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", "")
    return "\r\n".join(fields).encode() + body
