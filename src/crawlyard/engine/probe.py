"""Probe of a site before it is crawled: fetches its robots.txt and sitemaps, but no pages.

Every request goes through the same guard, host gate and time-outs as in a crawl.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from msgspec import Struct, field

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.hosts.gate import HostGate
from crawlyard.engine.http.fetch import (
    ACCEPT_ENCODING,
    Fetcher,
    FetchFailed,
    NotSent,
    Response,
)
from crawlyard.engine.robots.cache import Closed, RobotsAccess, RobotsCache, followed
from crawlyard.engine.robots.rules import MAX_PARSED, RobotsRules
from crawlyard.engine.sitemaps import Sitemap, parse
from crawlyard.engine.urls import Base, host_of, origin_of, path_of

MOST_ORIGINS = 10
"""Origins whose robots.txt is fetched: the first of those of the start URLs."""

MOST_SITEMAPS = 20
"""Sitemaps that are read, including those named by an index."""

MOST_BYTES = 16 << 20
"""Bytes on the wire of all responses together; requests after that fail."""

MAX_SITEMAP = 4 << 20  # bytes of one sitemap
_JUDGED = 5_000  # URLs of one sitemap: 50 ms
_TOO_MUCH = "more was answered than a look takes; a crawl reads all of it"


class SeenSitemap(Struct):
    """Findings about one sitemap."""

    url: str
    urls: int | None = None  # number of URLs in it; None: it could not be read
    inside: int = 0  # how many of them are in scope, and in no sitemap that was read before
    sitemaps: int = 0  # number of sitemaps in it
    sample: tuple[str, ...] = ()  # some of its URLs
    problem: str = ""


class SeenOrigin(Struct):
    """Findings about one origin."""

    origin: str
    rules: RobotsRules | None = None  # None: they could not be fetched
    problem: str = "not answered in time"
    blocked: bool = False  # it is at an address that may not be connected to


class Probe(Struct):
    """Probes origins and sitemaps; keeps its findings when it is cancelled."""

    spec: JobSpec
    agent: str
    fetcher: Fetcher
    gate: HostGate
    robots: RobotsCache
    key: str  # its name at the gate
    parser: ThreadPoolExecutor  # a large sitemap takes a second
    inside: Callable[[str], bool]  # whether a URL of a sitemap is in scope
    origins: dict[str, SeenOrigin] = field(default_factory=dict)
    sitemaps: dict[str, SeenSitemap] = field(default_factory=dict)
    named: Counter[str] = field(default_factory=Counter)  # URLs of sitemaps in scope, by host
    requests: int = 0
    _answers_s: dict[str, list[float]] = field(default_factory=dict)  # by host
    _bytes: int = 0
    _known: set[int] = field(default_factory=set)  # hashes of the URLs of sitemaps

    async def look(self, origins: Sequence[str], named: Sequence[str]) -> None:
        """Fetch the robots.txt of *origins*, the sitemaps *named* and those that the rules name."""
        access = RobotsAccess(self.agent, self.robots, self._ask)
        try:
            self.origins = {origin: SeenOrigin(origin) for origin in origins[:MOST_ORIGINS]}
            await asyncio.gather(*(self._learn(access, origin) for origin in self.origins))
            by_rules = [url for seen in self.origins.values() for url in self._named_by(seen)]
            await self._read_all(access, list(dict.fromkeys([*named, *by_rules])))
        finally:
            self.gate.leave(self.key)

    def _named_by(self, seen: SeenOrigin) -> list[str]:
        base, values = Base(seen.origin), seen.rules.sitemaps if seen.rules else ()
        joined = (base.join(value) for value in values[:MOST_SITEMAPS])
        return [url for url in joined if url is not None]

    async def _learn(self, access: RobotsAccess, origin: str) -> None:
        seen = self.origins[origin]
        known = access.of(origin) or await access.learn(origin)
        if isinstance(known, Closed):
            seen.problem = known.detail
            seen.blocked = known.kind is ErrorKind.BLOCKED_ADDRESS
        else:
            seen.rules, seen.problem = known, ""

    async def _read_all(self, access: RobotsAccess, first: Sequence[str]) -> None:
        level = list(first)
        while level:
            room = MOST_SITEMAPS - len(self.sitemaps)
            fresh = [url for url in dict.fromkeys(level) if url not in self.sitemaps][:room]
            self.sitemaps |= {
                url: SeenSitemap(url, problem="not answered in time") for url in fresh
            }
            found = await asyncio.gather(*(self._read(access, url) for url in fresh))
            level = [url for urls in found for url in urls]

    async def _read(self, access: RobotsAccess, url: str) -> Sequence[str]:
        """Read one sitemap; return the sitemaps that it names."""
        seen = self.sitemaps[url]
        try:
            rule = await self._forbidden(access, url)
            if rule:
                seen.problem = rule
                return ()
            answer = await followed(partial(self._ask, most=MAX_SITEMAP), url)
        except FetchFailed as failure:
            seen.problem = f"{failure.kind}: {failure.detail}"
            return ()
        if answer.status != 200:
            seen.problem = f"answered {answer.status}"
            return ()
        loop = asyncio.get_running_loop()
        read, inside = await loop.run_in_executor(self.parser, self._parsed, answer.body, url)
        self.named += inside
        seen.inside = inside.total()
        seen.urls, seen.sitemaps = len(read.urls), len(read.sitemaps)
        seen.sample = read.urls[:5]
        seen.problem = read.problem or answer.truncated
        return read.sitemaps

    def _parsed(self, body: bytes, url: str) -> tuple[Sitemap, Counter[str]]:
        """Parse a sitemap, and count by host those of its URLs that are in scope and new.

        Of many URLs, some are judged and stand for the rest.
        """
        read = parse(body, url)
        fresh = [url for url in read.urls if hash(url) not in self._known]
        self._known.update(map(hash, fresh))
        step = -(-len(fresh) // _JUDGED) or 1
        counts: Counter[str] = Counter()
        for start in range(0, len(fresh), step):
            if self.inside(fresh[start]):
                counts[host_of(fresh[start])] += min(step, len(fresh) - start)
        return read, counts

    def answer_s(self, host: str) -> float | None:
        """Return how long a host took to answer, on average; ``None`` if it did not."""
        took = self._answers_s.get(host)
        return sum(took) / len(took) if took else None

    async def _forbidden(self, access: RobotsAccess, url: str) -> str:
        """Return why a sitemap may not be fetched, "" if it may."""
        if self.spec.ignore_robots:
            return ""
        origin = origin_of(url)
        known = access.of(origin) or await access.learn(origin)
        if isinstance(known, Closed):
            return known.detail
        line = known.verdict(path_of(url))
        return f"robots: {line}" if line else ""

    def delay_s(self, origin: str) -> float:
        """Return the delay between two requests to an origin, the same as in a crawl."""
        rules = self.robots.get(origin, self.agent)
        asked_s = rules.delay_s if rules is not None and rules.delay_s else 0.0
        kept_s = min(asked_s, self.spec.crawl_delay_cap_s)
        return max(self.spec.delay_s, kept_s)

    async def _ask(self, url: str, most: int = MAX_PARSED + 1) -> Response:
        """Send one request when its host is ready; return the response."""
        if self._bytes >= MOST_BYTES:
            raise FetchFailed(ErrorKind.TOO_LARGE, _TOO_MUCH)
        self.requests += 1
        host = host_of(url)
        self.gate.wish(self.key, host, self.delay_s(origin_of(url)), self.spec.per_host)
        slot = await self.gate.acquire(host)
        try:
            headers = {"User-Agent": self.agent, "Accept-Encoding": ACCEPT_ENCODING}
            answer = await self.fetcher.fetch(url, headers, most, slot.go)
        except NotSent as error:
            raise FetchFailed(ErrorKind.PROXY, str(error), transient=True) from error
        finally:
            slot.give()
        self._bytes += answer.wire_bytes
        self._answers_s.setdefault(host, []).append(answer.elapsed_ms / 1000)
        return answer
