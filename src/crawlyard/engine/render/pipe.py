"""Pipe to a browser: messages that end with a zero byte, Chromium's protocol on descriptors."""

import asyncio
import os

from crawlyard.engine.render.cdp import MAX_MESSAGE_BYTES, BrowserLost


class PipeTransport:
    """Message transport over two descriptors."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, read: int, write: int) -> "PipeTransport":
        """Return a transport over two descriptors, which it closes."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_MESSAGE_BYTES)
        incoming = os.fdopen(read, "rb", buffering=0)
        outgoing = os.fdopen(write, "wb", buffering=0)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), incoming)
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, outgoing
        )
        return cls(reader, asyncio.StreamWriter(transport, protocol, None, loop))

    async def send(self, message: str) -> None:
        """See `MessageTransport`."""
        try:
            self._writer.write(message.encode() + b"\0")
            await self._writer.drain()
        except OSError as error:
            raise BrowserLost(str(error)) from error

    async def receive(self) -> bytes:
        """See `MessageTransport`."""
        try:
            return (await self._reader.readuntil(b"\0"))[:-1]
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            raise BrowserLost(f"the pipe ended: {error}") from error

    async def close(self) -> None:
        """See `MessageTransport`."""
        self._writer.close()
