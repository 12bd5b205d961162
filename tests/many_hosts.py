"""A site of many hosts, which are loopback addresses, with links between them."""

from collections import Counter
from collections.abc import Iterable
from urllib.parse import urlsplit

from crawlyard.demo.site import HTML, Answer


class ManyHosts:
    """Pages /0 to /n of each of *hosts* loopback addresses: one server is all of them.

    A page links to the next one of its own host and to one of another; the first page
    of the first host links to those of all.
    """

    def __init__(self, hosts: int, pages: int) -> None:
        self.hosts = hosts
        self.pages = pages
        self.requests: Counter[tuple[str, str]] = Counter()  # by host and path

    def answer(self, method: str, path: str, host: str) -> Answer:
        name, _, port = host.partition(":")
        self.requests[name, path] += 1
        number = path.removeprefix("/")
        if not number.isdigit() or int(number) >= self.pages:
            return Answer(404)
        here = self.number(name)
        links = [f"http://{address(to)}:{port}/{n}" for to, n in self.links(here, int(number))]
        anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
        body = f"<!doctype html><title>{name}{path}</title>{anchors}"
        return Answer(200, (("Content-Type", HTML),), body.encode())

    def links(self, host: int, page: int) -> Iterable[tuple[int, int]]:
        """Yield the hosts and pages that a page links to."""
        if page + 1 < self.pages:
            yield host, page + 1
        yield (host * 7 + page + 1) % self.hosts, page
        if page == host == 0:
            yield from ((other, 0) for other in range(self.hosts))

    def number(self, name: str) -> int:
        """Return which of the hosts *name* is."""
        *_, high, low = name.split(".")
        return int(high) * 250 + int(low) - 1

    def start(self, port: int) -> str:
        """Return the URL from which all pages are reached."""
        return f"http://{address(0)}:{port}/0"

    def urls(self, port: int) -> set[str]:
        """Return the URLs of all pages."""
        each = ((h, n) for h in range(self.hosts) for n in range(self.pages))
        return {f"http://{address(h)}:{port}/{n}" for h, n in each}

    def twice(self) -> set[tuple[str, str]]:
        """Return the pages that were asked for more than once, robots.txt left out."""
        many = (key for key, times in self.requests.items() if times > 1)
        return {(host, path) for host, path in many if path != "/robots.txt"}


def address(host: int) -> str:
    """Return the loopback address of a host by its number."""
    high, low = divmod(host, 250)
    return f"127.0.{high}.{low + 1}"


def hosts_of(urls: Iterable[str]) -> set[str]:
    return {urlsplit(url).netloc for url in urls}
