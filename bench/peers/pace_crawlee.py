# Crawlee is of the extra `bench`, which type checks do without: its classes are then unknown.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""Many hosts by Crawlee, each at a delay: ``python pace_crawlee.py URL AT_ONCE DELAY_S HOSTS``.

Its requests are throttled by host only for the hosts that are named to it.
"""

import re
import sys
from urllib.parse import urljoin, urlsplit

import uvloop
from crawlee import ConcurrencySettings
from crawlee.crawlers import HttpCrawler, HttpCrawlingContext
from crawlee.request_loaders import ThrottlingRequestManager
from crawlee.storage_clients import MemoryStorageClient
from crawlee.storages import RequestQueue

_LINK = re.compile(rb'<a href="([^"]+)"')


async def main(start: str, at_once: int, delay_s: float, hosts: list[str]) -> None:
    """Crawl *hosts* from *start* until stopped."""
    storage = MemoryStorageClient()
    requests = ThrottlingRequestManager(
        inner=await RequestQueue.open(storage_client=storage),
        domains=hosts,
        request_manager_opener=RequestQueue.open,
    )
    for host in hosts:
        requests.set_crawl_delay(f"http://{host}/", int(delay_s) if delay_s >= 1 else delay_s)
    crawler = HttpCrawler(
        storage_client=storage,
        request_manager=requests,
        respect_robots_txt_file=True,
        use_session_pool=False,
        concurrency_settings=ConcurrencySettings(
            min_concurrency=at_once, desired_concurrency=at_once, max_concurrency=at_once
        ),
    )

    async def page(context: HttpCrawlingContext) -> None:
        url = context.request.loaded_url or context.request.url
        hrefs = _LINK.findall(await context.http_response.read())
        links = {urljoin(url, link.decode()) for link in hrefs}
        await context.add_requests(
            [link for link in links if urlsplit(link).hostname in host_names]
        )

    host_names = set(hosts)
    crawler.router.default_handler(page)
    await crawler.run([start])


if __name__ == "__main__":
    names = sys.argv[4].split(",")
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), names))
