"""Sitemaps: targets whose URLs are offered to the crawl."""

from crawlyard.core.crawl.page import Outcome, TargetState, Via
from crawlyard.core.quantity import count_noun
from crawlyard.engine import sitemaps
from crawlyard.engine.discovery import Discovery
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.recrawl import Recrawl
from crawlyard.engine.visit.state import Visit

MAX_NESTING = 2
"""Levels of nested sitemaps. The protocol lets an index name only sitemaps; one level of
nested indexes is accepted too. No other limit applies, because sitemaps are not pages."""


class SitemapReader:
    """Reads the sitemaps of one job."""

    def __init__(self, discovery: Discovery, recrawl: Recrawl | None) -> None:
        self._discovery = discovery
        self._recrawl = recrawl

    def read(self, visit: Visit, response: Response) -> Outcome | None:
        """Offer the URLs of a sitemap; a step. An error is recorded as that of a page."""
        if response.status != 200:
            return None
        target, discovery = visit.target, self._discovery
        sitemap = sitemaps.parse(response.body, target.url)
        if self._recrawl is not None:
            self._recrawl.read(sitemap)
        discovery.count_credentials(sitemap.credentials)
        if target.depth < MAX_NESTING:
            for url in sitemap.sitemaps:
                discovery.offer(url, target, Via.SITEMAP)
        for url in sitemap.urls:
            discovery.offer(url, target, Via.LISTED)
        urls, nested = len(sitemap.urls), len(sitemap.sitemaps)
        rule = f"sitemap: {count_noun(urls, 'URL')}, {count_noun(nested, 'sitemap')}"
        if problem := sitemap.problem or response.truncated:
            rule += f" ({problem})"
        return Outcome(target, TargetState.SKIPPED, rule=rule)
