"""Both HTTP clients, asked the same of servers that say exactly what a test gives them."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Protocol

import pytest

from crawlyard.clock import SystemClock
from crawlyard.core.page import ErrorKind
from crawlyard.engine.by_aiohttp import AiohttpFetcher
from crawlyard.engine.by_wire import WireFetcher
from crawlyard.engine.failing import FetchFailed
from crawlyard.engine.fetch import Fetcher, Response
from crawlyard.engine.guard import Guard
from crawlyard.engine.names import Infos, Look, Names, look_up
from crawlyard.engine.urls import hostname_of
from tests.engine.raw import Call, RawServer, ServeRaw, answer, raw_servers, saying
from tests.site import until

CAP = 256 * 1024
HEADERS = {"User-Agent": "Test/1", "Accept-Encoding": "gzip"}


class Make(Protocol):
    """What the fixture `make` gives: a fetcher, closed when the test ends."""

    def __call__(
        self, *, guard: Guard = ..., timeout_s: float = ..., look: Look = ...
    ) -> Fetcher: ...


@pytest.fixture(params=[WireFetcher, AiohttpFetcher], ids=["own", "aiohttp"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    async with AsyncExitStack() as stack:

        def made(
            *,
            guard: Guard = Guard(allow_private=True),  # noqa: B008 - it has no state
            timeout_s: float = 5.0,
            look: Look = look_up,
        ) -> Fetcher:
            timeout = timedelta(seconds=timeout_s)
            fetcher: Fetcher = request.param(guard, timeout, SystemClock(), Names(64, look))
            stack.push_async_callback(fetcher.close)
            return fetcher

        yield made
    assert broken == []  # nothing was raised where nobody sees it


@pytest.fixture
async def raw_server() -> AsyncIterator[ServeRaw]:
    async with raw_servers() as serve:
        yield serve


async def got(fetcher: Fetcher, server: RawServer, cap: int = CAP) -> Response:
    return await fetcher.fetch(server.url, hostname_of(server.url), HEADERS, cap)


async def failure(asked: Awaitable[Response]) -> FetchFailed:
    with pytest.raises(FetchFailed) as raised:
        await asked
    return raised.value


async def came(asked: Awaitable[Response]) -> Response | FetchFailed:
    try:
        return await asked
    except FetchFailed as failed:
        return failed


# --- what is asked


async def test_a_request_has_one_host_and_the_headers_that_were_given(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))

    await got(make(), server)

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

    failed = await failure(make().fetch(server.url, "127.0.0.1", {"X-One": value}, CAP))

    assert failed.kind is ErrorKind.PROTOCOL
    assert server.asked == []


async def test_a_dot_at_the_end_of_a_name_is_not_part_of_the_host(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))
    fetcher = make(look=lambda _, port: look_up("127.0.0.1", port))

    await fetcher.fetch(f"http://site.test.:{server.port}/", "site.test.", HEADERS, CAP)

    assert b"\r\nHost: site.test:" in server.asked[0]


# --- answers that are taken

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

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


@pytest.mark.parametrize("said", TAKEN.values(), ids=TAKEN)
async def test_an_answer_is_taken_that_ends_by(
    make: Make, raw_server: ServeRaw, said: tuple[bytes, bytes]
) -> None:
    server = await raw_server(saying(said[0], close=True))

    response = await got(make(), server)

    assert (response.body, response.truncated) == (said[1], "")
    assert response.status in {200, 204, 304}
    assert response.header("link") == response.header("set-cookie") == ""


async def test_an_answer_is_the_same_byte_by_byte(make: Make, raw_server: ServeRaw) -> None:
    page = gzip.compress(b"<title>Slowly</title>" * 50)
    whole = answer(page, "Content-Encoding: gzip", "X-One: 1")

    async def slowly(call: Call) -> None:
        for byte in whole:
            await call.say(bytes((byte,)))
            await asyncio.sleep(0)

    server = await raw_server(slowly)

    response = await got(make(), server)

    assert response.body == b"<title>Slowly</title>" * 50
    assert response.wire_bytes == len(page)
    assert response.header("x-one") == "1"


async def test_headers_come_as_they_were_sent(make: Make, raw_server: ServeRaw) -> None:
    lines = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Twice: 1\r\nX-Utf: caf\xc3\xa9\r\n"
        b"X-Latin: caf\xe9\r\nX-Space: a b \t\r\nX-Empty:\r\nX-Twice: 2\r\n\r\n"
    )
    server = await raw_server(saying(lines))

    response = await got(make(), server)

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


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
async def test_no_answer_has(make: Make, raw_server: ServeRaw, said: bytes) -> None:
    server = await raw_server(saying(said, close=True))

    failed = await failure(got(make(), server))

    assert (failed.kind, failed.transient) == (ErrorKind.PROTOCOL, False)


CUT: dict[str, tuple[bytes, bytes]] = {
    "less than the length": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", b"body"),
    "no last chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
        b"body",
    ),
}


@pytest.mark.parametrize("said", CUT.values(), ids=CUT)
async def test_a_body_is_told_to_be_cut_that_has(
    make: Make, raw_server: ServeRaw, said: tuple[bytes, bytes]
) -> None:
    server = await raw_server(saying(said[0], close=True))

    response = await got(make(), server)

    assert response.body == said[1]
    assert response.truncated.startswith("the body broke off")


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"2\r\nlong\r\n", b"ffffffffffffffffff\r\n"]
)
async def test_chunks_that_are_none_cut_the_body(
    make: Make, raw_server: ServeRaw, chunk: bytes
) -> None:
    server = await raw_server(saying(CHUNKED + b"4\r\nbody\r\n" + chunk, close=True))
    fetcher = make()

    response = await came(got(fetcher, server))

    if isinstance(response, FetchFailed):
        assert response.kind is ErrorKind.PROTOCOL
        assert isinstance(fetcher, AiohttpFetcher)  # it gives up what came in one piece with it
    else:
        assert response.body.startswith(b"body")
        assert response.truncated.startswith("the body broke off")


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_a_connection_that_ends_in_the_head_is_no_answer(
    make: Make, raw_server: ServeRaw, beginning: bytes
) -> None:
    server = await raw_server(saying(beginning, close=True))

    failed = await failure(got(make(), server))

    assert (failed.kind, failed.transient) == (ErrorKind.CONNECT, True)


# --- what has no end

ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "a status line": (b"HTTP/1.1 200 ", b"very " * 2000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: and so on\r\n" * 500),
    "one header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"and so on " * 1000),
    "interim answers": (b"", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 100),
}


@pytest.mark.parametrize("said", ENDLESS.values(), ids=ENDLESS)
async def test_a_head_without_an_end_is_given_up(
    make: Make, raw_server: ServeRaw, said: tuple[bytes, bytes]
) -> None:
    sent = 0

    async def pour(call: Call) -> None:
        nonlocal sent
        await call.say(said[0])
        while True:
            await call.say(said[1])
            sent += len(said[1])

    server = await raw_server(pour)

    fetcher = make(timeout_s=2)

    failed = await failure(got(fetcher, server))

    assert failed.kind in {ErrorKind.TOO_LARGE, ErrorKind.TIMEOUT, ErrorKind.PROTOCOL}
    if isinstance(fetcher, WireFetcher):
        assert failed.kind is ErrorKind.TOO_LARGE
    await until(lambda: server.left == 1)


AFTER: dict[str, tuple[bytes, bytes]] = {
    "trailers": (b"0\r\n", b"X-More: and so on\r\n" * 500),
    "one trailer": (b"0\r\nX-Long: ", b"and so on " * 1000),
    "an extension of a chunk": (b"4;x=", b"andsoon" * 1000),
    "a body": (b"ffffffff\r\n", b"and so on " * 1000),
}


@pytest.mark.parametrize("said", AFTER.values(), ids=AFTER)
async def test_what_follows_a_chunk_without_an_end_is_given_up(
    make: Make, raw_server: ServeRaw, said: tuple[bytes, bytes]
) -> None:
    async def pour(call: Call) -> None:
        await call.say(CHUNKED + b"4\r\nbody\r\n")
        await call.say(said[0])
        while True:
            await call.say(said[1])

    server = await raw_server(pour)

    fetcher = make(timeout_s=2)

    response = await came(got(fetcher, server))

    if isinstance(response, FetchFailed):
        assert response.kind in {ErrorKind.TIMEOUT, ErrorKind.TOO_LARGE, ErrorKind.PROTOCOL}
        assert isinstance(fetcher, AiohttpFetcher)  # it gives up what came in one piece with it
    else:
        assert response.truncated
        assert response.body.startswith(b"body")
        assert response.wire_bytes <= CAP
    await until(lambda: server.left == 1)


async def test_a_body_beyond_the_cap_is_cut_there_and_its_connection_closed(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x" * 5_000_000)))

    response = await got(make(), server, 1000)

    assert response.body == b"x" * 1000
    assert response.wire_bytes == 1000
    assert response.truncated == "the body is larger than 1000 bytes"
    await until(lambda: server.left == 1)


async def test_a_coding_that_nobody_knows_is_a_failure_and_its_connection_closed(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x" * 200_000, "Content-Encoding: rot13")))

    failed = await failure(got(make(), server))

    assert failed.kind is ErrorKind.DECODE
    await until(lambda: server.left == 1)


async def test_a_switch_of_protocols_is_no_page(make: Make, raw_server: ServeRaw) -> None:
    said = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nxxxx"
    server = await raw_server(saying(said))

    response = await came(got(make(timeout_s=0.3), server))

    if isinstance(response, FetchFailed):
        assert response.kind in {ErrorKind.PROTOCOL, ErrorKind.TIMEOUT}
    else:
        assert (response.status, response.body) == (101, b"")
    await until(lambda: server.left == 1)


# --- connections


async def test_a_connection_is_used_again(make: Make, raw_server: ServeRaw) -> None:
    server = await raw_server(saying(answer(b"x")))
    fetcher = make()

    for _ in range(3):
        await got(fetcher, server)

    assert (server.connections, len(server.asked)) == (1, 3)


PARTING: dict[str, bytes] = {
    "says so": answer(b"x", "Connection: close"),
    "speaks HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "sends more than one answer": answer(b"x") + answer(b"smuggled"),
    "sends more than its length": answer(b"x") + b"more",
    "sends an answer that switches protocols behind another": (
        answer(b"x") + b"HTTP/1.1 101 Smuggled\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxx"
    ),
    "sends a body with a 204": b"HTTP/1.1 204 No\r\n\r\nsmuggled",
}


@pytest.mark.parametrize("said", PARTING.values(), ids=PARTING)
async def test_no_connection_is_used_again_whose_server(
    make: Make, raw_server: ServeRaw, said: bytes
) -> None:
    server = await raw_server(saying(said))
    fetcher = make()

    responses = [await came(got(fetcher, server)) for _ in range(2)]

    for response in responses:
        if isinstance(response, FetchFailed):
            assert response.kind is ErrorKind.PROTOCOL
        else:
            assert b"smuggled" not in response.body
    assert (server.connections, len(server.asked)) == (2, 2)


@pytest.mark.parametrize("make", [WireFetcher], ids=["own"], indirect=True)
async def test_what_comes_between_two_requests_is_nobodys_answer(
    make: Make, raw_server: ServeRaw
) -> None:
    """Aiohttp takes it for the next one: connections of one job to one origin, at least."""
    heard = asyncio.Event()

    async def twice(call: Call) -> None:
        await call.say(answer(b"%d" % call.connection))
        if call.connection == 1:
            await heard.wait()
            await call.say(answer(b"smuggled"))

    server = await raw_server(twice)
    fetcher = make()

    first = await got(fetcher, server)
    heard.set()
    await until(lambda: server.left == 1)  # it is closed at once
    second = await got(fetcher, server)

    assert (first.body, second.body) == (b"1", b"2")


async def test_a_connection_that_the_server_closed_meanwhile_is_not_asked(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x"), close=True))
    fetcher = make()

    await got(fetcher, server)
    await until(lambda: server.left == 1)
    await asyncio.sleep(0)
    second = await got(fetcher, server)

    assert second.body == b"x"
    assert (server.connections, len(server.asked)) == (2, 2)


async def test_a_kept_connection_that_drops_is_not_asked_again_by_itself(
    make: Make, raw_server: ServeRaw
) -> None:
    async def once(call: Call) -> None:
        if call.number == 1:
            await call.say(answer(b"x"))
        else:
            call.writer.transport.abort()

    server = await raw_server(once)
    fetcher = make()

    await got(fetcher, server)
    failed = await failure(got(fetcher, server))

    assert (failed.kind, failed.transient) == (ErrorKind.CONNECT, True)
    assert len(server.asked) == 2


async def test_a_request_that_is_given_up_closes_its_connection(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(Call.gone)
    task = asyncio.create_task(got(make(), server))
    await until(lambda: len(server.asked) == 1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.left == 1)


async def test_a_request_that_takes_too_long_is_given_up_and_its_connection_closed(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(Call.gone)

    failed = await failure(got(make(timeout_s=0.2), server))

    assert (failed.kind, failed.transient) == (ErrorKind.TIMEOUT, True)
    assert failed.detail == "no whole answer within 0.2 s"
    await until(lambda: server.left == 1)


async def test_closing_ends_what_is_kept_and_what_is_under_way(
    make: Make, raw_server: ServeRaw
) -> None:
    async def first(call: Call) -> None:
        if call.connection == 1:
            await call.say(answer(b"x"))
        else:
            await call.gone()

    server = await raw_server(first)
    fetcher = make()
    kept = await got(fetcher, server)
    other = await raw_server(Call.gone)
    waiting = asyncio.create_task(got(fetcher, other))
    await until(lambda: len(other.asked) == 1)

    await fetcher.close()

    assert kept.body == b"x"
    assert (await failure(waiting)).kind in {ErrorKind.CONNECT, ErrorKind.PROTOCOL}
    await until(lambda: server.left == other.left == 1)


# --- addresses


async def test_the_next_address_of_a_name_is_tried_when_one_refuses(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))

    def look(host: str, port: int) -> Infos:
        return [*look_up("127.0.0.9", port), *look_up("127.0.0.1", port)]

    fetcher = make(look=look)

    response = await fetcher.fetch(f"http://site.test:{server.port}/", "site.test", HEADERS, CAP)

    assert response.body == b"x"


async def test_each_address_of_a_name_passes_the_guard(make: Make, raw_server: ServeRaw) -> None:
    server = await raw_server(saying(answer(b"x")))

    def look(host: str, port: int) -> Infos:
        return [*look_up("127.0.0.1", port), *look_up("127.0.0.9", port)]

    fetcher = make(look=look, guard=Guard(("127.0.0.9",)))

    failed = await failure(
        fetcher.fetch(f"http://site.test:{server.port}/", "site.test", HEADERS, CAP)
    )

    assert failed.kind in {ErrorKind.BLOCKED_ADDRESS, ErrorKind.CONNECT}
    assert server.connections == 0


async def test_a_name_that_leads_inside_at_its_next_look_up_is_blocked(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))
    fetcher = make(look=lambda _, port: look_up("127.0.0.1", port), guard=Guard())

    failed = await failure(
        fetcher.fetch(f"http://site.test:{server.port}/", "site.test", HEADERS, CAP)
    )

    assert failed.kind is ErrorKind.BLOCKED_ADDRESS
    assert "site.test leads to 127.0.0.1" in failed.detail
    assert server.connections == 0


@pytest.mark.parametrize(
    "literal", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0"]
)
async def test_no_literal_of_the_inside_is_connected_to(
    make: Make, raw_server: ServeRaw, literal: str
) -> None:
    server = await raw_server(saying(answer(b"x")))
    url = f"http://{literal}:{server.port}/"

    failed = await failure(make(guard=Guard()).fetch(url, hostname_of(url), HEADERS, CAP))

    assert failed.kind is ErrorKind.BLOCKED_ADDRESS
    assert server.connections == 0


async def test_a_name_without_an_address_says_so(make: Make) -> None:
    def look(host: str, port: int) -> Infos:
        raise OSError("no such name")

    failed = await failure(make(look=look).fetch("http://no.test/", "no.test", HEADERS, CAP))

    assert (failed.kind, failed.transient) == (ErrorKind.DNS, True)
    assert failed.detail == "no.test has no address"


async def test_a_port_that_nobody_listens_on_is_no_connection(
    make: Make, raw_server: ServeRaw
) -> None:
    failed = await failure(make().fetch("http://127.0.0.1:1/", "127.0.0.1", HEADERS, CAP))

    assert (failed.kind, failed.transient) == (ErrorKind.CONNECT, True)


async def test_a_name_is_looked_up_once_for_many_connections(
    make: Make, raw_server: ServeRaw
) -> None:
    looked = []

    def look(host: str, port: int) -> Infos:
        looked.append(host)
        return look_up("127.0.0.1", port)

    server = await raw_server(saying(answer(b"x", "Connection: close")))
    fetcher = make(look=look)
    url = f"http://site.test:{server.port}/"

    for _ in range(3):
        await fetcher.fetch(url, "site.test", HEADERS, CAP)
    await asyncio.gather(*(fetcher.fetch(url, "site.test", HEADERS, CAP) for _ in range(3)))

    assert looked == ["site.test"]
    assert server.connections == 6
