import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from crawlyard.demo.request import HttpRequest
from crawlyard.demo.server import MAX_HEAD, Raw, SiteServer
from crawlyard.demo.site import EDITED_AT, Answer
from tests.site import (
    GraphSite,
    Serve,
    ask,
    connected,
    parse_reply,
    read_log,
    site_server,
    talk,
    until,
)

__all__ = ["site_server"]

SITE = GraphSite({"/": ["/a"], "/a": ["/"]})


class Given:
    """A site whose every answer is the one given, or what the given function says."""

    def __init__(self, answer: Answer | Raw) -> None:
        self._answer = answer

    def answer(self, method: str, path: str, host: str) -> Answer | Raw:
        return self._answer


class Failing:
    def answer(self, method: str, path: str, host: str) -> Answer:
        raise ValueError(path)


# --- answers


async def test_a_page_is_served(site_server: Serve) -> None:
    server = await site_server(SITE)

    reply = await ask(server, "/")

    assert reply.status == 200
    assert reply.body == SITE.answer("GET", "/", "").body
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["date"].endswith("GMT")


async def test_head_has_the_headers_without_the_body(site_server: Serve) -> None:
    server = await site_server(SITE)

    reply = await ask(server, "/", method="HEAD")

    assert reply.status == 200
    assert reply.headers["content-length"] == str(len(SITE.answer("GET", "/", "").body))
    assert reply.body == b""


async def test_two_requests_share_a_connection(site_server: Serve) -> None:
    server = await site_server(SITE)

    async with connected(server) as (reader, writer):
        for path in ("/", "/a"):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(parse_reply(head).headers["content-length"]))

    assert [(hit.path, hit.connection) for hit in server.hits] == [("/", 1), ("/a", 1)]


async def test_requests_sent_at_once_are_answered_in_turn(site_server: Serve) -> None:
    server = await site_server(SITE)
    first = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

    raw = await talk(server, first + first + b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")

    assert raw.count(b"HTTP/1.1 200 OK") == 2
    assert raw.count(b"HTTP/1.1 404 Not Found") == 1


@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"],
)
async def test_a_connection_closes_when_the_client_wants_it(
    site_server: Serve, request_: bytes
) -> None:
    server = await site_server(SITE)

    async with connected(server) as (reader, writer):
        writer.write(request_)
        reply = parse_reply(await reader.read())

    assert reply.status == 200
    assert reply.headers["connection"] == "close"


async def test_headers_of_a_site_are_sent_byte_for_byte(site_server: Serve) -> None:
    odd = "/caf\u00c3\u00a9"  # UTF-8, each byte a latin-1 character
    server = await site_server(Given(Answer(302, (("Location", odd), ("Content-Length", "0")))))

    raw = await talk(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")

    assert "Location: /café\r\n".encode() in raw
    assert raw.count(b"Content-Length") == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_no_length(site_server: Serve, status: int) -> None:
    server = await site_server(Given(Answer(status, body=b"never sent")))

    reply = await ask(server, "/")

    assert (reply.status, reply.body) == (status, b"")
    assert "content-length" not in reply.headers


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"If-None-Match": '"1"'}, 304),
        ({"If-None-Match": 'W/"0", W/"1"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"2"'}, 200),
        ({"If-None-Match": '"2"', "If-Modified-Since": EDITED_AT}, 200),
        ({"If-Modified-Since": EDITED_AT}, 304),
        ({"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
    ],
)
async def test_what_has_not_changed_is_not_sent_again(
    site_server: Serve, conditions: dict[str, str], status: int
) -> None:
    headers = (("ETag", '"1"'), ("Last-Modified", EDITED_AT), ("Content-Type", "text/plain"))
    server = await site_server(Given(Answer(200, headers, b"body")))

    reply = await ask(server, "/", *(f"{name}: {value}" for name, value in conditions.items()))

    assert (reply.status, reply.body) == (status, b"body" if status == 200 else b"")
    assert reply.headers["etag"] == '"1"'
    assert ("content-type" in reply.headers) is (status == 200)


async def test_a_site_may_write_its_own_bytes(site_server: Serve) -> None:
    async def raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no HTTP at all")

    server = await site_server(Given(raw))

    assert await talk(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == b"no HTTP at all"
    assert server.hits[0].status is None
    assert server.hits[0].answered_at is not None


async def test_a_site_may_look_at_the_headers(site_server: Serve) -> None:
    class Mirror:
        def answer(self, method: str, path: str, host: str) -> Answer:
            raise AssertionError("answer_request comes first")

        def answer_request(self, request: HttpRequest) -> Answer:
            return Answer(200, body=request.headers["cookie"].encode())

    server = await site_server(Mirror())

    assert (await ask(server, "/", "Cookie: a=1", "Cookie: b=2")).body == b"a=1, b=2"


async def test_a_site_that_fails_is_a_500_and_the_server_goes_on(
    site_server: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = await site_server(Failing())

    statuses = [(await ask(server, "/x")).status for _ in range(2)]

    assert statuses == [500, 500]
    assert "the site failed at /x" in caplog.text


# --- what is no request


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00 \xff\xfe\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400),
        (b"G{T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET relative HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"x" * (4 * MAX_HEAD), 431),
    ],
)
async def test_what_is_no_request_is_refused_and_no_hit(
    site_server: Serve, sent: bytes, status: int
) -> None:
    server = await site_server(SITE)

    refused = parse_reply(await talk(server, sent))

    assert refused.status == status
    assert refused.headers["connection"] == "close"
    assert server.hits == []
    assert (await ask(server, "/")).status == 200


async def test_a_client_that_leaves_in_the_middle_of_a_head_is_forgotten(
    site_server: Serve,
) -> None:
    server = await site_server(SITE)

    assert await talk(server, b"GET / HTTP/1.1\r\nHo") == b""
    assert (await ask(server, "/")).status == 200


async def test_only_get_and_head_are_answered_and_the_others_are_hits(site_server: Serve) -> None:
    server = await site_server(SITE)
    post = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000

    reply = parse_reply(await talk(server, post))

    assert reply.status == 405
    assert reply.headers["allow"] == "GET, HEAD"
    assert [(hit.method, hit.path) for hit in server.hits] == [("POST", "/a")]


async def test_an_absolute_target_is_its_path(site_server: Serve) -> None:
    server = await site_server(SITE)

    reply = parse_reply(await talk(server, b"GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n"))

    assert reply.status == 200
    assert server.hits[0].path == "/a"


# --- hits


async def test_a_hit_records_the_client_the_request_and_the_time(site_server: Serve) -> None:
    server = await site_server(SITE)

    await ask(server, "/a?x=1", "Host: one.test", "User-Agent: tester/1")

    (hit,) = server.hits
    assert (hit.seq, hit.method, hit.path) == (1, "GET", "/a?x=1")
    assert (hit.host, hit.user_agent, hit.connection) == ("one.test", "tester/1", 1)
    assert (hit.status, hit.gone_at) == (404, None)
    assert hit.answered_at is not None
    assert hit.answered_at >= hit.at


async def test_latency_and_delay_add_up(site_server: Serve) -> None:
    server = await site_server(Given(Answer(200, delay_s=0.02)), latency_s=0.03)

    await ask(server, "/")

    (hit,) = server.hits
    assert hit.answered_at is not None
    assert hit.answered_at - hit.at >= 0.05 - 0.005  # a loop may wake a tick early


async def test_a_hit_is_recorded_before_its_response(site_server: Serve) -> None:
    release = asyncio.Event()

    async def raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()

    server = await site_server(Given(raw))
    asking = asyncio.create_task(talk(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"))

    await until(lambda: len(server.hits) == 1)

    assert server.hits[0].answered_at is None
    release.set()
    await asking
    assert server.hits[0].answered_at is not None


async def test_a_client_that_leaves_early_is_gone_and_not_answered(
    site_server: Serve, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    server = await site_server(Given(Answer(200, delay_s=0.05)), log=log)

    async with connected(server) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: len(server.hits) == 1)
        writer.transport.abort()
    await until(lambda: server.hits[0].gone_at is not None)

    assert server.hits[0].answered_at is None
    assert read_log(log)[0].gone_at == server.hits[0].gone_at


async def test_the_log_matches_the_hits(site_server: Serve, tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = await site_server(SITE, log=log)

    for path in ("/", "/a", "/none"):
        await ask(server, path, "User-Agent: tester/1")

    logged = read_log(log)
    for hit in server.hits:
        hit.headers = {}  # the log has none
    assert logged == server.hits
    assert [hit.status for hit in logged] == [200, 200, 404]


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"event": "answered", "se')

    assert read_log(log) == []


async def test_leaving_drops_open_connections(caplog: pytest.LogCaptureFixture) -> None:
    server = SiteServer(Given(Answer(200, delay_s=600)))
    async with AsyncExitStack() as stack:
        async with server:
            idle, _ = await stack.enter_async_context(connected(server))
            reader, writer = await stack.enter_async_context(connected(server))
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await until(lambda: len(server.hits) == 1)

        ends = await asyncio.gather(idle.read(), reader.read(), return_exceptions=True)

    assert all(end == b"" or isinstance(end, ConnectionResetError) for end in ends)
    assert caplog.text == ""
    assert server.hits[0].gone_at is not None


async def test_a_port_that_is_taken_is_an_error(site_server: Serve) -> None:
    server = await site_server(SITE)

    with pytest.raises(OSError, match="in use"):
        await SiteServer(SITE, port=server.port).__aenter__()


async def test_an_ipv6_address_stands_in_brackets(site_server: Serve) -> None:
    try:
        server = await site_server(SITE, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")

    assert server.url == f"http://[::1]:{server.port}"
    assert (await ask(server, "/")).status == 200
