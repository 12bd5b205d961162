# ruff: noqa: A005 - imports are absolute, and tests.site is what it is
"""Test sites: serving them, fetching from them without the engine, judging their requests."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from heapq import merge
from html.parser import HTMLParser
from itertools import count, pairwise
from pathlib import Path
from statistics import median_low
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import pytest

from crawlyard.demo.hits import Hit, read_log
from crawlyard.demo.server import SiteContent, SiteServer
from crawlyard.demo.site import HTML, Answer

__all__ = ["read_log"]


# --- serving


class Serve(Protocol):
    """Type of the fixture `site_server`: it serves a site until the test ends."""

    def __call__(
        self, site: SiteContent, *, host: str = ..., latency_s: float = ..., log: Path | None = ...
    ) -> Awaitable[SiteServer]: ...


@pytest.fixture
async def site_server() -> AsyncIterator[Serve]:
    """Serve any number of sites until the test ends."""
    async with AsyncExitStack() as stack:

        async def serve(
            site: SiteContent,
            *,
            host: str = "127.0.0.1",
            latency_s: float = 0.0,
            log: Path | None = None,
        ) -> SiteServer:
            server = SiteServer(site, host=host, latency_s=latency_s, log=log)
            return await stack.enter_async_context(server)

        yield serve


@asynccontextmanager
async def served_elsewhere(*options: str) -> AsyncIterator[str]:
    """Run ``python -m crawlyard.demo`` with *options* as a process of its own; give its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawlyard.demo", *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the process has no output")
        url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise RuntimeError(f"the server did not start: exit code {await process.wait()}")
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


class FixedSite:
    """A site of fixed answers by path, with a record of the requested paths."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.requests: list[str] = []

    def answer(self, method: str, path: str, host: str) -> Answer:
        self.requests.append(path)
        return self.answers.get(path, Answer(404))


class GraphSite:
    """A site with exactly the given pages and links, and nothing else."""

    def __init__(self, links: Mapping[str, Sequence[str]]) -> None:
        self.links = links

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path not in self.links:
            return Answer(404)
        anchors = "".join(f'<a href="{to}">{to}</a>' for to in self.links[path])
        body = f"<!doctype html><title>{path}</title><p>Page {path}</p>{anchors}"
        return Answer(200, (("Content-Type", HTML),), body.encode())

    def reachable(self, start: str = "/") -> frozenset[str]:
        """Return the paths that can be reached from *start*, itself included."""
        reached, todo = {start}, [start]
        while todo:
            new = {to for to in self.links[todo.pop()] if to in self.links} - reached
            reached |= new
            todo += new
        return frozenset(reached)


# --- asking, without the engine that is under test


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@asynccontextmanager
async def connected(
    server: SiteServer,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give a connection to *server*, closed on the way out."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def talk(server: SiteServer, request: bytes) -> bytes:
    """Send raw bytes, close the sending half, and return all that comes back."""
    async with connected(server) as (reader, writer):
        writer.write(request)
        writer.write_eof()
        return await reader.read()


async def ask(server: SiteServer, path: str, *headers: str, method: str = "GET") -> Reply:
    """Send one request on its own connection and return the reply, the body not decoded."""
    lines = [f"{method} {path} HTTP/1.1", *headers, "Connection: close"]
    if not any(header.lower().startswith("host:") for header in headers):
        lines.append(f"Host: {server.authority}")
    async with connected(server) as (reader, writer):
        writer.write("\r\n".join((*lines, "", "")).encode())
        return parse_reply(await reader.read())


def parse_reply(raw: bytes) -> Reply:
    """Return the reply that *raw* is; all that follows the head is the body."""
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    pairs = (field.partition(":") for field in fields)
    return Reply(int(line.split(" ")[1]), {n.lower(): v.strip() for n, _, v in pairs}, body)


async def walk(server: SiteServer, path: str, most: int) -> list[str]:
    """Return the paths that redirects of one host lead over from *path*, *most* of them."""
    visited = [path]
    while len(visited) < most:
        reply = await ask(server, visited[-1])
        if not 300 <= reply.status < 400 or "location" not in reply.headers:
            break
        visited.append(urljoin(visited[-1], reply.headers["location"]))
    return visited


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = dict(attrs)
        href = at.get("href")
        if tag == "a" and href is not None and "nofollow" not in (at.get("rel") or ""):
            self.links.append(href)


def links_of(body: bytes, base: str) -> list[str]:
    """Return the URLs of the followed anchors of a page, in its order, without fragments."""
    parser = _Anchors()
    parser.feed(body.decode("utf-8", "replace"))
    return [urljoin(base, href).partition("#")[0] for href in parser.links]


def linked_pages(site: SiteContent, start: str = "/") -> dict[str, int]:
    """Return every path of *site* that links lead to from *start*, with its status.

    It asks the site itself, follows redirects and robots.txt not at all: a second
    opinion about what a crawl must find.
    """
    host = "site.test"
    statuses: dict[str, int] = {}
    todo = [start]
    while todo:
        path = todo.pop()
        if path in statuses:
            continue
        answer = site.answer("GET", path, host)
        if not isinstance(answer, Answer):
            continue
        statuses[path] = answer.status
        types = [value for name, value in answer.headers if name.lower() == "content-type"]
        if answer.status != 200 or not types or not types[0].startswith("text/html"):
            continue
        for url in links_of(answer.body, f"http://{host}{path}"):
            parts = urlsplit(url)
            if parts.netloc == host:
                todo.append(parts.path + (f"?{parts.query}" if parts.query else ""))
    return statuses


# --- judging


def refetched(hits: Iterable[Hit], but: Sequence[str] = ("/robots.txt",)) -> dict[str, int]:
    """Return the request counts of URLs that were requested twice or more, except *but*."""
    counts = Counter(f"{hit.host}{hit.path}" for hit in hits if hit.path not in but)
    return {url: times for url, times in counts.items() if times > 1}


JITTER_S = 0.06
"""By how much longer one request may travel than the next, on a machine that is busy."""

SHARED_JITTER_S = 0.12
"""The same where the site shares its cores, or its loop, with what asks it."""

_USUAL_GAP = 0.85  # of the delay: at least half of all gaps are longer


def ahead_s(times: Sequence[float], delay_s: float) -> float:
    """Return by how much too early the requests of *times* came, over the worst of all spans.

    Each request costs a delay, which the time since the one before has paid. One that was
    on its way for longer makes the next ones early by as much, and no more; a pace that is
    not kept makes each one earlier than the one before. *times* are in order.
    """
    debt = worst = 0.0
    for earlier, later in pairwise(times):
        debt = max(0.0, debt + delay_s - (later - earlier))
        worst = max(worst, debt)
    return worst


def hurried(hits: Iterable[Hit], delay_s: float, jitter_s: float = JITTER_S) -> dict[str, str]:
    """Return a complaint for each host that got requests too fast.

    Two requests may be a delay apart less *jitter_s*; over longer spans they catch up with no
    more than that, and most gaps are a whole delay.
    """
    arrivals: dict[str, list[float]] = {}
    for hit in hits:
        arrivals.setdefault(hit.host, []).append(hit.at)
    wrong = {}
    for host, times in arrivals.items():
        times.sort()
        usual = median_low([b - a for a, b in pairwise(times)] or [delay_s])
        early = ahead_s(times, delay_s)
        if early > jitter_s or usual < _USUAL_GAP * delay_s:
            wrong[host] = (
                f"{len(times)} requests: {early:.3f} s too early; of {delay_s} s, {usual:.3f} s"
            )
    return wrong


def most_at_once(hits: Iterable[Hit]) -> dict[str, int]:
    """Return for each host how many requests were under way at once, at most.

    A request is under way from its arrival to the last byte of its answer, or until
    the server noticed that the client had left.
    """
    arrivals: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {}
    for hit in hits:
        arrivals.setdefault(hit.host, []).append(hit.at)
        end = hit.answered_at if hit.answered_at is not None else hit.gone_at
        ends.setdefault(hit.host, []).append(float("inf") if end is None else end)
    most = {}
    for host, times in arrivals.items():
        # An end sorts before an arrival of the same instant: they did not overlap.
        steps = merge(((t, 1) for t in sorted(times)), ((t, -1) for t in sorted(ends[host])))
        now = peak = 0
        for _, step in steps:
            now += step
            peak = max(peak, now)
        most[host] = peak
    return most


def after(hits: Iterable[Hit], instant: float) -> list[Hit]:
    """Return the hits that arrived later than *instant* of the monotonic clock."""
    return [hit for hit in hits if hit.at > instant]


async def until(claim: Callable[[], bool]) -> None:
    """Return once *claim* holds, looking again whenever the loop has had a turn."""
    turns = count()
    async with asyncio.timeout(120):
        while not claim():  # noqa: ASYNC110 - an arbitrary condition, without an event
            # after a while it waits for another process, which wants the processor as well
            await asyncio.sleep(0 if next(turns) < 10_000 else 0.001)
