"""Sites on loopback whose crawls develop differently: ``python -m bench.time_left_sites``.

Everything is computed from the number of a page, so each run meets the same sites. A latency
varies from page to page as it does on the web: most are near the base, a few are far above.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crawlyard import Limits, Scope
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer

_FANOUT = 50  # pages of a section
_SPREAD = 0.4  # sigma of the latencies, which are log-normal
_HANGS_S = 30.0  # longer than any time-out here


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of crawl: the links of its pages, how they are answered, and what is asked for."""

    name: str
    links: Callable[[int], Sequence[int]]  # the pages that a page links to
    latency_s: float = 0.1
    slows_by: float = 0.0  # times the latency after a thousand requests
    hanging: int = 0  # one of so many pages never answers
    failing: int = 0  # one of so many pages answers with 500
    refusing: int = 0  # each so-manieth request is refused with 429
    pages: int = 0  # listed in a sitemap
    latencies_s: Mapping[str, float] = field(default_factory=dict)  # of hosts that differ
    hosts: int = 1
    wants: Mapping[str, Any] = field(default_factory=dict)  # fields of the spec

    def urls(self, port: int) -> tuple[str, ...]:
        """Return the start URLs, one for each host."""
        return tuple(f"http://127.0.0.{1 + n}:{port}/{self.name}/0" for n in range(self.hosts))

    def spec(self, port: int) -> dict[str, Any]:
        """Return the fields of the spec that crawls the site."""
        base: dict[str, Any] = {"delay_s": 0, "per_host": 4, "concurrency": 16}
        start = {"urls": self.urls(port)}
        if self.pages:
            start = {"sitemaps": (f"http://127.0.0.1:{port}/{self.name}/sitemap.xml",)}
        return (
            base
            | {"scope": Scope.PREFIX if self.hosts == 1 else Scope.HOST}
            | start
            | dict(self.wants)
        )


def _sections(pages: int) -> Callable[[int], Sequence[int]]:
    """Page 0 links to the sections, which link to their pages."""
    sections = -(-pages // _FANOUT)

    def links(page: int) -> Sequence[int]:
        if page == 0:
            return range(1, sections + 1)
        first = sections + 1 + (page - 1) * _FANOUT
        near = (max(1, page - 1), page + 1)
        return range(first, min(first + _FANOUT, pages)) if page <= sections else near

    return lambda page: [to for to in links(page) if to < pages]


def _random(pages: int) -> Callable[[int], Sequence[int]]:
    """Each page links to four others, and to some of them far more often than to others."""

    def links(page: int) -> Sequence[int]:
        chance = random.Random(page)
        return [int(pages * chance.random() ** 2) for _ in range(4)]

    return links


def _tree(branches: int) -> Callable[[int], Sequence[int]]:
    return lambda page: range(page * branches + 1, page * branches + branches + 1)


def _list(pages: int) -> Callable[[int], Sequence[int]]:
    """Page 0 links to all others."""
    return lambda page: range(1, pages) if page == 0 else (0,)


def _paginated(pages: int) -> Callable[[int], Sequence[int]]:
    """Each tenth page lists the nine after it, and links to the next list."""
    return lambda page: [n for n in range(page + 1, page + 11) if n < pages and page % 10 == 0]


SHAPES: Sequence[Shape] = (
    Shape("steady", _sections(1400)),
    Shape("slowing", _sections(1100), latency_s=0.05, slows_by=3.0),
    Shape("growing", _random(1600)),
    Shape("page-limit", _tree(10), wants={"limits": Limits(pages=1400)}),
    Shape("time-limit", _tree(3), wants={"limits": Limits(duration_s=40)}),
    Shape(
        "time-outs",
        _sections(700),
        hanging=30,
        failing=40,
        wants={"timeout_s": 2, "url_retries": 1},
    ),
    Shape("burst", _list(1400)),
    Shape("slow-host", _list(400), latency_s=0.06, latencies_s={"127.0.0.3": 0.4}, hosts=4),
    Shape("sitemap", lambda _: (), pages=1400),
    Shape("depth-limit", _tree(6), wants={"max_depth": 4}),
    Shape("refusals", _sections(900), refusing=250),
    Shape(
        "polite",
        _sections(180),
        latency_s=0.05,
        hosts=3,
        wants={"delay_s": 0.2},
    ),
    Shape("paginated", _paginated(1200)),
)


class Sites:
    """Answers for all shapes: the first part of a path is the name of one."""

    def __init__(self) -> None:
        self._shapes = {shape.name: shape for shape in SHAPES}
        self._asked: Counter[str] = Counter()

    def answer(self, method: str, path: str, host: str) -> Answer:
        """Return the answer to one request."""
        del method
        name, _, rest = path.removeprefix("/").partition("/")
        shape = self._shapes.get(name)
        if shape is None:
            return Answer(404)
        if rest == "sitemap.xml":
            return _sitemap(shape, host)
        self._asked[name] += 1
        return _page(shape, int(rest), host.partition(":")[0], self._asked[name])


def _page(shape: Shape, page: int, host: str, asked: int) -> Answer:
    chance = random.Random(page * 7919 + len(shape.name))
    if shape.refusing and asked % shape.refusing == 0:
        return Answer(429, (("Retry-After", "4"),))
    if shape.hanging and page and chance.randrange(shape.hanging) == 0:
        return Answer(200, (), b"late", _HANGS_S)
    base = shape.latencies_s.get(host, shape.latency_s) * (1 + shape.slows_by * asked / 1000)
    delay_s = base * chance.lognormvariate(0, _SPREAD)
    if shape.failing and page and chance.randrange(shape.failing) == 0:
        return Answer(500, (), b"", delay_s)
    anchors = "".join(f'<a href="/{shape.name}/{to}">{to}</a>' for to in shape.links(page))
    body = f"<!doctype html><title>{shape.name} {page}</title><p>Page {page}.</p>{anchors}"
    return Answer(200, (("Content-Type", HTML),), body.encode(), delay_s)


def _sitemap(shape: Shape, host: str) -> Answer:
    urls = "".join(
        f"<url><loc>http://{host}/{shape.name}/{n}</loc></url>" for n in range(shape.pages)
    )
    body = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
    return Answer(200, (("Content-Type", "application/xml"),), body.encode())


async def serve() -> None:
    """Serve all shapes until killed, the port as the first line of output."""
    everywhere = "0.0.0.0"  # noqa: S104 - several addresses of 127.0.0.0/8 are hosts here
    async with SiteServer(Sites(), host=everywhere) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
