# Crawl4AI is not among the extras: type checks do without it.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""Markdown by Crawl4AI without a browser: ``python markdown_crawl4ai.py URL AT_ONCE``.

By its HTTP strategy and its deep crawl as documented, streamed, with the filter that keeps the
main content. It writes a record per page.
"""

import asyncio
import json
import sys
from pathlib import Path

from crawl4ai import AsyncWebCrawler, CacheMode, CrawlerRunConfig, HTTPCrawlerConfig
from crawl4ai.async_crawler_strategy import AsyncHTTPCrawlerStrategy
from crawl4ai.content_filter_strategy import PruningContentFilter
from crawl4ai.deep_crawling import BFSDeepCrawlStrategy
from crawl4ai.markdown_generation_strategy import DefaultMarkdownGenerator

_DEEP = 1000


async def main(start: str, at_once: int) -> None:
    """Crawl all pages from *start*."""
    config = CrawlerRunConfig(
        deep_crawl_strategy=BFSDeepCrawlStrategy(max_depth=_DEEP),
        markdown_generator=DefaultMarkdownGenerator(content_filter=PruningContentFilter()),
        check_robots_txt=True,
        cache_mode=CacheMode.BYPASS,
        semaphore_count=at_once,
        mean_delay=0,
        max_range=0,
        stream=True,
        verbose=False,
    )
    strategy = AsyncHTTPCrawlerStrategy(HTTPCrawlerConfig(), max_connections=at_once)
    with Path("pages.jsonl").open("w", encoding="utf-8") as out:  # noqa: ASYNC230 - only it waits
        async with AsyncWebCrawler(crawler_strategy=strategy, verbose=False) as crawler:
            async for result in await crawler.arun(start, config=config):
                headers = {k.lower(): v for k, v in (result.response_headers or {}).items()}
                record = {
                    "url": result.url,
                    "status": result.status_code or 0,
                    "content_type": headers.get("content-type", ""),
                    "markdown": result.markdown.fit_markdown if result.markdown else None,
                }
                out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
