"""Messages to webhooks, as they leave and as they are answered."""

import asyncio
import gzip
import threading
from datetime import timedelta

import pytest

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.webhooks.webhook import EXCERPT
from crawlyard.engine.http.dns import Infos, Resolver, look_up
from crawlyard.engine.http.fetch import FetchFailed, NotContacted
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.webhook_post import Poster, PostResponse
from crawlyard.errors import Invalid
from tests.engine.raw import CHUNKED, RawRequest, RawServer, Say, ServeRaw, answer, saying
from tests.site import until

OPEN = Guard(allow_private=True)
BODY = b'{"type":"job.created"}'


async def posted(server: RawServer, timeout_s: float = 5.0, agent: str = "Test/1") -> PostResponse:
    poster = Poster(agent, timedelta(seconds=timeout_s))
    return await poster.post(server.url, {"webhook-id": "msg_1"}, BODY, OPEN)


async def failure(url: str, poster: Poster, guard: Guard = OPEN) -> FetchFailed:
    with pytest.raises(FetchFailed) as raised:
        await poster.post(url, {}, BODY, guard)
    return raised.value


async def test_a_message_is_one_request_on_a_connection_of_its_own(raw_server: ServeRaw) -> None:
    bodies = []

    async def read(call: RawRequest) -> None:
        bodies.append(await call.reader.readexactly(len(BODY)))
        await call.say(answer(b"thanks", "Retry-After: 7"))

    server = await raw_server(read)

    responses = [await posted(server) for _ in range(2)]

    line, *fields = server.asked[0].decode().split("\r\n")
    assert line == "POST /page?q=1 HTTP/1.1"
    assert fields == [
        f"Host: 127.0.0.1:{server.port}",
        "Content-Type: application/json",
        "User-Agent: Test/1",
        "Accept-Encoding: identity",
        "Connection: close",
        "webhook-id: msg_1",
        f"Content-Length: {len(BODY)}",
        "",
        "",
    ]
    assert bodies == [BODY, BODY]
    assert responses == [PostResponse(status=200, retry_after="7", excerpt="thanks")] * 2
    assert (server.connections, len(server.asked)) == (2, 2)
    await until(lambda: server.ended == 2)  # though the server would keep them


@pytest.mark.parametrize("text", ["a\r\nX-Smuggled: 1", "a\nX-Smuggled: 1", "a\rb", "a\0b"])
async def test_a_message_whose_header_has_a_line_break_is_not_sent(
    raw_server: ServeRaw, text: str
) -> None:
    server = await raw_server(saying(answer(b"x")))

    for headers in ({"X-One": text}, {text: "1"}):
        with pytest.raises(FetchFailed, match="a line break") as raised:
            await Poster("Test/1").post(server.url, headers, BODY, OPEN)
        assert raised.value.kind is ErrorKind.PROTOCOL
    assert (await failure(server.url, Poster(text))).kind is ErrorKind.PROTOCOL
    assert server.connections == 0


async def test_line_breaks_in_a_body_do_not_end_it(raw_server: ServeRaw) -> None:
    body = b"\r\n\r\nPOST /smuggled HTTP/1.1\r\n\r\n"
    bodies = []

    async def read(call: RawRequest) -> None:
        bodies.append(await call.reader.readexactly(len(body)))
        await call.say(answer(b""))

    server = await raw_server(read)

    await Poster("Test/1").post(server.url, {}, body, OPEN)

    assert bodies == [body]
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in server.asked[0]
    assert len(server.asked) == 1


async def test_a_line_break_in_a_url_does_not_reach_the_request(raw_server: ServeRaw) -> None:
    server = await raw_server(saying(answer(b"x")))

    await Poster("Test/1").post(f"{server.url}\r\nX-Smuggled:1", {}, b"", OPEN)

    assert b"\nX-Smuggled" not in server.asked[0]
    with pytest.raises(Invalid):
        await Poster("Test/1").post("no URL", {}, BODY, OPEN)


async def _pouring(call: RawRequest) -> None:
    await call.say(CHUNKED)
    while True:
        await call.say(b"8\r\nthanks! \r\n" * 100)


async def _halting(call: RawRequest) -> None:
    await call.say(b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\nthanks")
    await call.wait_closed()


async def _aborting(call: RawRequest) -> None:
    await call.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthanks")
    call.writer.transport.abort()


ANSWERS: dict[str, tuple[Say, str]] = {
    "never ends": (_pouring, "thanks! " * (EXCERPT // 8)),
    "is long": (saying(answer(b"x" * 5_000_000)), "x" * EXCERPT),
    "stops": (_halting, "thanks"),
    "breaks off": (_aborting, "thanks"),
    "has a broken chunk": (saying(CHUNKED + b"6\r\nthanks\r\nzz\r\n"), "thanks"),
    "is no UTF-8": (saying(answer(b"thanks \xff")), "thanks \ufffd"),
    "has an unknown coding": (
        saying(answer(b"thanks", "Content-Encoding: rot13")),
        "thanks",
    ),
    "is not what its coding says": (saying(answer(b"thanks", "Content-Encoding: gzip")), "thanks"),
    "is missing": (saying(b"HTTP/1.1 204 No Content\r\n\r\n"), ""),
    "follows an interim answer": (
        saying(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"thanks")),
        "thanks",
    ),
}


@pytest.mark.parametrize(("say", "excerpt"), ANSWERS.values(), ids=ANSWERS)
async def test_the_status_decides_though_the_body(
    raw_server: ServeRaw, say: Say, excerpt: str
) -> None:
    server = await raw_server(say)

    response = await posted(server, timeout_s=0.5 if say is _halting else 5.0)

    assert response.status in {200, 204}
    assert response.excerpt == excerpt
    assert response.retry_after == ("7" if say is _halting else "")
    await until(lambda: server.ended == 1)


async def test_a_compressed_answer_is_not_unpacked(raw_server: ServeRaw) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    server = await raw_server(saying(answer(bomb, "Content-Encoding: gzip")))

    response = await posted(server)

    assert response.excerpt == bomb[:EXCERPT].decode(errors="replace")


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirect_is_an_answer(raw_server: ServeRaw, status: int) -> None:
    inside = await raw_server(saying(answer(b"secret")))
    moved = answer(b"", f"Location: {inside.url}", status=f"{status} Moved")
    server = await raw_server(saying(moved))

    response = await posted(server)

    assert response.status == status
    assert inside.connections == 0


# --- without an answer


async def _silent(call: RawRequest) -> None:
    await call.wait_closed()


async def _half_a_head(call: RawRequest) -> None:
    await call.say(b"HTTP/1.1 200 OK\r\nContent-")
    await call.wait_closed()


FAILURES: dict[str, tuple[Say, ErrorKind, bool]] = {
    "is silent": (_silent, ErrorKind.TIMEOUT, True),
    "stops in the head": (_half_a_head, ErrorKind.TIMEOUT, True),
    "closes": (saying(b"", close=True), ErrorKind.CONNECT, True),
    "closes in the head": (saying(b"HTTP/1.1 200 OK\r\nC", close=True), ErrorKind.CONNECT, True),
    "speaks SMTP": (saying(b"220 smtp.example.org ESMTP\r\n"), ErrorKind.PROTOCOL, False),
    "has too many headers": (
        saying(b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 300 + b"\r\n"),
        ErrorKind.TOO_LARGE,
        False,
    ),
}


@pytest.mark.parametrize(("say", "kind", "transient"), FAILURES.values(), ids=FAILURES)
async def test_there_is_no_answer_from_a_receiver_that(
    raw_server: ServeRaw, say: Say, kind: ErrorKind, transient: bool
) -> None:
    server = await raw_server(say)
    timeout_s = 0.3 if kind is ErrorKind.TIMEOUT else 5.0

    failed = await failure(server.url, Poster("Test/1", timedelta(seconds=timeout_s)))

    assert (failed.kind, failed.transient) == (kind, transient)
    await until(lambda: server.ended == 1)


async def test_the_time_for_a_message_includes_the_look_up() -> None:
    over = threading.Event()

    def look(_: str, port: int) -> Infos:
        over.wait(20)
        return look_up("127.0.0.1", port)

    poster = Poster("Test/1", timedelta(seconds=0.2), Resolver(8, look))
    failed = await failure("http://site.test/", poster)
    over.set()

    assert (failed.kind, failed.detail) == (ErrorKind.TIMEOUT, "no complete response within 0.2 s")


async def test_a_receiver_whose_lookup_has_to_wait_is_not_contacted() -> None:
    poster = Poster("Test/1", names=Resolver(0))

    with pytest.raises(NotContacted, match="0 other names are being looked up"):
        await poster.post("http://site.test/", {}, BODY, OPEN)


async def test_a_name_without_an_address_and_a_closed_port_are_failures() -> None:
    def look(host: str, port: int) -> Infos:
        if host == "no.test":
            raise OSError("no such name")
        return look_up("127.0.0.1", port)

    poster = Poster("Test/1", names=Resolver(8, look))

    nameless = await failure("http://no.test/", poster)
    closed = await failure("http://site.test:1/", poster)

    assert (nameless.kind, nameless.transient) == (ErrorKind.DNS, True)
    assert (closed.kind, closed.transient) == (ErrorKind.CONNECT, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "site.test"])
async def test_no_connection_is_made_to_an_address_that_the_guard_refuses(
    raw_server: ServeRaw, host: str
) -> None:
    server = await raw_server(saying(answer(b"x")))
    poster = Poster("Test/1", names=Resolver(8, lambda _, port: look_up("127.0.0.1", port)))

    failed = await failure(f"http://{host}:{server.port}/", poster, Guard())

    assert (failed.kind, failed.transient) == (ErrorKind.BLOCKED_ADDRESS, False)
    assert server.connections == 0


async def test_a_message_that_is_given_up_closes_its_connection(raw_server: ServeRaw) -> None:
    server = await raw_server(RawRequest.wait_closed)
    task = asyncio.create_task(posted(server))
    await until(lambda: len(server.asked) == 1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.ended == 1)
