# Crawl4AI is not among the extras: type checks do without it.
# mypy: disable-error-code="import-not-found,import-untyped,misc,method-assign,assignment"
"""Pages of scripts by Crawl4AI: ``python render_crawl4ai.py URL AT_ONCE CHROMIUM``.

By its deep crawl as documented, streamed; each page is waited for until its text is there. It
writes the number of pages that have it.
"""

import asyncio
import sys
from functools import partialmethod

from crawl4ai import AsyncWebCrawler, BrowserConfig, CacheMode, CrawlerRunConfig
from crawl4ai.deep_crawling import BFSDeepCrawlStrategy
from playwright.async_api import BrowserType

_DEEP = 1000


async def main(start: str, at_once: int, chromium: str) -> None:
    """Crawl all pages from *start*."""
    # it has no option for the path of a browser
    BrowserType.launch = partialmethod(BrowserType.launch, executable_path=chromium)
    config = CrawlerRunConfig(
        deep_crawl_strategy=BFSDeepCrawlStrategy(max_depth=_DEEP),
        wait_for="css:#text",
        check_robots_txt=True,
        cache_mode=CacheMode.BYPASS,
        semaphore_count=at_once,
        stream=True,
        verbose=False,
    )
    pages = 0
    browser = BrowserConfig(extra_args=["--no-sandbox"], verbose=False)
    async with AsyncWebCrawler(config=browser) as crawler:
        async for result in await crawler.arun(start, config=config):
            pages += 'id="text"' in (result.html or "")
    sys.stdout.write(f"pages: {pages}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
