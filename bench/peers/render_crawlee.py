# Crawlee is of the extra `bench`, which type checks do without: its classes are then unknown.
# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator"
"""Pages of scripts by Crawlee: ``python render_crawlee.py URL AT_ONCE CHROMIUM``.

By its PlaywrightCrawler as documented; each page is waited for until its text is there. It writes
the number of pages that have it.
"""

import asyncio
import sys

from crawlee import ConcurrencySettings
from crawlee.crawlers import PlaywrightCrawler, PlaywrightCrawlingContext
from crawlee.storage_clients import MemoryStorageClient


async def main(start: str, at_once: int, chromium: str) -> None:
    """Crawl all pages from *start*."""
    crawler = PlaywrightCrawler(
        storage_client=MemoryStorageClient(),
        headless=True,
        browser_type="chromium",
        browser_launch_options={"executable_path": chromium, "args": ["--no-sandbox"]},
        respect_robots_txt_file=True,
        concurrency_settings=ConcurrencySettings(
            min_concurrency=at_once, desired_concurrency=at_once, max_concurrency=at_once
        ),
    )
    pages = 0

    @crawler.router.default_handler
    async def page(context: PlaywrightCrawlingContext) -> None:
        nonlocal pages
        await context.page.wait_for_selector("#text")
        text = await context.page.text_content("#text")
        pages += bool(text)  # in one step: other pages count meanwhile
        await context.enqueue_links()

    await crawler.run([start])
    sys.stdout.write(f"pages: {pages}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
