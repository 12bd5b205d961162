"""A site of many loopback hosts, in a process of its own, that records its requests.

``python -m bench.pace_site HOSTS LATENCY_S`` writes its port, and then for each line ``FROM TO``
(monotonic seconds) of its input what came between them, as a line of JSON. It does as little as it
can for each request: what it takes is missing where the crawler is measured.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import quantiles
from typing import cast

import uvloop
from tests.many_hosts import address

START = "/"
"""Path of the page of the first host that leads to page 1 of each host."""

_AHEAD = 3  # a page leads to so many of the next ones of its host: its queue never runs dry
_TEXT = "<p>A page of some words, as a site has them.</p>" * 10
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class PaceSite:
    """The hosts, and the instants of their requests."""

    def __init__(self, hosts: int, latency_s: float) -> None:
        self.names = [address(number) for number in range(hosts)]
        self.latency_s = latency_s
        self.port = 0
        self.requests: dict[str, list[float]] = defaultdict(list)  # by host
        self.robots: dict[str, float] = {}  # when it was asked for first, by host

    def answer(self, host: str, path: str) -> bytes:
        """Note a request that came now; return its answer."""
        now = time.monotonic()
        self.requests[host].append(now)
        if path == "/robots.txt":
            self.robots.setdefault(host, now)
            return _MISSING
        if path == START:
            links = [f"http://{name}:{self.port}/1" for name in self.names]
        else:
            number = int(path[1:])
            links = [f"/{number + ahead + 1}" for ahead in range(_AHEAD)]
        anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
        body = f"<!doctype html><title>{host}{path}</title>{_TEXT}{anchors}".encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def count_between(self, since: float, until: float) -> dict[str, float]:
        """Return the counts of requests between two instants."""
        counted = [[at for at in times if since <= at < until] for times in self.requests.values()]
        gaps = [after - before for times in counted for before, after in pairwise(times)]
        robots = sorted(self.robots.values())[1:]  # without that of the start page
        return {
            "requests": sum(map(len, counted)),
            "gaps": len(gaps),
            "least": min(gaps, default=0.0),
            "p50": percentile(gaps, 50),
            "p99": percentile(gaps, 99),
            "robots": len(robots),
            "robots_s": robots[-1] - robots[0] + self.latency_s if robots else 0.0,
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """Return 0 if there are fewer than two *values*."""
    return quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0


class SiteProtocol(asyncio.Protocol):
    """Server side of one connection to a host."""

    def __init__(self, site: PaceSite) -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note to which host it is."""
        self._transport = cast("asyncio.Transport", transport)
        self._host = str(transport.get_extra_info("sockname")[0])

    def data_received(self, data: bytes) -> None:
        """Answer a request once its head is there, after the latency."""
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            path = self._head.split(b" ", 2)[1].decode()
            self._head = b""
            answer = self._site.answer(self._host, path)
            self._loop.call_later(self._site.latency_s, self._transport.write, answer)


async def serve(hosts: int, latency_s: float) -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    site = PaceSite(hosts, latency_s)
    everywhere = "0.0.0.0"  # noqa: S104 - all of 127.0.0.0/8 is wanted
    server = await loop.create_server(lambda: SiteProtocol(site), everywhere, 0, backlog=4096)
    site.port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"{site.port}\n")
    sys.stdout.flush()
    while line := await asyncio.to_thread(sys.stdin.readline):
        since, until = map(float, line.split())
        sys.stdout.write(f"{json.dumps(site.count_between(since, until))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2])))
