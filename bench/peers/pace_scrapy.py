# Scrapy is of the extra `bench`, which type checks do without: its classes are then unknown.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""Many hosts by Scrapy, each at a delay: ``python pace_scrapy.py URL AT_ONCE DELAY_S HOSTS``."""

import sys
from collections.abc import Iterator

from scrapy import Request, Spider
from scrapy.crawler import CrawlerProcess
from scrapy.http import Response


class Hosts(Spider):
    """Follows all links, on any host."""

    name = "hosts"

    def parse(self, response: Response, **_: object) -> Iterator[dict[str, object] | Request]:
        """Yield what a page is called, and a request for each link."""
        yield {"url": response.url, "title": response.css("title::text").get()}
        yield from response.follow_all(css="a")


if __name__ == "__main__":
    process = CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": int(sys.argv[2]),
            "CONCURRENT_REQUESTS_PER_DOMAIN": 2,
            "DOWNLOAD_DELAY": float(sys.argv[3]),
            "RANDOMIZE_DOWNLOAD_DELAY": False,
            "ROBOTSTXT_OBEY": True,
            "LOG_LEVEL": "ERROR",
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    process.crawl(Hosts, start_urls=[sys.argv[1]])
    process.start()
