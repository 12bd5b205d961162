"""Connections: time limits, and responses that clients do not read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count

import pytest

from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web import server
from tests.web.live_rig import PATIENCE_S, LiveRig, a_live_rig
from tests.web.raw import END, Deaf, deaf, head, wire
from tests.web.test_live import until_open

SOON_S = 0.3
GET = "GET /api/v1/meta HTTP/1.1"
LARGE = "GET /api/v1/openapi.json HTTP/1.1"  # half a megabyte
ZIPPED = "Accept-Encoding: gzip"  # more than the system takes, less than makes the server wait


@pytest.fixture
async def hasty() -> AsyncIterator[LiveRig]:
    """A server that waits for whole requests, and for readers, for SOON_S alone."""
    async with a_live_rig(open_in_memory(), send_buffer=4096, request_s=SOON_S, idle_s=1) as live:
        yield live


@pytest.fixture
async def idle() -> AsyncIterator[LiveRig]:
    """The same, which waits long for a request to begin."""
    async with a_live_rig(open_in_memory(), request_s=SOON_S) as live:
        yield live


# --- time to ask


async def test_the_time_of_the_first_request_runs_from_its_first_byte(idle: LiveRig) -> None:
    async with wire(idle) as peer:
        await asyncio.sleep(2 * SOON_S)  # an idle new connection: the wait is the test
        await peer.send(head(idle, GET))
        first = await peer.answer()
        await peer.send(b"GET /api")
        second = await peer.answer()

    assert (first.status, second.status, second.code) == (200, 408, "too_slow")


async def test_a_body_that_came_after_its_answer_leaves_the_next_request_its_time(
    idle: LiveRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LINGER_S", SOON_S)
    async with wire(idle) as peer:
        await peer.send(head(idle, GET, "Content-Length: 5") + b"x")
        first = await peer.answer()
        await peer.send(b"xxxx")
        await asyncio.sleep(2 * SOON_S)  # nothing is thrown away any more: the wait is the test
        await peer.send(head(idle, GET))
        second = await peer.answer()

    assert (first.status, second.status) == (200, 200)


async def test_who_sent_a_body_after_its_answer_and_then_nothing_is_let_go(hasty: LiveRig) -> None:
    async with wire(hasty) as peer:
        await peer.send(head(hasty, GET, "Content-Length: 5") + b"x")
        answer = await peer.answer()
        await peer.send(b"xxxx")
        rest = await peer.closed()
    assert (answer.status, rest) == (200, b"")


async def test_time_runs_for_a_request_that_began_behind_another(hasty: LiveRig) -> None:
    async with wire(hasty) as peer:
        await peer.send(head(hasty, GET) + b"GET /api")
        first, second = await peer.answer(), await peer.answer()
    assert (first.status, second.status, second.code) == (200, 408, "too_slow")


async def test_a_head_that_is_refused_has_no_body_and_ends_the_connection(
    hasty: LiveRig, caplog: pytest.LogCaptureFixture
) -> None:
    async with wire(hasty) as peer:
        first = head(hasty, "HEAD /api/v1/meta HTTP/1.1", "Transfer-Encoding: chunked")
        await peer.send(first + b"zz\r\n")
        answer = await peer.closed()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.index(END) == len(answer) - len(END)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# --- too many connections


async def test_beyond_the_most_connections_a_request_is_refused_until_one_has_ended() -> None:
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(a_live_rig(open_in_memory(), max_connections=3))
        peers = [await stack.enter_async_context(wire(live)) for _ in range(3)]
        for peer in peers:
            await peer.send(head(live, GET))
            assert (await peer.answer()).status == 200

        async with wire(live) as further:
            await further.send(head(live, GET))
            refused = await further.answer()
            rest = await further.closed()
        assert (refused.status, refused.code, rest) == (503, "unavailable", b"")
        assert refused.headers["retry-after"] == "2"

        await peers[0].send(head(live, GET, "Connection: close"))
        assert (await peers[0].answer()).status == 200
        await peers[0].closed()
        async with wire(live) as later, asyncio.timeout(PATIENCE_S):
            await later.send(head(live, GET))
            assert (await later.answer()).status == 200
            await peers[1].send(head(live, GET))  # earlier connections stay
            assert (await peers[1].answer()).status == 200


async def test_a_silent_connection_over_the_limit_is_refused_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "LINGER_S", SOON_S)
    async with a_live_rig(open_in_memory(), max_connections=1) as live, wire(live) as first:
        await first.send(head(live, GET))
        assert (await first.answer()).status == 200
        async with wire(live) as silent:
            assert (await silent.answer()).status == 503
            assert await silent.closed() == b""


async def test_of_a_flood_of_connections_a_few_are_kept_and_the_others_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "LINGER_S", 2 * PATIENCE_S)
    monkeypatch.setattr(server, "MAX_REFUSALS", 2)
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(a_live_rig(open_in_memory(), max_connections=3))
        for _ in range(3 + 2):
            await stack.enter_async_context(wire(live))
        for _ in range(4):
            async with wire(live) as silent:
                assert (await silent.answer()).status == 503
                assert await silent.closed() == b""


# --- responses that are not read


async def send_until_closed(peer: Deaf, data: bytes) -> None:
    """Send *data* again and again until the other side has broken off."""
    async with asyncio.timeout(120):
        for _ in count():
            if not await peer.send(data):
                return
            await asyncio.sleep(SOON_S / 10)  # as fast as who asks on: the wait is the test


async def test_a_client_that_pipelines_and_never_reads_is_disconnected(hasty: LiveRig) -> None:
    async with deaf(hasty) as peer:
        await send_until_closed(peer, head(hasty, LARGE))


async def test_who_does_not_read_a_stream_is_let_go(hasty: LiveRig) -> None:
    async with deaf(hasty) as peer, asyncio.timeout(120):
        await peer.send(head(hasty, "GET /api/v1/events/stream?topics=jobs HTTP/1.1"))
        await until_open(hasty, 1)
        while hasty.rig.site.live.streams:
            await hasty.job()


async def test_who_reads_an_answer_slowly_gets_all_of_it() -> None:
    read = b""
    async with a_live_rig(open_in_memory(), send_buffer=4096, request_s=1) as live:
        plain = {"Accept-Encoding": "identity"}
        whole = await live.client.get("/api/v1/openapi.json", headers=plain)
        async with deaf(live) as peer:
            await peer.send(head(live, LARGE, "Connection: close"))
            while part := await peer.read(8192):
                read += part
                await asyncio.sleep(0.006)  # twice as long in all as one may read nothing

    assert read.endswith(END + whole.content)


@pytest.mark.parametrize("way", ["the client ends it", "it was to end", "it is idle"])
async def test_a_connection_that_ends_does_not_wait_for_who_reads_nothing(
    hasty: LiveRig, way: str
) -> None:
    whole = await hasty.client.get("/api/v1/openapi.json", headers={"Accept-Encoding": "gzip"})
    length = int(whole.headers["content-length"])
    lines = (ZIPPED, "Connection: close") if way == "it was to end" else (ZIPPED,)
    async with deaf(hasty) as peer:
        await peer.send(head(hasty, LARGE, *lines))
        begin = await peer.read(1000)
        if way == "the client ends it":
            peer.end()
        await asyncio.sleep((1 if way == "it is idle" else 0) + 3 * SOON_S)  # the wait is the test
        rest = await peer.rest()

    assert begin.startswith(b"HTTP/1.1 200 ")
    assert len(begin) + len(rest) < length
