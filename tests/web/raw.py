"""A raw socket client that can send any bytes."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.web.live_rig import PATIENCE_S, LiveRig

END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes received before the connection closed, or one complete response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Code of the problem in the response."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        code: str = problem["code"]
        return code


class RawConnection:
    """A raw connection with its unread bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> bool:
        """Send *data*; return whether the other side still takes any."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return False
        return not self._writer.is_closing()

    async def answer(self) -> Answer:
        """Return the next answer. Raises EOFError if the connection is closed instead."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                head = (await self._reader.readuntil(END)).decode("latin-1")
            except ConnectionError:
                raise EOFError from None
            first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            pairs = (line.split(":", 1) for line in lines)
            headers = {name.lower(): value.strip() for name, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(first.split()[1]), headers, body)

    async def closed(self) -> bytes:
        """Return what still comes until the other side closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def wire(live: LiveRig) -> AsyncIterator[RawConnection]:
    """Connect for the block."""
    url = live.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1 << 20)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


class Deaf:
    """A connection with a small receive buffer that is never read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> bool:
        """Send *data*; return whether the other side still takes any."""
        try:
            await self._loop.sock_sendall(self._sock, data)
        except ConnectionError:
            return False
        return True

    def end(self) -> None:
        """Say that nothing more is sent."""
        self._sock.shutdown(socket.SHUT_WR)

    async def read(self, most: int = 1 << 16) -> bytes:
        """Return what is there, at most so many bytes; nothing: the other side has closed."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._loop.sock_recv(self._sock, most)
            except ConnectionError:
                return b""

    async def rest(self) -> bytes:
        """Return what still comes until the other side closes the connection."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)


@asynccontextmanager
async def deaf(live: LiveRig) -> AsyncIterator[Deaf]:
    """Connect for the block, to read nothing by itself."""
    url = live.client.base_url
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (url.host, url.port))
        yield Deaf(sock)


def head(live: LiveRig, first: str = "POST /api/v1/views HTTP/1.1", *lines: str) -> bytes:
    """Return the head of a request by the admin, with *lines* beside what each must have."""
    secret = live.rig.secrets["local"]
    own = ("Host: 127.0.0.1", f"Authorization: Bearer {secret}", "Content-Type: application/json")
    return "\r\n".join((first, *own, *lines)).encode("latin-1") + END


def chunked(parts: Iterable[bytes]) -> Iterable[bytes]:
    """Return *parts* as Transfer-Encoding: chunked has them, without an end."""
    return (b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def view(name: str) -> dict[str, Any]:
    """Return the body of a request for a view."""
    return {"name": name}
