"""Answers that the HTTP client takes, and answers that it refuses."""

import asyncio
import gzip

import pytest

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.dns import look_up
from tests.engine.clients import CAP, HEADERS, Make, failure, fetch_page
from tests.engine.raw import CHUNKED, RawRequest, ServeRaw, answer, saying

# --- what is asked


async def test_a_request_has_one_host_and_the_headers_that_were_given(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))

    await fetch_page(make(), server)

    line, *fields = server.asked[0].decode().split("\r\n")
    assert line == "GET /page?q=1 HTTP/1.1"
    assert fields == [
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: Test/1",
        "Accept-Encoding: gzip",
        "",
        "",
    ]


@pytest.mark.parametrize("value", ["a\r\nX-Smuggled: 1", "a\nX-Smuggled: 1", "a\rb"])
async def test_a_header_with_a_line_break_is_not_sent(
    make: Make, raw_server: ServeRaw, value: str
) -> None:
    server = await raw_server(saying(answer(b"x")))

    failed = await failure(make().fetch(server.url, {"X-One": value}, CAP))

    assert failed.kind is ErrorKind.PROTOCOL
    assert server.asked == []


async def test_a_dot_at_the_end_of_a_name_is_not_part_of_the_host(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))
    fetcher = make(look=lambda _, port: look_up("127.0.0.1", port))

    await fetcher.fetch(f"http://site.test.:{server.port}/", HEADERS, CAP)

    assert b"\r\nHost: site.test:" in server.asked[0]


# --- answers that are taken

TAKEN: dict[str, tuple[bytes, bytes]] = {
    "a length": (answer(b"body"), b"body"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        b"body",
    ),
    "chunks with extensions and trailers": (
        CHUNKED + b"4;why=so\r\nbody\r\n0\r\nX-Sum: 1\r\nSet-Cookie: late=1\r\n\r\n",
        b"body",
    ),
    "spaces behind the size of a chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4  \r\nbody\r\n0\r\n\r\n",
        b"body",
    ),
    "the end of the connection": (b"HTTP/1.1 200 OK\r\n\r\nbody", b"body"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nbody", b"body"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nbody", b"body"),
    "lines that end with LF alone": (b"HTTP/1.1 200 OK\nContent-Length: 4\n\nbody", b"body"),
    "a folded header": (
        b"HTTP/1.1 200 OK\r\nX-Long: one\r\n two\r\nContent-Length: 4\r\n\r\nbody",
        b"body",
    ),
    "100 before it": (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"body"), b"body"),
    "103 before it": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>\r\n\r\n" + answer(b"body"),
        b"body",
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    "an upgrade that is offered": (
        answer(b"body", "Upgrade: h2,h2c", "Connection: Upgrade, Keep-Alive"),
        b"body",
    ),
    "a transfer coding that is none of ours": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nbody",
        b"body",
    ),
}


@pytest.mark.parametrize("answer_bytes", TAKEN.values(), ids=TAKEN)
async def test_an_answer_is_taken_that_ends_by(
    make: Make, raw_server: ServeRaw, answer_bytes: tuple[bytes, bytes]
) -> None:
    server = await raw_server(saying(answer_bytes[0], close=True))

    response = await fetch_page(make(), server)

    assert (response.body, response.truncated) == (answer_bytes[1], "")
    assert response.status in {200, 204, 304}
    assert response.header("link") == response.header("set-cookie") == ""


async def test_an_answer_is_the_same_byte_by_byte(make: Make, raw_server: ServeRaw) -> None:
    page = gzip.compress(b"<title>Slowly</title>" * 50)
    whole = answer(page, "Content-Encoding: gzip", "X-One: 1")

    async def slowly(call: RawRequest) -> None:
        for byte in whole:
            await call.say(bytes((byte,)))
            await asyncio.sleep(0)

    server = await raw_server(slowly)

    response = await fetch_page(make(), server)

    assert response.body == b"<title>Slowly</title>" * 50
    assert response.wire_bytes == len(page)
    assert response.header("x-one") == "1"


async def test_headers_come_as_they_were_sent(make: Make, raw_server: ServeRaw) -> None:
    lines = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Twice: 1\r\nX-Utf: caf\xc3\xa9\r\n"
        b"X-Latin: caf\xe9\r\nX-Space: a b \t\r\nX-Empty:\r\nX-Twice: 2\r\n\r\n"
    )
    server = await raw_server(saying(lines))

    response = await fetch_page(make(), server)

    assert response.all_headers("x-twice") == ["1", "2"]
    assert response.header("x-utf") == "caf\u00e9"
    assert response.header("x-latin").encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert response.header("x-space") == "a b"
    assert [name for name, _ in response.headers].count("X-Empty") == 1


# --- answers that are none

NONSENSE: dict[str, bytes] = {
    "no status line": b"<html>hello</html>",
    "no number": b"HTTP/1.1 OK OK\r\n\r\n",
    "HTTP/3": b"HTTP/3.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!",
    "the same length twice": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody"
    ),
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nbody",
    "a length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunks and a length": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
    ),
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nbody",
    "a length beyond 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "a zero byte in a header": b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 4\r\n\r\nbody",
}


@pytest.mark.parametrize("answer_bytes", NONSENSE.values(), ids=NONSENSE)
async def test_no_answer_has(make: Make, raw_server: ServeRaw, answer_bytes: bytes) -> None:
    server = await raw_server(saying(answer_bytes, close=True))

    failed = await failure(fetch_page(make(), server))

    assert (failed.kind, failed.transient) == (ErrorKind.PROTOCOL, False)


CUT: dict[str, tuple[bytes, bytes]] = {
    "less than the length": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", b"body"),
    "no last chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
        b"body",
    ),
}


@pytest.mark.parametrize("answer_bytes", CUT.values(), ids=CUT)
async def test_a_body_that_breaks_off_is_marked_truncated(
    make: Make, raw_server: ServeRaw, answer_bytes: tuple[bytes, bytes]
) -> None:
    server = await raw_server(saying(answer_bytes[0], close=True))

    response = await fetch_page(make(), server)

    assert response.body == answer_bytes[1]
    assert response.truncated.startswith("the body broke off")


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"2\r\nlong\r\n", b"ffffffffffffffffff\r\n"]
)
async def test_chunks_that_are_none_cut_the_body(
    make: Make, raw_server: ServeRaw, chunk: bytes
) -> None:
    server = await raw_server(saying(CHUNKED + b"4\r\nbody\r\n" + chunk, close=True))

    response = await fetch_page(make(), server)

    assert response.body.startswith(b"body")
    assert response.truncated.startswith("the body broke off")


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_a_connection_that_ends_in_the_head_is_no_answer(
    make: Make, raw_server: ServeRaw, beginning: bytes
) -> None:
    server = await raw_server(saying(beginning, close=True))

    failed = await failure(fetch_page(make(), server))

    assert (failed.kind, failed.transient) == (ErrorKind.CONNECT, True)
