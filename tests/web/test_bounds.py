"""Limits on time and size of socket input; the server survives."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from time import process_time

import pytest

from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.routes import DEEPEST
from crawlyard.web.site import MAX_BODY_BYTES, MAX_FILE_BYTES, MAX_HEAD_BYTES
from tests.web.live_rig import LiveRig, a_live_rig
from tests.web.raw import END, RawConnection, chunked, head, wire
from tests.web.rig import problem

SOON_S = 0.3
MOST_CPU_S = 2.0
CHUNK = b" " * (64 * 1024)
GET = "GET /api/v1/meta HTTP/1.1"


@pytest.fixture
async def live() -> AsyncIterator[LiveRig]:
    async with a_live_rig(open_in_memory()) as rig:
        yield rig


@pytest.fixture
async def hasty() -> AsyncIterator[LiveRig]:
    """A server that waits for a request for SOON_S alone, and for its begin a second."""
    async with a_live_rig(open_in_memory(), request_s=SOON_S, idle_s=1) as rig:
        yield rig


async def still_answers(live: LiveRig) -> bool:
    return (await live.client.get("/healthz")).status_code == 200


@contextmanager
def cheap() -> Iterator[None]:
    """Fail if what is done meanwhile takes much of the processor, however busy the machine is."""
    spent = process_time()
    yield
    assert process_time() - spent < MOST_CPU_S


async def trickled(peer: RawConnection, data: bytes) -> None:
    """Send a byte after the other until the other side takes no more."""
    for byte in data:
        if not await peer.send(bytes([byte])):
            return
        await asyncio.sleep(SOON_S / 10)  # as slow as a client may be: the wait is the test


# --- slow clients


async def test_headers_that_trickle_in_are_refused_in_time(hasty: LiveRig) -> None:
    async with wire(hasty) as peer, asyncio.TaskGroup() as group:
        group.create_task(trickled(peer, head(hasty, GET, "X-Long: " + "x" * 500)))
        answer = await peer.answer()
        rest = await peer.closed()

    assert (answer.status, answer.code, rest) == (408, "too_slow", b"")
    assert answer.headers["connection"] == "close"
    assert await still_answers(hasty)


async def test_a_body_that_trickles_in_is_refused_in_time(
    hasty: LiveRig, caplog: pytest.LogCaptureFixture
) -> None:
    async with wire(hasty) as peer:
        await peer.send(head(hasty, "POST /api/v1/views HTTP/1.1", "Content-Length: 500"))
        async with asyncio.TaskGroup() as group:
            group.create_task(trickled(peer, b" " * 500))
            answer = await peer.answer()
            rest = await peer.closed()

    assert (answer.status, answer.code, rest) == (408, "too_slow", b"")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_unread_body_has_a_deadline_too(hasty: LiveRig) -> None:
    async with wire(hasty) as peer:
        await peer.send(head(hasty, GET, "Content-Length: 500") + b"x")
        answer = await peer.answer()
        async with asyncio.TaskGroup() as group:
            group.create_task(trickled(peer, b" " * 500))
            await peer.closed()

    assert answer.status == 200


async def test_who_sends_nothing_is_let_go(hasty: LiveRig) -> None:
    async with wire(hasty) as silent, wire(hasty) as blank:
        await blank.send(b"\r\n")
        assert await silent.closed() == b""
        await blank.closed()


async def test_a_complete_request_may_wait_for_its_response(hasty: LiveRig) -> None:
    job_id = await hasty.job()
    path = f"/api/v1/jobs/{job_id}/wait"
    secret = {"Authorization": f"Bearer {hasty.rig.secrets['local']}"}
    answer = await hasty.client.get(path, params={"timeout_s": 3 * SOON_S}, headers=secret)
    assert answer.status_code == 200


async def test_many_who_send_nothing_do_not_keep_others_out(live: LiveRig) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(300):
            peer = await stack.enter_async_context(wire(live))
            await peer.send(b"GET /api/v1/me")

        async with asyncio.timeout(60):  # they would be let go after 30
            assert await still_answers(live)
            assert await live.job()


# --- large requests


async def test_a_body_that_says_it_is_too_large_is_not_read(live: LiveRig) -> None:
    length = f"Content-Length: {MAX_BODY_BYTES + 1}"
    async with wire(live) as peer:
        await peer.send(head(live, "POST /api/v1/views HTTP/1.1", length))
        answer = await peer.answer()
        assert (answer.status, answer.code) == (413, "payload_too_large")
        assert await peer.closed() == b""


async def test_a_chunked_body_without_end_is_refused_while_it_is_read(live: LiveRig) -> None:
    chunk = next(iter(chunked([CHUNK])))
    sent = 0
    tracemalloc.start()
    for path, most in [
        ("/api/v1/views", MAX_BODY_BYTES),
        ("/api/v1/templates/import", MAX_FILE_BYTES),
    ]:
        async with wire(live) as peer:
            await peer.send(head(live, f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked"))
            answering = asyncio.create_task(peer.answer())
            while sent < 100 * most and not answering.done() and await peer.send(chunk):
                sent += len(CHUNK)
            answer = await answering
            while await peer.send(chunk):  # it goes on, and the connection is closed
                pass
            _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert (answer.status, answer.code) == (413, "payload_too_large"), path
        assert sent < 20 * most, path  # beside what the system buffers
        assert peak < 4 * most + (8 << 20), path
        assert await still_answers(live), path


async def test_headers_beyond_the_bound_are_refused(live: LiveRig) -> None:
    for name, lines in {
        "many headers": [f"X-{n}: x" for n in range(100_000)],
        "a long header": ["X: " + "x" * (MAX_HEAD_BYTES + 1)],
        "many cookies": ["Cookie: " + "a=b; " * 100_000],
    }.items():
        async with wire(live) as peer:
            await peer.send(head(live, GET, *lines))
            answer = await peer.answer()
        assert (answer.status, answer.code) == (431, "head_too_large"), name
        assert await still_answers(live), name


async def test_a_url_beyond_the_bound_is_refused(live: LiveRig) -> None:
    for place in ["path", "query"]:
        mark = "?q=" if place == "query" else ""
        async with wire(live) as peer:
            await peer.send(head(live, f"GET /api/v1/jobs/{mark}{'x' * 1_000_000} HTTP/1.1"))
            answer = await peer.answer()
        assert (answer.status, answer.code) == (431, "head_too_large"), place


async def test_as_many_headers_as_may_be_cost_little(live: LiveRig) -> None:
    lines = [f"x{n}: y" for n in range(6_000)]
    async with wire(live) as peer:
        with cheap():
            await peer.send(head(live, GET, *lines))
            answer = await peer.answer()
    assert answer.status == 200


# --- bodies that are no JSON that we keep


async def test_what_is_no_json_that_can_be_kept_is_malformed(live: LiveRig) -> None:
    for body in [
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b'{"name": ' + b"[" * DEEPEST + b"]" * DEEPEST + b"}",
        b'{"name": "a\\u0000b"}',
        b'{"na\\u0000me": "a"}',
        b'{"name": "a\x00b"}',
        b'{"name": "\\ud800"}',
        b'{"name": "\\udfff\\ud800"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\xff"}',
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": "a"',
        b"\xef\xbb\xbf[]]",
        b'"\\',
    ]:
        async with wire(live) as peer:
            line = f"Content-Length: {len(body)}"
            with cheap():
                await peer.send(head(live, "POST /api/v1/views HTTP/1.1", line) + body)
                answer = await peer.answer()

        assert (answer.status, answer.code) == (400, "malformed"), body


@pytest.mark.parametrize("name", ["a\\\\u0000b", "\\ud83d\\ude00"])
async def test_what_only_looks_so_is_taken(live: LiveRig, name: str) -> None:
    body = f'{{"name": "{name}"}}'.encode()
    async with wire(live) as peer:
        line = f"Content-Length: {len(body)}"
        await peer.send(head(live, "POST /api/v1/views HTTP/1.1", line) + body)
        answer = await peer.answer()

    assert answer.status == 201
    assert json.loads(answer.body)["name"] == json.loads(body)["name"]


async def test_nul_in_a_url_is_malformed(live: LiveRig) -> None:
    for path in ("jobs/a%00b", "jobs?q=%00", "templates/%2500%00"):
        assert problem(await live.rig.get(path)) == (400, "malformed")


# --- requests that two servers could read in two ways


SMUGGLED = "GET /api/v1/meta HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

ODD: dict[str, tuple[str, ...]] = {
    "both lengths": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "two lengths": ("Content-Length: 5", "Content-Length: 6"),
    "a list of lengths": ("Content-Length: 5, 6",),
    "a signed length": ("Content-Length: +5",),
    "a negative length": ("Content-Length: -5",),
    "a length in hex": ("Content-Length: 0x5",),
    "a length of many digits": ("Content-Length: " + "9" * 30,),
    "an unknown coding": ("Transfer-Encoding: xchunked",),
    "two codings": ("Transfer-Encoding: gzip, chunked",),
    "a coding twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "a coding after a tab": ("Transfer-Encoding:\x0bchunked",),
    "a space before the colon": ("Content-Length : 5",),
    "a name with a space": ("Content Length: 5",),
    "no name": (": 5",),
    "a second host": ("Host: evil.example",),
    "a NUL in a header": ("X: a\x00b",),
    "a CR in a header": ("X: a\rTransfer-Encoding: chunked",),
}


async def test_a_request_that_is_ambiguous_is_refused_and_no_second_one_is_seen(
    live: LiveRig,
) -> None:
    for name, lines in ODD.items():
        async with wire(live) as peer:
            await peer.send(head(live, "POST /api/v1/views HTTP/1.1", *lines))
            await peer.send(b"0\r\n\r\n" + SMUGGLED.encode())
            answer = await peer.answer()
            rest = await peer.closed()

        assert answer.status in {400, 413}, name
        assert answer.code in {"malformed", "payload_too_large"}, name
        assert rest == b"", name


async def test_what_is_no_http_is_malformed(live: LiveRig) -> None:
    for first in [
        "GET /api/v1/meta",  # HTTP/0.9
        "GET /api/v1/meta HTTP/2.0",
        "GET  /api/v1/meta HTTP/1.1",
        "GET /api/v1/meta HTTP/1.1 HTTP/1.1",
        "G\x00T /api/v1/meta HTTP/1.1",
        "GET /api/v1/m\xe9ta HTTP/1.1",
        "PRI * HTTP/2.0",
        "\x16\x03\x01\x02\x00\x01\x00",  # TLS to a port without
    ]:
        async with wire(live) as peer:
            await peer.send(head(live, first))
            answer = await peer.answer()
            rest = await peer.closed()
        assert (answer.status, answer.code, rest) == (400, "malformed", b""), first


async def test_a_target_that_is_no_path_of_ours_is_not_found(live: LiveRig) -> None:
    for first in [
        "GET http://evil.example/api/v1/meta HTTP/1.1",
        "GET * HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
    ]:
        async with wire(live) as peer:
            await peer.send(head(live, first))
            answer = await peer.answer()
        assert answer.status in {400, 404, 405}, first
        assert answer.code in {"malformed", "not_found", "method_not_allowed"}, first


@pytest.mark.parametrize("size", [b"zz", b"-1", b"0x5", b"5;" + b"x" * 100_000, b"f" * 30])
async def test_a_chunk_of_no_size_is_refused(
    live: LiveRig, size: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with wire(live) as peer:
        await peer.send(head(live, "POST /api/v1/views HTTP/1.1", "Transfer-Encoding: chunked"))
        await peer.send(size + b"\r\n" + SMUGGLED.encode())
        answer = await peer.answer()
        rest = await peer.closed()

    assert answer.status in {400, 413, 431}
    assert answer.code in {"malformed", "payload_too_large", "head_too_large"}
    assert rest == b""
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_requests_in_a_row_are_answered_in_their_order(live: LiveRig) -> None:
    body = b'{"name": "first"}'
    async with wire(live) as peer:
        line = f"Content-Length: {len(body)}"
        await peer.send(head(live, "POST /api/v1/views HTTP/1.1", line) + body + head(live, GET))
        first, second = await peer.answer(), await peer.answer()
    assert (first.status, second.status) == (201, 200)


async def test_a_protocol_that_is_not_spoken_is_answered_as_http(live: LiveRig) -> None:
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    async with wire(live) as peer:
        await peer.send(head(live, GET, *lines))
        answer = await peer.answer()
    assert answer.status == 200
    assert END not in answer.body
