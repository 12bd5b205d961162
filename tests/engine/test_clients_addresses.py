"""The addresses that names lead the HTTP client to."""

import asyncio
import re

import pytest

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.dns import Infos, look_up
from crawlyard.engine.http.guard import Guard
from tests.engine.clients import CAP, HEADERS, Make, failure
from tests.engine.raw import ServeRaw, answer, saying


async def test_the_next_address_of_a_name_is_tried_when_one_refuses(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))

    def look(host: str, port: int) -> Infos:
        return [*look_up("127.0.0.9", port), *look_up("127.0.0.1", port)]

    fetcher = make(look=look)

    response = await fetcher.fetch(f"http://site.test:{server.port}/", HEADERS, CAP)

    assert response.body == b"x"


async def test_each_address_of_a_name_passes_the_guard(make: Make, raw_server: ServeRaw) -> None:
    server = await raw_server(saying(answer(b"x")))

    def look(host: str, port: int) -> Infos:
        return [*look_up("127.0.0.1", port), *look_up("127.0.0.9", port)]

    fetcher = make(look=look, guard=Guard(("127.0.0.9",)))

    failed = await failure(fetcher.fetch(f"http://site.test:{server.port}/", HEADERS, CAP))

    assert failed.kind is ErrorKind.CONNECT
    assert server.connections == 0


async def test_a_name_that_leads_inside_at_its_next_look_up_is_blocked(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x")))
    fetcher = make(look=lambda _, port: look_up("127.0.0.1", port), guard=Guard())

    failed = await failure(fetcher.fetch(f"http://site.test:{server.port}/", HEADERS, CAP))

    assert failed.kind is ErrorKind.BLOCKED_ADDRESS
    assert "site.test resolves to 127.0.0.1" in failed.detail
    assert server.connections == 0


@pytest.mark.parametrize(
    "literal", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0"]
)
async def test_no_literal_of_the_inside_is_connected_to(
    make: Make, raw_server: ServeRaw, literal: str
) -> None:
    server = await raw_server(saying(answer(b"x")))
    url = f"http://{literal}:{server.port}/"

    failed = await failure(make(guard=Guard()).fetch(url, HEADERS, CAP))

    assert failed.kind is ErrorKind.BLOCKED_ADDRESS
    assert server.connections == 0


async def test_a_name_without_an_address_says_so(make: Make) -> None:
    def look(host: str, port: int) -> Infos:
        raise OSError("no such name")

    failed = await failure(make(look=look).fetch("http://no.test/", HEADERS, CAP))

    assert (failed.kind, failed.transient) == (ErrorKind.DNS, True)
    assert failed.detail == "no.test has no address"


async def test_a_closed_port_is_a_connection_error(make: Make, raw_server: ServeRaw) -> None:
    failed = await failure(make().fetch("http://127.0.0.1:1/", HEADERS, CAP))

    assert (failed.kind, failed.transient) == (ErrorKind.CONNECT, True)
    assert failed.detail == "connection refused by 127.0.0.1:1"


async def test_different_errors_of_addresses_are_all_described(
    make: Make, unused_tcp_port: int
) -> None:
    def look(host: str, port: int) -> Infos:
        # without SO_BROADCAST, a socket may not connect to the second one
        return [*look_up("127.0.0.1", port), *look_up("255.255.255.255", port)]

    fetcher = make(look=look, guard=Guard(("127.0.0.1", "255.255.255.255")))

    failed = await failure(fetcher.fetch(f"http://site.test:{unused_tcp_port}/", HEADERS, CAP))

    assert failed.kind is ErrorKind.CONNECT
    assert failed.detail.startswith("Connection refused, ")
    assert not re.search(r"Errno|exceptions|[\[(]", failed.detail), failed.detail


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
        await fetcher.fetch(url, HEADERS, CAP)
    await asyncio.gather(*(fetcher.fetch(url, HEADERS, CAP) for _ in range(3)))

    assert looked == ["site.test"]
    assert server.connections == 6
