# Scrapy is of the extra `bench`, which type checks do without: its classes are then unknown.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""Pages of scripts by Scrapy-Playwright: ``python render_scrapy.py URL AT_ONCE CHROMIUM``.

As its documentation has it, with images blocked, and each page waited for until its title is there.
It writes the number of pages that have their text.
"""

import sys
from collections.abc import Iterator
from typing import Any

from scrapy import Request, Spider
from scrapy.crawler import CrawlerProcess
from scrapy.http import Response
from scrapy_playwright.page import PageMethod


class AppPages(Spider):
    """Follows the links of rendered pages."""

    name = "app-pages"
    pages = 0

    async def start(self) -> Any:
        """Yield the first request."""
        yield self.rendered_request(sys.argv[1])

    @staticmethod
    def rendered_request(url: str) -> Request:
        """Return a request for a page that is rendered."""
        wait = [PageMethod("wait_for_selector", "#text")]
        return Request(url, meta={"playwright": True, "playwright_page_methods": wait})

    def parse(self, response: Response, **_: object) -> Iterator[Request]:
        """Count a page, and yield a request for each link."""
        type(self).pages += bool(response.css("#text::text").get())
        for href in response.css("a::attr(href)").getall():
            yield self.rendered_request(response.urljoin(href))


if __name__ == "__main__":
    handler = "scrapy_playwright.handler.ScrapyPlaywrightDownloadHandler"
    process = CrawlerProcess(
        {
            "DOWNLOAD_HANDLERS": {"http": handler, "https": handler},
            "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
            "CONCURRENT_REQUESTS": int(sys.argv[2]),
            "CONCURRENT_REQUESTS_PER_DOMAIN": int(sys.argv[2]),
            "PLAYWRIGHT_LAUNCH_OPTIONS": {"executable_path": sys.argv[3], "args": ["--no-sandbox"]},
            "PLAYWRIGHT_ABORT_REQUEST": lambda request: request.resource_type in {"image", "font"},
            "ROBOTSTXT_OBEY": True,
            "LOG_LEVEL": "ERROR",
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    process.crawl(AppPages)
    process.start()
    sys.stdout.write(f"pages: {AppPages.pages}\n")
