"""The connections of the HTTP client, without its requests."""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
import uvloop

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.http.connect import Connector
from crawlyard.engine.http.connection import ClientConnection, ConnectionPool
from crawlyard.engine.http.dns import Resolver
from crawlyard.engine.http.fetch import FetchFailed
from crawlyard.engine.http.guard import spec_guard
from crawlyard.engine.http.response_parser import ResponseParser
from tests.site import until


class Peers:
    """Connections with the far end of each, whose near ends are those of one fetcher."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.ends: list[socket.socket] = []

    async def wire(self) -> ClientConnection:
        near, far = socket.socketpair()
        self.ends.append(far)
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(self.pool.new_connection, sock=near)
        return wire

    def closed(self) -> list[bool]:
        """Return for each far end if the near one was closed."""
        return [_closed(end) for end in self.ends]


def _closed(end: socket.socket) -> bool:
    end.setblocking(False)
    try:
        return end.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False


def has_come(end: socket.socket) -> bool:
    """Tell whether there is something to read."""
    end.setblocking(False)
    try:
        return end.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return False


def in_5_s() -> float:
    return asyncio.get_running_loop().time() + 5


@pytest.fixture
async def peers(request: pytest.FixtureRequest) -> AsyncIterator[Peers]:
    peers = Peers(ConnectionPool(**getattr(request, "param", {})))
    yield peers
    await peers.pool.close()
    for end in peers.ends:
        with closing(end):
            pass


async def test_what_came_before_the_request_is_no_answer_to_it(peers: Peers) -> None:
    wire = await peers.wire()
    peers.ends[0].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    await until(lambda: not wire.usable)

    with pytest.raises(FetchFailed) as raised:
        await wire.send(b"GET / HTTP/1.1\r\n\r\n", ResponseParser(1000), in_5_s())

    assert raised.value.kind is ErrorKind.PROTOCOL
    await until(lambda: peers.closed() == [True])


async def test_the_connection_that_was_used_last_is_used_next_and_by_its_origin_alone(
    peers: Peers,
) -> None:
    first, second, other = [await peers.wire() for _ in range(3)]
    peers.pool.keep("http://a", first)
    peers.pool.keep("http://a", second)
    peers.pool.keep("https://a", other)

    connections = [peers.pool.take("http://a") for _ in range(3)]

    assert connections == [second, first, None]


async def test_a_connection_that_the_far_end_closed_is_forgotten(peers: Peers) -> None:
    wire = await peers.wire()
    peers.pool.keep("http://a", wire)

    peers.ends[0].close()
    await until(lambda: not wire.usable)

    assert peers.pool.take("http://a") is None


@pytest.mark.parametrize("peers", [{"most": 2}], indirect=True)
async def test_of_many_idle_connections_the_oldest_is_closed(peers: Peers) -> None:
    wires = [await peers.wire() for _ in range(3)]

    for number, wire in enumerate(wires):
        peers.pool.keep(f"http://{number}", wire)

    await until(lambda: peers.closed() == [True, False, False])
    assert peers.pool.take("http://0") is None
    assert peers.pool.take("http://1") is wires[1]


@pytest.mark.parametrize("peers", [{"idle_s": 0.05}], indirect=True)
async def test_an_idle_connection_is_closed(peers: Peers) -> None:
    for origin in ("http://a", "http://b"):
        peers.pool.keep(origin, await peers.wire())

    await until(lambda: peers.closed() == [True, True])

    assert peers.pool.take("http://a") is None


@pytest.mark.parametrize("peers", [{"idle_s": 0.0}], indirect=True)
async def test_an_expired_connection_is_not_used_before_it_is_closed(
    peers: Peers,
) -> None:
    peers.pool.keep("http://a", await peers.wire())

    assert peers.pool.take("http://a") is None


async def test_a_connection_that_is_made_after_the_end_is_closed_at_once(peers: Peers) -> None:
    await peers.pool.close()

    wire = await peers.wire()

    await until(lambda: peers.closed() == [True])
    peers.pool.keep("http://a", wire)
    assert peers.pool.take("http://a") is None


async def test_a_response_without_references_is_freed_without_gc(peers: Peers) -> None:
    wire = await peers.wire()
    far = peers.ends[0]

    async def answer() -> None:
        await until(lambda: has_come(far))
        far.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

    answering = asyncio.create_task(answer())
    incoming = ResponseParser(1000)
    await wire.send(b"GET / HTTP/1.1\r\n\r\n", incoming, in_5_s())
    await answering
    assert incoming.response(0).body == b"x"

    gc.disable()  # bodies are large: they must not wait for a cycle to be found
    try:
        freed = weakref.ref(incoming)
        del incoming
        assert freed() is None
    finally:
        gc.enable()


async def _closes_after_a_cancelled_dial(url: str, ticks: int) -> None:
    """Cancel a dial *ticks* rounds of the loop after it began, then close its connections."""
    pool = ConnectionPool()
    guard = spec_guard(JobSpec(urls=(url,), allow_private=True))
    dialling = asyncio.create_task(Connector(guard, Resolver(1)).dial(url, pool.new_connection))
    for _ in range(ticks):
        await asyncio.sleep(0)
    dialling.cancel()
    await asyncio.wait((dialling,))
    async with asyncio.timeout(60):
        await pool.close()


def test_connections_close_whenever_making_one_of_them_was_cancelled() -> None:
    # uvloop calls no `connection_lost` if it is cancelled just after `connection_made`
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        for run in (asyncio.run, uvloop.run):
            for ticks in range(30):
                run(_closes_after_a_cancelled_dial(url, ticks))
