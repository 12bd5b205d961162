"""A site of known size for each job, on several hosts: ``python -m tests.chaos.site LOG HOSTS``.

A job's pages are at ``/NAME-SIZE/NUMBER``, the same on every host; page n links to the three
below it in a tree, to its parent, and to itself on the next host. Page 1 of a job whose name
begins with "f" answers 500 until this machine's first address receives a request for
``/mend/NAME``.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from crawlyard.demo.hits import Hit
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from tests.chaos.history import Asked

FANOUT = 3
FAILING = "f"
MEND = "/mend/"
LATENCY_S = 0.25  # so long that the pace alone would have more under way than is allowed


def hosts_of(port: int, count: int) -> list[str]:
    """Return the first *count* hosts of the site, each with an address of its own."""
    return [f"127.0.0.{2 + n}:{port}" for n in range(count)]


def start_path(job: str, size: int) -> str:
    return f"/{job}-{size}/0"


def reachable(job: str, size: int, hosts: Sequence[str]) -> frozenset[str]:
    """Return the URLs that a crawl finds that starts at *hosts* and does not leave them."""
    return frozenset(f"http://{host}/{job}-{size}/{n}" for host in hosts for n in range(size))


def fails(job: str, size: int, hosts: Sequence[str]) -> frozenset[str]:
    """Return the URLs of a job that fail until they are mended."""
    many = hosts if job.startswith(FAILING) else ()
    return frozenset(f"http://{host}/{job}-{size}/1" for host in many)


def mend_url(job: str, port: int) -> str:
    """Return the path whose request makes all URLs of *job* succeed."""
    return f"http://127.0.0.1:{port}{MEND}{job}"


def request_of(hit: Hit) -> Asked:
    """Return a hit of the log as the judge wants it; its user agent is the worker's name."""
    folder = hit.path.split("/")[1]
    return Asked(
        job=folder.rpartition("-")[0],
        worker=hit.user_agent,
        host=hit.host,
        path=hit.path,
        at=hit.at,
        ended_at=hit.answered_at if hit.answered_at is not None else hit.gone_at,
    )


class ChaosSite:
    """Pages that all hosts serve."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._next = dict(zip(hosts, (*hosts[1:], *hosts[:1]), strict=True))
        self._mended: set[str] = set()

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path.startswith(MEND):
            self._mended.add(path.removeprefix(MEND))
            return Answer(200)
        parts = path.split("/")
        if len(parts) != 3 or host not in self._next:
            return Answer(404)
        job, _, size = parts[1].rpartition("-")
        if job.startswith(FAILING) and parts[2] == "1" and job not in self._mended:
            return Answer(500)
        return self._page(parts[1], int(size), int(parts[2]), host)

    def _page(self, folder: str, size: int, number: int, host: str) -> Answer:
        below = range(FANOUT * number + 1, FANOUT * number + FANOUT + 1)
        path = f"/{folder}/{number}"
        links = [f"/{folder}/{n}" for n in (*below, max(0, number - 1) // FANOUT) if n < size]
        links.append(f"http://{self._next[host]}{path}")
        anchors = "".join(f'<a href="{to}">{to}</a>' for to in links)
        body = f"<!doctype html><title>{path}</title><p>{host}{path}</p>{anchors}"
        return Answer(200, (("Content-Type", HTML),), body.encode())


async def _serve(log: Path, count: int) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    # every address of loopback is this machine's
    server = SiteServer(ChaosSite(()), host="0.0.0.0", latency_s=LATENCY_S, log=log)
    async with server:
        server.site = ChaosSite(hosts_of(server.port, count))
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("hosts", type=int)
    options = parser.parse_args()
    asyncio.run(_serve(options.log, options.hosts))
