# Scrapy is of the extra `bench`, which type checks do without: its classes are then unknown.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""The crawl as Scrapy's documentation has it: a CrawlSpider that follows every link.

Run by ``scrapy runspider``; it does not import Crawlyard, like a user's spider.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from scrapy.http import Response, TextResponse
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, Rule


class Docs(CrawlSpider):
    """Yields one item per page of the host that *start* is on."""

    name = "docs"
    rules = (Rule(LinkExtractor(), callback="parse_page", follow=True),)

    def __init__(self, start: str, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.start_urls = [start]
        self.allowed_domains = [urlsplit(start).hostname or ""]

    def parse_start_url(self, response: Response, **kwargs: object) -> Iterator[dict[str, object]]:
        """Yield the item of the start page, which no rule led to."""
        return self.parse_page(response, **kwargs)

    def parse_page(self, response: Response, **_: object) -> Iterator[dict[str, object]]:
        """Yield what a page is called and how it came."""
        kind = response.headers.get("Content-Type") or b""
        is_text = isinstance(response, TextResponse)
        yield {
            "url": response.url,
            "status": response.status,
            "content_type": kind.decode("latin-1"),
            "title": response.css("title::text").get() if is_text else None,
            "depth": response.meta.get("depth", 0),
        }
