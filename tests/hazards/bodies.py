"""Answers that are slow, cut, wrong, endless or huge."""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from crawlyard.demo.server import Raw
from crawlyard.demo.site import Answer
from tests.hazards.common import (
    MOST_BYTES,
    Hazard,
    HazardRequest,
    Make,
    chunk,
    drip,
    hang,
    head,
    html,
    pour,
    raw_bytes,
    reset,
    send,
)

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter

TIMEOUT = ("failed:timeout",)
LATE = ("truncated", "failed:timeout")  # part of the body came in time
CUT = ("truncated", "failed:connect", "failed:protocol")
NONSENSE = ("failed:protocol",)
CAPPED = ("truncated", "failed:too_large")
TOO_LARGE = ("failed:too_large", "failed:protocol")

TEXT = html('<!doctype html><title>Half</title><p>Half a page <a href="/found/half">on</a>').body
FILLER = b"<p>And so on, and so on, and so on.</p>\n" * 1000


# --- slow or silent


def loris_body(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, head("Connection: close") + TEXT)
        await drip(writer, call, b"slowly ")

    return write


def loris_body_with_length(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, head("Content-Length: 1000000") + TEXT)
        await drip(writer, call, b"slowly ")

    return write


def loris_head(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, b"HTTP/1.1 200 OK\r\nX-Slow: ")
        await drip(writer, call, b"slowly")

    return write


def hang_at_once(_: HazardRequest) -> Raw:
    async def write(reader: Reader, _: Writer) -> None:
        await hang(reader)

    return write


def hang_in_body(_: HazardRequest) -> Raw:
    async def write(reader: Reader, writer: Writer) -> None:
        await send(writer, head("Content-Length: 1000000") + TEXT)
        await hang(reader)

    return write


def reset_at_once(_: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        reset(writer)

    return write


def reset_in_body(_: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, head("Content-Length: 1000000") + TEXT)
        await asyncio.sleep(0.05)  # a reset overtakes what the client has not read yet
        reset(writer)

    return write


# --- endless


def endless(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, head("Connection: close") + TEXT)
        await pour(writer, call, FILLER, MOST_BYTES)

    return write


def endless_chunks(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, head("Transfer-Encoding: chunked") + chunk(TEXT))
        await pour(writer, call, chunk(FILLER), MOST_BYTES)

    return write


def announced(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, head("Content-Length: 200000000") + TEXT)
        await pour(writer, call, FILLER, 200_000_000 - len(TEXT))

    return write


def endless_headers(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, b"HTTP/1.1 200 OK\r\n")
        await pour(writer, call, b"X-More: and so on\r\n" * 1000, MOST_BYTES)

    return write


def endless_status_line(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, b"HTTP/1.1 200 ")
        await pour(writer, call, b"very " * 10_000, MOST_BYTES)

    return write


def endless_interim(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await pour(writer, call, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, MOST_BYTES)

    return write


def endless_trailer(call: HazardRequest) -> Raw:
    async def write(_: Reader, writer: Writer) -> None:
        await send(writer, head("Transfer-Encoding: chunked") + chunk(TEXT) + b"0\r\n")
        await pour(writer, call, b"X-More: and so on\r\n" * 1000, MOST_BYTES)

    return write


# --- huge, but whole


def lazily(build: Callable[[], str]) -> Make:
    """Return what gives a page that is built when it is first asked for."""

    @cache
    def answer() -> Answer:
        return html(build())

    return lambda _: answer()


def nested() -> str:
    return (
        "<!doctype html><title>Deep</title>"
        + "<div>" * 30_000
        + '<a href="/found/body/nested">in</a>'
        + "</div>" * 30_000
        + '<a href="/found/body/after-nested">after</a>'
    )


def nested_inline() -> str:
    """Return misnested formatting tags, which cost a naive parser quadratic time."""
    return "<title>Misnested</title>" + "<b><i><p>" * 5_000 + '<a href="/found/body/inline">in</a>'


def many_links() -> str:
    return "<title>Many</title>" + "".join(
        f'<a href="/found/l/{n}">{n}</a>\n' for n in range(20_000)
    )


def long_text() -> str:
    return "<title>Long</title>" + "<p>word word word word.</p>\n" * 110_000


def many_attributes() -> str:
    names = " ".join(f"a{n}=1" for n in range(50_000))
    return f'<title>Attributes</title><p {names}>x<a href="/found/body/attributes">on</a>'


LONG_TITLE = "word " * 200_000


HAZARDS = (
    Hazard("/body/loris", loris_body, LATE),
    Hazard("/body/loris-length", loris_body_with_length, LATE),
    Hazard("/body/hang", hang_in_body, LATE),
    Hazard("/body/reset", reset_in_body, CUT),
    Hazard("/body/cut-length", raw_bytes(head("Content-Length: 5000"), TEXT), CUT),
    Hazard(
        "/body/cut-chunk",
        raw_bytes(head("Transfer-Encoding: chunked"), chunk(TEXT), b"fff\r\nnot so"),
        CUT,
    ),
    Hazard("/body/no-last-chunk", raw_bytes(head("Transfer-Encoding: chunked"), chunk(TEXT)), CUT),
    Hazard(
        "/body/bad-chunk",
        raw_bytes(head("Transfer-Encoding: chunked"), chunk(TEXT), b"zz\r\nwhat\r\n0\r\n\r\n"),
        CUT,
    ),
    Hazard(
        "/body/negative-chunk",
        raw_bytes(head("Transfer-Encoding: chunked"), b"-5\r\nwhat\r\n0\r\n\r\n"),
        CUT,
    ),
    Hazard(
        "/body/huge-chunk",
        raw_bytes(head("Transfer-Encoding: chunked"), b"ffffffffffffffffffff\r\n", TEXT),
        CUT,
    ),
    Hazard(
        "/body/short-length",
        raw_bytes(head("Content-Length: 10"), TEXT),
        ("page", "truncated", "failed:protocol"),
    ),
    Hazard("/body/negative-length", raw_bytes(head("Content-Length: -1"), TEXT), NONSENSE),
    Hazard("/body/word-length", raw_bytes(head("Content-Length: many"), TEXT), NONSENSE),
    Hazard(
        "/body/two-lengths",
        raw_bytes(head(f"Content-Length: {len(TEXT)}", "Content-Length: 7"), TEXT),
        NONSENSE,
    ),
    Hazard(
        "/body/length-and-chunks",
        raw_bytes(
            head("Content-Length: 7", "Transfer-Encoding: chunked", "Connection: close"),
            chunk(TEXT),
            b"0\r\n\r\n",
        ),
        ("page", "failed:protocol"),
    ),
    Hazard("/body/no-length", raw_bytes(head(), TEXT), ("page",), ("/found/half",), "Half"),
    Hazard("/body/http09", raw_bytes(TEXT), NONSENSE),
    Hazard("/body/tls", raw_bytes(b"\x15\x03\x01\x00\x02\x02\x46"), NONSENSE),
    Hazard("/body/smtp", raw_bytes(b"220 mail.test ESMTP\r\n"), NONSENSE),
    Hazard("/body/endless", endless, CAPPED),
    Hazard("/body/endless-chunks", endless_chunks, CAPPED),
    Hazard("/body/endless-trailer", endless_trailer, (*CUT, *CAPPED, *TIMEOUT)),
    Hazard("/body/announced", announced, CAPPED),
    Hazard("/body/nested", lazily(nested), ("page",), ("/found/body/nested",), "Deep"),
    Hazard(
        "/body/misnested", lazily(nested_inline), ("page",), ("/found/body/inline",), "Misnested"
    ),
    Hazard("/body/links", lazily(many_links), ("page",), ("/found/l/0", "/found/l/19999"), "Many"),
    Hazard("/body/text", lazily(long_text), ("page",), (), "Long"),
    Hazard("/body/attributes", lazily(many_attributes), ("page",), ("/found/body/attributes",)),
    Hazard("/body/title", lazily(lambda: f"<title>{LONG_TITLE}</title>x"), ("page",)),
    Hazard("/body/empty", raw_bytes(head("Content-Length: 0", "Connection: close")), ("page",)),
    Hazard("/head/loris", loris_head, TIMEOUT),
    Hazard("/head/hang", hang_at_once, TIMEOUT),
    Hazard("/head/no-answer", raw_bytes(b""), ("failed:connect", "failed:protocol")),
    Hazard("/head/reset", reset_at_once, ("failed:connect",)),
    Hazard("/head/cut", raw_bytes(b"HTTP/1.1 200 OK\r\nContent-"), ("failed:connect", *NONSENSE)),
    Hazard("/head/endless", endless_headers, (*TOO_LARGE, *TIMEOUT)),
    Hazard("/head/endless-line", endless_status_line, (*TOO_LARGE, *TIMEOUT)),
    Hazard("/head/endless-100", endless_interim, (*TOO_LARGE, *TIMEOUT)),
    Hazard("/head/long", raw_bytes(head("X-Long: " + "x" * 2_000_000), TEXT), TOO_LARGE),
    Hazard(
        "/head/many",
        raw_bytes(head(*(f"X-{n}: {n}" for n in range(50_000))), TEXT),
        TOO_LARGE,
    ),
    Hazard("/head/bad-name", raw_bytes(head("Bad Name: 1"), TEXT), ("page", *NONSENSE)),
    Hazard("/head/nul", raw_bytes(head("X-Nul: a\0b"), TEXT), ("page", *NONSENSE)),
    Hazard("/head/status-999", raw_bytes(head(status="999 Odd"), TEXT), ()),
    Hazard("/head/status-word", raw_bytes(head(status="OK OK"), TEXT), NONSENSE),
)
