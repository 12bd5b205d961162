"""The HTTP client, for tests of its requests; see `raw` for who answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from crawlyard.clock import SystemClock
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.dns import LookUp, Resolver, look_up
from crawlyard.engine.http.fetch import Fetcher, FetchFailed, Response
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.proxy import Proxies
from tests.engine.raw import RawServer

T = TypeVar("T")

CAP = 256 * 1024
HEADERS = {"User-Agent": "Test/1", "Accept-Encoding": "gzip"}


class Make(Protocol):
    """Factory of fetchers, closed when the test ends; the fixture `make`."""

    def __call__(
        self,
        *,
        guard: Guard = ...,
        timeout_s: float = ...,
        look: LookUp = ...,
        proxies: Proxies | None = ...,
        ca_file: Path | None = ...,
    ) -> Fetcher: ...


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    async with AsyncExitStack() as stack:

        def make_fetcher(
            *,
            guard: Guard = Guard(allow_private=True),  # noqa: B008 - it has no state
            timeout_s: float = 5.0,
            look: LookUp = look_up,
            proxies: Proxies | None = None,
            ca_file: Path | None = None,
        ) -> Fetcher:
            timeout, names = timedelta(seconds=timeout_s), Resolver(64, look)
            fetcher = HttpFetcher(guard, timeout, SystemClock(), names, ca_file, proxies=proxies)
            stack.push_async_callback(fetcher.close)
            return fetcher

        yield make_fetcher
    assert broken == []  # no error was raised in a background task


async def fetch_page(fetcher: Fetcher, server: RawServer, cap: int = CAP) -> Response:
    return await fetcher.fetch(server.url, HEADERS, cap)


async def failure(request: Awaitable[Response]) -> FetchFailed:
    with pytest.raises(FetchFailed) as raised:
        await request
    return raised.value


async def came(request: Awaitable[T]) -> T | FetchFailed:
    try:
        return await request
    except FetchFailed as failed:
        return failed
