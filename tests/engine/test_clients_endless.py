"""Answers that are too much for the HTTP client."""

import pytest

from crawlyard.core.crawl.page import ErrorKind
from tests.engine.clients import CAP, Make, failure, fetch_page
from tests.engine.raw import CHUNKED, RawRequest, ServeRaw, answer, saying
from tests.site import until

ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "a status line": (b"HTTP/1.1 200 ", b"very " * 2000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: and so on\r\n" * 500),
    "one header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"and so on " * 1000),
    "interim answers": (b"", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 100),
}


@pytest.mark.parametrize("answer_bytes", ENDLESS.values(), ids=ENDLESS)
async def test_a_head_without_an_end_is_given_up(
    make: Make, raw_server: ServeRaw, answer_bytes: tuple[bytes, bytes]
) -> None:
    sent = 0

    async def pour(call: RawRequest) -> None:
        nonlocal sent
        await call.say(answer_bytes[0])
        while True:
            await call.say(answer_bytes[1])
            sent += len(answer_bytes[1])

    server = await raw_server(pour)

    failed = await failure(fetch_page(make(), server))

    assert failed.kind is ErrorKind.TOO_LARGE
    await until(lambda: server.ended == 1)


AFTER: dict[str, tuple[bytes, bytes]] = {
    "trailers": (b"0\r\n", b"X-More: and so on\r\n" * 500),
    "one trailer": (b"0\r\nX-Long: ", b"and so on " * 1000),
    "an extension of a chunk": (b"4;x=", b"andsoon" * 1000),
    "a body": (b"ffffffff\r\n", b"and so on " * 1000),
}


@pytest.mark.parametrize("answer_bytes", AFTER.values(), ids=AFTER)
async def test_what_follows_a_chunk_without_an_end_is_given_up(
    make: Make, raw_server: ServeRaw, answer_bytes: tuple[bytes, bytes]
) -> None:
    async def pour(call: RawRequest) -> None:
        await call.say(CHUNKED + b"4\r\nbody\r\n")
        await call.say(answer_bytes[0])
        while True:
            await call.say(answer_bytes[1])

    server = await raw_server(pour)

    response = await fetch_page(make(), server)

    assert response.truncated
    assert response.body.startswith(b"body")
    assert response.wire_bytes <= CAP
    await until(lambda: server.ended == 1)


async def test_a_body_beyond_the_cap_is_cut_there_and_its_connection_closed(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x" * 5_000_000)))

    response = await fetch_page(make(), server, 1000)

    assert response.body == b"x" * 1000
    assert response.wire_bytes == 1000
    assert response.truncated == "the body is larger than 1000 bytes"
    await until(lambda: server.ended == 1)


async def test_an_unknown_coding_is_an_error_that_closes_the_connection(
    make: Make, raw_server: ServeRaw
) -> None:
    server = await raw_server(saying(answer(b"x" * 200_000, "Content-Encoding: rot13")))

    failed = await failure(fetch_page(make(), server))

    assert failed.kind is ErrorKind.DECODE
    await until(lambda: server.ended == 1)


async def test_a_switch_of_protocols_is_no_page(make: Make, raw_server: ServeRaw) -> None:
    answer_bytes = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nxxxx"
    )
    server = await raw_server(saying(answer_bytes))

    failed = await failure(fetch_page(make(), server))

    assert (failed.kind, failed.transient) == (ErrorKind.PROTOCOL, False)
    await until(lambda: server.ended == 1)
