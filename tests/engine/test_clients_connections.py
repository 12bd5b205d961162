"""Connections of the HTTP client: which are used again, and which are closed."""

import asyncio

import pytest

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.fetch import FetchFailed
from tests.engine.clients import CAP, HEADERS, Make, came, failure, fetch_page
from tests.engine.raw import RawRequest, ServeRaw, answer, saying
from tests.site import until


async def test_a_connection_is_used_again(make: Make, raw_server: ServeRaw) -> None:
    server = await raw_server(saying(answer(b"x")))
    fetcher = make()

    for _ in range(3):
        await fetch_page(fetcher, server)

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


@pytest.mark.parametrize("answer_bytes", PARTING.values(), ids=PARTING)
async def test_no_connection_is_used_again_whose_server(
    make: Make, raw_server: ServeRaw, answer_bytes: bytes
) -> None:
    server = await raw_server(saying(answer_bytes))
    fetcher = make()

    responses = [await came(fetch_page(fetcher, server)) for _ in range(2)]

    for response in responses:
        if isinstance(response, FetchFailed):
            assert response.kind is ErrorKind.PROTOCOL
        else:
            assert b"smuggled" not in response.body
    assert (server.connections, len(server.asked)) == (2, 2)


async def test_a_server_that_closes_what_it_accepts_is_dialled_twice_at_most(make: Make) -> None:
    closed: list[asyncio.StreamWriter] = []

    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closed.append(writer)
        writer.close()

    async def go() -> None:
        await asyncio.sleep(0.05)  # the request waits for its instant

    listener = await asyncio.start_server(close, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, asyncio.timeout(60):
        failed = await failure(make().fetch(f"http://127.0.0.1:{port}/", HEADERS, CAP, go))

    assert (failed.transient, len(closed)) == (True, 2)


async def test_what_comes_between_two_requests_is_nobodys_answer(
    make: Make, raw_server: ServeRaw
) -> None:
    sent_early = asyncio.Event()

    async def twice(call: RawRequest) -> None:
        await call.say(answer(b"%d" % call.connection))
        if call.connection == 1:
            await sent_early.wait()
            await call.say(answer(b"smuggled"))

    server = await raw_server(twice)
    fetcher = make()

    first = await fetch_page(fetcher, server)
    sent_early.set()
    await until(lambda: server.ended == 1)  # it is closed at once
    second = await fetch_page(fetcher, server)

    assert (first.body, second.body) == (b"1", b"2")


async def test_a_connection_closed_by_the_server_is_not_reused(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x"), close=True))
    fetcher = make()

    await fetch_page(fetcher, server)
    await until(lambda: server.ended == 1)
    await asyncio.sleep(0)
    second = await fetch_page(fetcher, server)

    assert second.body == b"x"
    assert (server.connections, len(server.asked)) == (2, 2)


async def test_a_kept_connection_that_drops_is_not_retried_by_the_client(
    make: Make, raw_server: ServeRaw
) -> None:
    async def once(call: RawRequest) -> None:
        if call.number == 1:
            await call.say(answer(b"x"))
        else:
            call.writer.transport.abort()

    server = await raw_server(once)
    fetcher = make()

    await fetch_page(fetcher, server)
    failed = await failure(fetch_page(fetcher, server))

    assert (failed.kind, failed.transient) == (ErrorKind.CONNECT, True)
    assert len(server.asked) == 2


async def test_a_request_that_is_given_up_closes_its_connection(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(RawRequest.wait_closed)
    task = asyncio.create_task(fetch_page(make(), server))
    await until(lambda: len(server.asked) == 1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.ended == 1)


async def test_a_request_that_takes_too_long_is_given_up_and_its_connection_closed(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(RawRequest.wait_closed)

    failed = await failure(fetch_page(make(timeout_s=0.2), server))

    assert (failed.kind, failed.transient) == (ErrorKind.TIMEOUT, True)
    assert failed.detail == "no complete response within 0.2 s"
    await until(lambda: server.ended == 1)


async def test_closing_ends_what_is_kept_and_what_is_under_way(
    make: Make, raw_server: ServeRaw
) -> None:
    async def first(call: RawRequest) -> None:
        if call.connection == 1:
            await call.say(answer(b"x"))
        else:
            await call.wait_closed()

    server = await raw_server(first)
    fetcher = make()
    idle = await fetch_page(fetcher, server)
    other = await raw_server(RawRequest.wait_closed)
    waiting = asyncio.create_task(fetch_page(fetcher, other))
    await until(lambda: len(other.asked) == 1)

    await fetcher.close()

    assert idle.body == b"x"
    assert (await failure(waiting)).kind is ErrorKind.CONNECT
    await until(lambda: server.ended == other.ended == 1)
