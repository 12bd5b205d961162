# Crawlee is of the extra `bench`, which type checks do without: its classes are then unknown.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""The same crawl by Crawlee's `HttpCrawler`: ``python crawlee_http.py URL AT_ONCE [known]``.

Everything stays in memory, the loop is uvloop, the parser is selectolax. With ``known``, as one
writes it who has profiled it: no request is made of a link that is known.
"""

import json
import sys
from pathlib import Path

import uvloop
from crawlee import ConcurrencySettings
from crawlee.crawlers import HttpCrawler, HttpCrawlingContext
from crawlee.storage_clients import MemoryStorageClient
from links import Links


async def main(start: str, at_once: int, *, skip_known: bool) -> None:
    """Crawl the host of *start*, and write the pages as JSON Lines."""
    crawler = HttpCrawler(
        storage_client=MemoryStorageClient(),
        respect_robots_txt_file=True,
        configure_logging=not skip_known,
        use_session_pool=not skip_known,
        concurrency_settings=ConcurrencySettings(
            min_concurrency=at_once, desired_concurrency=at_once, max_concurrency=at_once
        ),
    )
    links = Links(start, skip_known=skip_known)
    items: list[dict[str, object]] = []

    async def page(context: HttpCrawlingContext) -> None:
        url = context.request.loaded_url or context.request.url
        kind = context.http_response.headers.get("content-type", "")
        title = ""
        if kind.startswith("text/html"):
            title, urls = links.read(url, await context.http_response.read())
            if urls:
                await context.add_requests(urls)
        status = context.http_response.status_code
        items.append({"url": url, "status": status, "content_type": kind, "title": title})

    try:
        crawler.router.default_handler(page)
        await crawler.run([start])
    finally:
        lines = "".join(f"{json.dumps(item)}\n" for item in items)
        Path("pages.jsonl").write_text(lines, encoding="utf-8")  # noqa: ASYNC240 - all is over


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), skip_known=sys.argv[3:] == ["known"]))
