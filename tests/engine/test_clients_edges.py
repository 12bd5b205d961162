"""Edges of the HTTP client."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from crawlyard import State
from crawlyard.clock import SystemClock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.connection import ConnectionPool
from crawlyard.engine.http.dns import Infos, LookUp, Resolver, look_up
from crawlyard.engine.http.fetch import FetchFailed
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.response_parser import ResponseParser
from tests.engine.raw import RawRequest, ServeRaw, answer, saying
from tests.engine.rig import a_spec, crawled, opened
from tests.engine.test_connection import in_5_s
from tests.engine.test_crawl import tree
from tests.site import GraphSite, Serve

OPEN = Guard(allow_private=True)
CAP = 100_000


@asynccontextmanager
async def a_fetcher(guard: Guard = OPEN, look: LookUp = look_up) -> AsyncIterator[HttpFetcher]:
    fetcher = HttpFetcher(guard, timedelta(seconds=5), SystemClock(), Resolver(8, look))
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def refused(fetcher: HttpFetcher, url: str) -> FetchFailed:
    with pytest.raises(FetchFailed) as raised:
        await fetcher.fetch(url, {}, CAP)
    return raised.value


async def test_a_body_without_a_length_is_truncated_if_its_connection_is_reset(
    raw_server: ServeRaw,
) -> None:
    async def half(call: RawRequest) -> None:
        await call.say(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        near: socket.socket = call.writer.get_extra_info("socket")
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        call.writer.transport.abort()

    server = await raw_server(half)
    async with a_fetcher() as fetcher:
        response = await fetcher.fetch(server.url, {}, CAP)

    assert response.truncated.startswith("the body broke off")


async def test_a_status_below_100_is_no_answer(raw_server: ServeRaw) -> None:
    server = await raw_server(saying(b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n"))
    async with a_fetcher() as fetcher:
        failed = await refused(fetcher, server.url)

    assert (failed.kind, failed.transient) == (ErrorKind.PROTOCOL, False)


async def test_a_trailer_is_no_header_more(raw_server: ServeRaw) -> None:
    head = "".join(f"X-{n}: 1\r\n" for n in range(255))
    head = f"HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n"
    server = await raw_server(saying(head.encode(), b"1\r\nx\r\n0\r\nX-End: 1\r\n\r\n"))
    async with a_fetcher() as fetcher:
        response = await fetcher.fetch(server.url, {}, CAP)

    assert (response.body, response.truncated) == (b"x", "")


class CountingGuard(Guard):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(allow_private=True)
        self.requests = 0

    def check(self, host: str, address: str, port: int) -> None:
        self.requests += 1
        super().check(host, address, port)


async def test_of_a_name_with_many_addresses_few_are_connected_to() -> None:
    def look(_: str, port: int) -> Infos:
        return [info for n in range(1, 101) for info in look_up(f"127.0.0.{n}", port)]

    guard = CountingGuard()
    async with a_fetcher(guard, look) as fetcher:
        failed = await refused(fetcher, "http://site.test:1/")

    assert failed.kind is ErrorKind.CONNECT
    assert guard.requests <= 32  # 16 of them, before all and before each connection


async def test_a_name_with_closed_addresses_of_both_families_is_blocked() -> None:
    def look(_: str, port: int) -> Infos:
        return [*look_up("::1", port), *look_up("127.0.0.1", port)]

    async with a_fetcher(Guard(), look) as fetcher:
        failed = await refused(fetcher, "http://site.test:1/")

    assert (failed.kind, failed.transient) == (ErrorKind.BLOCKED_ADDRESS, False)


async def test_a_host_that_is_opened_by_its_name_and_port_can_be_crawled(
    tmp_path: Path, site_server: Serve
) -> None:
    site = GraphSite(tree(2, 1))
    server = await site_server(site)
    host = f"localhost:{server.port}"
    async with opened(tmp_path) as yard:
        run = await crawled(
            yard, a_spec(f"http://{host}/", allow_private=False, allow_addresses=(host,))
        )

    assert run.job.state is State.COMPLETED
    assert len(run.ok) == len(site.reachable())


async def test_a_header_that_is_given_takes_the_place_of_ours_however_it_is_spelled(
    tmp_path: Path, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))
    async with opened(tmp_path) as yard:
        await crawled(yard, a_spec(server.url, headers=(("accept", "text/x"),)))

    (request_head,) = [head for head in server.asked if b"GET /page" in head]
    accepts = [line for line in request_head.split(b"\r\n") if line.lower().startswith(b"accept:")]
    assert accepts == [b"accept: text/x"]


async def test_the_connection_of_a_cancelled_request_is_closed(raw_server: ServeRaw) -> None:
    requested = asyncio.Event()

    async def wait(call: RawRequest) -> None:
        requested.set()
        await call.wait_closed()

    server = await raw_server(wait)
    pool = ConnectionPool()
    connecting = asyncio.get_running_loop().create_connection(
        pool.new_connection, "127.0.0.1", server.port
    )
    _, wire = await connecting
    asking = asyncio.create_task(
        wire.send(b"GET / HTTP/1.1\r\n\r\n", ResponseParser(CAP), in_5_s())
    )
    await requested.wait()
    wire.data_received(answer(b"x"))  # it is over now, and its task has not woken yet
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    assert asking.cancelled()
    assert not wire.usable
    await pool.close()
