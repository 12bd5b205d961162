# Crawlee is of the extra `bench`, which type checks do without: its classes are then unknown.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""The crawl as Crawlee's documentation has it: ``python crawlee_parsel.py URL AT_ONCE``.

A `ParselCrawler` that enqueues every link of a page and pushes an item; what it keeps is in
files below the folder that it runs in, as they are by default.
"""

import asyncio
import sys

from crawlee import ConcurrencySettings
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext


async def main(start: str, at_once: int) -> None:
    """Crawl the host of *start*."""
    crawler = ParselCrawler(
        respect_robots_txt_file=True,
        concurrency_settings=ConcurrencySettings(
            desired_concurrency=at_once, max_concurrency=at_once
        ),
    )

    async def page(context: ParselCrawlingContext) -> None:
        await context.push_data(
            {
                "url": context.request.loaded_url,
                "status": context.http_response.status_code,
                "content_type": context.http_response.headers.get("content-type", ""),
                "title": context.selector.css("title::text").get(),
            }
        )
        await context.enqueue_links()

    crawler.router.default_handler(page)
    await crawler.run([start])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
