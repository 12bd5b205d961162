"""A process that shares the rate limits of many hosts with others and reports its requests.

``python -m tests.acceptance.paced_client STORE PORT HOSTS DELAY_S`` sends requests until its input
ends, then writes the host and the instant (monotonic seconds) of each request, as JSON.
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

from crawlyard.clock import SystemClock
from crawlyard.engine.hosts.rate_limiter import RateLimiter
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.fetch import FetchFailed
from crawlyard.engine.http.guard import Guard
from crawlyard.store.open import clock_offset, open_sql_store
from tests.many_hosts import address

_AT_ONCE = 4


class Client:
    """Sends requests by the engine's own client and limiter, as fast as they let it."""

    def __init__(self, limiter: RateLimiter, fetcher: HttpFetcher) -> None:
        self._limiter = limiter
        self._fetcher = fetcher
        self.sent: list[tuple[str, float]] = []

    async def request_forever(self, host: str) -> NoReturn:
        while True:
            slot = await self._limiter.acquire(host)

            async def before_send() -> None:
                await slot.wait_to_send()  # noqa: B023 - used in this turn of the loop alone
                self.sent.append((host, time.monotonic()))

            try:
                # a busy server may have closed the connection
                with suppress(FetchFailed):
                    await self._fetcher.fetch(f"http://{host}/0", {}, 1 << 20, before_send)
            finally:
                slot.release()


async def main(where: str, port: int, hosts: int, delay_s: float) -> None:
    """Send requests until the input ends, then write what was sent."""
    clock = SystemClock()
    clock.shift(await clock_offset(where, clock))
    store = await open_sql_store(where)
    limiter = RateLimiter(clock, store.hosts)
    fetcher = HttpFetcher(Guard(allow_private=True), timedelta(seconds=30), clock)
    client = Client(limiter, fetcher)
    names = [f"{address(number)}:{port}" for number in range(hosts)]
    for name in names:
        limiter.set_limits("job", name, delay_s, _AT_ONCE)
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(client.request_forever(name)) for name in names for _ in range(2)]
    await asyncio.to_thread(sys.stdin.read)
    failed = [task.exception() for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await limiter.close()
    await fetcher.close()
    await store.close()
    if failed:
        raise ExceptionGroup(
            "requests", [error for error in failed if isinstance(error, Exception)]
        )
    sys.stdout.write(json.dumps(client.sent))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
