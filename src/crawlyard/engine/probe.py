"""Probe of a site before it is crawled: fetches its robots.txt and sitemaps, but no pages.

Every request goes through the same guard, rate limiter and time-outs as in a crawl.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from msgspec import Struct, field

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.engine.hosts.rate_limiter import RateLimiter
from crawlyard.engine.http.fetch import (
    ACCEPT_ENCODING,
    Fetcher,
    FetchFailed,
    NotSent,
    Response,
)
from crawlyard.engine.robots.cache import Closed, RobotsAccess, RobotsCache, follow_redirects
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
_SAMPLED = 5_000  # URLs of one sitemap that are checked: 50 ms
_TOO_MUCH = "too large for a preview; a crawl reads all of it"


class SitemapProbe(Struct):
    """Findings about one sitemap."""

    url: str
    urls: int | None = None  # number of URLs in it; None: it could not be read
    inside: int = 0  # those in scope, and in no sitemap that was read before
    sitemaps: int = 0  # number of sitemaps in it
    sample: tuple[str, ...] = ()  # some of its URLs
    problem: str = ""


class OriginProbe(Struct):
    """Findings about one origin."""

    origin: str
    rules: RobotsRules | None = None  # None: they could not be fetched
    problem: str = "no response in time"
    blocked: bool = False  # its address is blocked


class Probe(Struct):
    """Probes origins and sitemaps; keeps its findings when it is cancelled."""

    spec: JobSpec
    agent: str
    fetcher: Fetcher
    rate_limiter: RateLimiter
    robots: RobotsCache
    key: str  # its name at the rate limiter
    parser: ThreadPoolExecutor  # a large sitemap takes a second
    inside: Callable[[str], bool]  # true for URLs of sitemaps that are in scope
    origins: dict[str, OriginProbe] = field(default_factory=dict)
    sitemaps: dict[str, SitemapProbe] = field(default_factory=dict)
    named: Counter[str] = field(default_factory=Counter)  # URLs of sitemaps in scope, by host
    requests: int = 0
    _responses_s: dict[str, list[float]] = field(default_factory=dict)  # by host
    _bytes: int = 0
    _known: set[int] = field(default_factory=set)  # hashes of the URLs of sitemaps

    async def run(self, origins: Sequence[str], named: Sequence[str]) -> None:
        """Fetch the robots.txt of *origins*, the sitemaps *named* and those that the rules name."""
        access = RobotsAccess(self.agent, self.robots, self._send)
        try:
            self.origins = {origin: OriginProbe(origin) for origin in origins[:MOST_ORIGINS]}
            await asyncio.gather(*(self._learn(access, origin) for origin in self.origins))
            by_rules = [
                url for result in self.origins.values() for url in self._sitemap_urls(result)
            ]
            await self._read_all(access, list(dict.fromkeys([*named, *by_rules])))
        finally:
            self.rate_limiter.remove_job(self.key)

    def _sitemap_urls(self, result: OriginProbe) -> list[str]:
        base, values = Base(result.origin), result.rules.sitemaps if result.rules else ()
        joined = (base.join(value) for value in values[:MOST_SITEMAPS])
        return [url for url in joined if url is not None]

    async def _learn(self, access: RobotsAccess, origin: str) -> None:
        result = self.origins[origin]
        rules = access.rules_for(origin) or await access.learn(origin)
        if isinstance(rules, Closed):
            result.problem = rules.detail
            result.blocked = rules.kind is ErrorKind.BLOCKED_ADDRESS
        else:
            result.rules, result.problem = rules, ""

    async def _read_all(self, access: RobotsAccess, first: Sequence[str]) -> None:
        level = list(first)
        while level:
            remaining = MOST_SITEMAPS - len(self.sitemaps)
            fresh = [url for url in dict.fromkeys(level) if url not in self.sitemaps][:remaining]
            self.sitemaps |= {
                url: SitemapProbe(url, problem="no response in time") for url in fresh
            }
            nested = await asyncio.gather(*(self._read(access, url) for url in fresh))
            level = [url for urls in nested for url in urls]

    async def _read(self, access: RobotsAccess, url: str) -> Sequence[str]:
        """Read one sitemap; return the sitemaps that it names."""
        result = self.sitemaps[url]
        try:
            rule = await self._robots_problem(access, url)
            if rule:
                result.problem = rule
                return ()
            response = await follow_redirects(partial(self._send, most=MAX_SITEMAP), url)
        except FetchFailed as failure:
            result.problem = f"{failure.kind}: {failure.detail}"
            return ()
        if response.status != 200:
            result.problem = f"answered {response.status}"
            return ()
        loop = asyncio.get_running_loop()
        sitemap, inside = await loop.run_in_executor(self.parser, self._parse, response.body, url)
        self.named += inside
        result.inside = inside.total()
        result.urls, result.sitemaps = len(sitemap.urls), len(sitemap.sitemaps)
        result.sample = sitemap.urls[:5]
        result.problem = sitemap.problem or response.truncated
        return sitemap.sitemaps

    def _parse(self, body: bytes, url: str) -> tuple[Sitemap, Counter[str]]:
        """Parse a sitemap, and count its new URLs in scope, by host.

        If there are many, only a sample is checked.
        """
        sitemap = parse(body, url)
        fresh = [url for url in sitemap.urls if hash(url) not in self._known]
        self._known.update(map(hash, fresh))
        step = -(-len(fresh) // _SAMPLED) or 1
        counts: Counter[str] = Counter()
        for start in range(0, len(fresh), step):
            if self.inside(fresh[start]):
                counts[host_of(fresh[start])] += min(step, len(fresh) - start)
        return sitemap, counts

    def response_s(self, host: str) -> float | None:
        """Return the average response time of a host, ``None`` if it did not respond."""
        times_s = self._responses_s.get(host)
        return sum(times_s) / len(times_s) if times_s else None

    async def _robots_problem(self, access: RobotsAccess, url: str) -> str:
        """Return why a sitemap may not be fetched, "" if it may."""
        if self.spec.ignore_robots:
            return ""
        origin = origin_of(url)
        rules = access.rules_for(origin) or await access.learn(origin)
        if isinstance(rules, Closed):
            return rules.detail
        line = rules.verdict(path_of(url))
        return f"robots: {line}" if line else ""

    def delay_s(self, origin: str) -> float:
        """Return the delay between two requests to an origin, the same as in a crawl."""
        rules = self.robots.get(origin, self.agent)
        robots_s = rules.delay_s if rules is not None and rules.delay_s else 0.0
        return max(self.spec.delay_s, min(robots_s, self.spec.crawl_delay_cap_s))

    async def _send(self, url: str, most: int = MAX_PARSED + 1) -> Response:
        """Send one request when its host is ready; return the response."""
        if self._bytes >= MOST_BYTES:
            raise FetchFailed(ErrorKind.TOO_LARGE, _TOO_MUCH)
        self.requests += 1
        host = host_of(url)
        self.rate_limiter.set_limits(
            self.key, host, self.delay_s(origin_of(url)), self.spec.per_host
        )
        slot = await self.rate_limiter.acquire(host)
        try:
            headers = {"User-Agent": self.agent, "Accept-Encoding": ACCEPT_ENCODING}
            response = await self.fetcher.fetch(url, headers, most, slot.wait_to_send)
        except NotSent as error:
            raise FetchFailed(ErrorKind.PROXY, str(error), transient=True) from error
        finally:
            slot.release()
        self._bytes += response.wire_bytes
        self._responses_s.setdefault(host, []).append(response.elapsed_ms / 1000)
        return response
