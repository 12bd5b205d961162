"""Hazards and the helpers to build them."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TypeAlias

from crawlyard.demo.server import Raw
from crawlyard.demo.site import HTML, Answer

MOST_BYTES = 256 * 1024 * 1024
"""Size where endless answers stop, so that a client without a cap fails its test."""


@dataclass(frozen=True, slots=True)
class World:
    """State shared by the hazards of one site: its peers, its pace and its requests."""

    drip_s: float = 0.02  # between two bytes of what is slow
    retry_after_s: int = 1  # value of Retry-After
    canary: str = "127.0.0.1:9"  # host:port that must never be asked
    other: str = "127.0.0.2:9"  # host:port of another site that may be asked
    requests: Counter[str] = field(default_factory=Counter)  # by path, the present request included
    sent: Counter[str] = field(default_factory=Counter)  # bytes of endless answers, by path


@dataclass(frozen=True, slots=True)
class HazardRequest:
    path: str  # without the query
    query: str
    host: str
    headers: Mapping[str, str]
    world: World

    @property
    def times(self) -> int:
        """Requests to the path so far, this one included."""
        return self.world.requests[self.path]


Make: TypeAlias = Callable[[HazardRequest], Answer | Raw]


@dataclass(frozen=True, slots=True)
class Hazard:
    """One thing that a site can do to a crawler, and what must come of it.

    *expected* names what may become of its URL, once its redirects are followed:
    "page", "truncated", "skipped", "failed:KIND", or "endless" for a trap that only a
    limit ends. The first is the one to aim at; empty says that only the hits tell.
    """

    path: str  # one that ends in * stands for all paths that begin so
    make: Make
    expected: tuple[str, ...] = ()
    found: tuple[str, ...] = ()  # paths that a crawl from here, within the host, must ask for
    title: str | None = None  # the title that must be extracted
    start: str = ""  # where to begin, if that is not the path

    @property
    def url(self) -> str:
        """Path, perhaps with a query, where a crawl of this hazard starts."""
        return self.start or self.path


def page(
    *links: str, title: str = "Hazard", head: str = "", headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """Return a plain page with *links* as anchors; title and links are escaped."""
    anchors = "\n".join(f'<a href="{escape(link)}">{escape(link)}</a>' for link in links)
    return html(
        f"<!doctype html><html lang=en><head><title>{escape(title)}</title>{head}</head>"
        f"<body><p>A page.</p>\n{anchors}</body></html>",
        headers,
    )


def html(text: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(200, (("Content-Type", HTML), *headers), text.encode())


def fixed(answer: Answer | Raw) -> Make:
    """Return what gives *answer* to every call."""
    return lambda _: answer


def location(url: str, status: int = 302, body: bytes = b"") -> Answer:
    """Return a redirect; *url* is sent as UTF-8 without escaping."""
    return Answer(status, (("Location", url.encode().decode("latin-1")),), body)


def head(*lines: str, status: str = "200 OK") -> bytes:
    """Return the head of a response to an HTML page, with *lines* as further fields."""
    first = (f"HTTP/1.1 {status}", "Content-Type: text/html; charset=utf-8")
    return "\r\n".join((*first, *lines, "", "")).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def raw_bytes(*parts: bytes) -> Make:
    """Return what writes *parts* and closes."""

    async def write(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await send(writer, b"".join(parts))

    return fixed(write)


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def hang(reader: asyncio.StreamReader) -> None:
    """Return once the client has left."""
    while await reader.read(65536):
        pass


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    peer: socket.socket = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def pour(writer: asyncio.StreamWriter, call: HazardRequest, data: bytes, most: int) -> None:
    """Write *data* again and again until the client leaves or has got *most* bytes."""
    while call.world.sent[call.path] < most:
        await send(writer, data)
        call.world.sent[call.path] += len(data)


async def drip(writer: asyncio.StreamWriter, call: HazardRequest, data: bytes) -> None:
    """Write *data* byte by byte, again and again, until the client leaves."""
    while True:
        for byte in data:
            await send(writer, bytes((byte,)))
            await asyncio.sleep(call.world.drip_s)
