"""A webhook receiver on loopback that answers as badly as a test asks it to."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

from standardwebhooks import Webhook as Verifier

from crawlyard.demo.request import parse

Manner: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""How one request is answered once all of it was read; the connection is closed after it."""


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """Return what it says, once the public library has verified its signature."""
        return Verifier(secret).verify(self.body, dict(self.headers))


class Receiver:
    """Answers its requests in the manners given, one after the other; the last one stays."""

    def __init__(self, *manners: Manner) -> None:
        self._manners = list(manners) or [answer(204)]
        self._next: list[Manner] = []
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.messages: list[ReceivedRequest] = []
        self.connections = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}/hook"

    def next(self, manner: Manner) -> None:
        """Answer one request in another manner, after those that were asked for before."""
        self._next.append(manner)

    def verified_messages(self, secret: str) -> list[Any]:
        """Return the content of all messages, after checking their signatures."""
        return [message.verified(secret) for message in self.messages]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        open_ = dict(self._open)
        for task, writer in open_.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*open_, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    def _manner(self) -> Manner:
        if self._next:
            return self._next.pop(0)
        return self._manners.pop(0) if len(self._manners) > 1 else self._manners[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = parse(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(int(head.headers.get("content-length", 0)))
            self.messages.append(ReceivedRequest(head.method, head.path, head.headers, body))
            await self._manner()(writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # the sender has gone
        finally:
            writer.close()


def answer(status: int, body: bytes = b"", **headers: str) -> Manner:
    """Answer with *status*; of the names of headers, ``_`` becomes ``-``."""
    all_headers = {"Content-Length": str(len(body)), "Connection": "close"}
    all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "\r\n".join(
        [f"HTTP/1.1 {status} X", *(f"{n}: {v}" for n, v in all_headers.items()), "", ""]
    )

    async def manner(writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body)
        await writer.drain()

    return manner


async def silent(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.get_running_loop().create_future()


async def dropping(writer: asyncio.StreamWriter) -> None:
    """Take the message and drop the reply."""
    writer.transport.abort()


async def endless(writer: asyncio.StreamWriter) -> None:
    """Take the message and never stop to say so."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"thanks! " * 8192)
        await writer.drain()


async def halting(writer: asyncio.StreamWriter) -> None:
    """Take the message, and stop in the middle of saying so."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthanks")
    await silent(writer)


async def nonsense(writer: asyncio.StreamWriter) -> None:
    """Answer with what is no HTTP."""
    writer.write(b"\x00\xff 220 smtp.example.org ESMTP\r\n")
    await writer.drain()
