"""Proxies of our own for tests: HTTP CONNECT and SOCKS5, with and without a login.

They connect from an address of their own, so that a server can tell their requests from direct
ones. They share no code with the client under test.
"""

import asyncio
import socket
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Protocol

import pytest

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass
class TestProxy:
    """A proxy that listens on loopback; *scheme* is http or socks5."""

    __test__ = False

    scheme: str
    host: str = "127.0.0.1"
    login: str = ""  # USER:PASSWORD
    source: str = "127.0.0.99"  # where its own connections come from
    silent: bool = False  # it takes connections and says nothing
    refuses: str = ""  # an address that it does not connect to
    port: int = 0
    asked: list[str] = field(default_factory=list)  # addresses that it was asked for
    connections: int = 0
    _server: asyncio.Server | None = None
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{f'{self.login}@' if self.login else ''}{self.address}"

    async def open(self) -> None:
        """Listen, at the same port as before if it did."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and break off all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: Reader, writer: Writer) -> None:
        # one that asyncio streams create logs an error if it is cancelled (Python 3.11)
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        try:
            if self.silent:
                await asyncio.Event().wait()
            asks = self._connect if self.scheme == "http" else self._socks
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await asks(reader, writer)
        finally:
            writer.transport.abort()

    async def _connect(self, reader: Reader, writer: Writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, authority, _ = head[0].split()
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        raw = [line.partition(" Basic ")[2] for line in head if " Basic " in line]
        if self.login and not (raw and b64decode(raw[0]).decode() == self.login):
            writer.write(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 3\r\n\r\nno\n")
            await writer.drain()
            return
        assert method == "CONNECT"
        assert fields["host"] == authority
        host, _, port = authority.rpartition(":")
        far = await self._far(host.strip("[]"), int(port))
        if far is None:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self._relay(reader, writer, *far)

    async def _socks(self, reader: Reader, writer: Writer) -> None:
        version, count = await reader.readexactly(2)
        assert version == 5
        methods = await reader.readexactly(count)
        length = 2 if self.login else 0
        if length not in methods:
            writer.write(b"\x05\xff")
            await writer.drain()
            return
        writer.write(bytes((5, length)))
        if self.login and not await self._logged_in(reader, writer):
            return
        _, command, _, kind = await reader.readexactly(4)
        assert command == 1
        assert kind in (1, 4), "the client resolves names itself"
        packed = await reader.readexactly(4 if kind == 1 else 16)
        family = socket.AF_INET if kind == 1 else socket.AF_INET6
        port = int.from_bytes(await reader.readexactly(2))
        far = await self._far(socket.inet_ntop(family, packed), port)
        writer.write(bytes((5, 0 if far else 5, 0, 1)) + bytes(6))
        await writer.drain()
        if far is not None:
            await self._relay(reader, writer, *far)

    async def _logged_in(self, reader: Reader, writer: Writer) -> bool:
        assert await reader.readexactly(1) == b"\x01"
        parts = [(await reader.readexactly((await reader.readexactly(1))[0])) for _ in range(2)]
        good = b":".join(parts).decode() == self.login
        writer.write(b"\x01\x00" if good else b"\x01\x01")
        await writer.drain()
        return good

    async def _far(self, address: str, port: int) -> tuple[Reader, Writer] | None:
        self.asked.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
        if address == self.refuses:
            return None
        source = None if ":" in address else (self.source, 0)
        try:
            return await asyncio.open_connection(address, port, local_addr=source)
        except OSError:
            return None

    async def _relay(self, reader: Reader, writer: Writer, *far: object) -> None:
        far_reader, far_writer = far
        assert isinstance(far_reader, Reader)
        assert isinstance(far_writer, Writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer))
                group.create_task(_pump(far_reader, writer))
        finally:
            far_writer.transport.abort()


async def _pump(reader: Reader, writer: Writer) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof() if writer.can_write_eof() else writer.close()


class ServeProxy(Protocol):
    """Type of the fixture `a_proxy`: it takes the arguments of `TestProxy`, and opens one."""

    def __call__(self, scheme: str, **options: object) -> Awaitable[TestProxy]: ...


@pytest.fixture
async def a_proxy() -> AsyncIterator[ServeProxy]:
    """Open any number of proxies until the test ends."""
    async with AsyncExitStack() as stack:

        async def opened(scheme: str, **options: object) -> TestProxy:
            proxy = TestProxy(scheme, **options)  # type: ignore[arg-type]
            await proxy.open()
            stack.push_async_callback(proxy.close)
            return proxy

        yield opened
