# Scrapy is of the extra `bench`, which type checks do without: its classes are then unknown.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""The same crawl by Scrapy as one writes it who has profiled it; run by ``scrapy runspider``.

Three things take most of the time of the spider that the manual shows: a request object for
every link before it turns out to be known, a hundred tasks for the items of every page, and
the parser. Its event loop is uvloop, which the command says: a spider cannot.
"""

from collections.abc import Iterator
from typing import ClassVar

from links import Links
from scrapy import Request, Spider
from scrapy.http import Response


class Tuned(Spider):
    """Yields one item per page of the host that *start* is on."""

    name = "tuned"
    custom_settings: ClassVar[dict[str, object]] = {
        "CONCURRENT_ITEMS": 4,  # it creates this many tasks per page, needed or not
        "DUPEFILTER_CLASS": "scrapy.dupefilters.BaseDupeFilter",  # the set of known URLs is enough
        "COOKIES_ENABLED": False,
        "METAREFRESH_ENABLED": False,  # it looks through every page
        "REFERER_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "SPIDER_MIDDLEWARES": {
            "scrapy.spidermiddlewares.depth.DepthMiddleware": None,
            "scrapy.spidermiddlewares.urllength.UrlLengthMiddleware": None,
            "scrapy.spidermiddlewares.start.StartSpiderMiddleware": None,
        },
    }

    def __init__(self, start: str, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.start_urls = [start]
        self._links = Links(start)

    def parse(self, response: Response, **_: object) -> Iterator[dict[str, object] | Request]:
        """Yield what a page is called and how it came, and a request for each new link."""
        kind = (response.headers.get("Content-Type") or b"").decode("latin-1")
        title, links = "", []
        if kind.startswith("text/html"):
            title, links = self._links.read(response.url, response.body)
        yield {
            "url": response.url,
            "status": response.status,
            "content_type": kind,
            "title": title,
        }
        for link in links:
            yield Request(link, dont_filter=True)
