# selectolax is of the extra `bench`, which type checks do without.
# mypy: disable-error-code="import-not-found"
"""Expert tuning for a framework: a fast parser and a set of known URLs.

No request object is made of a link whose URL is known.
"""

import re
from urllib.parse import urlsplit

import can_ada
from selectolax.lexbor import LexborHTMLParser

# never pages: all crawlers compared skip these and request the rest
_FILE = re.compile(
    r"\.(7z|avi|bmp|bz2|css|docx?|epub|exe|gif|gz|ico|jar|jpe?g|js|mp[34]|ogg|pdf|png|pptx?|rar|"
    r"rss|svg|tar|tgz|tiff?|web[mp]|woff2?|xlsx?|xz|zip)(\?|$)"
)


class Links:
    """The pages of the host of *start*, each once."""

    def __init__(self, start: str, *, skip_known: bool = True) -> None:
        parts = urlsplit(start)
        self._host = f"{parts.scheme}://{parts.netloc}/"
        self._urls = {start}
        self._skip_known = skip_known  # else a page's links are only distinct among themselves

    def read(self, url: str, body: bytes) -> tuple[str, list[str]]:
        """Return the title of the page *body* at *url*, and the URLs to ask for next."""
        tree = LexborHTMLParser(body)
        hrefs = {
            href.partition("#")[0]
            for node in tree.css("a[href]")
            if (href := node.attributes["href"])
        }
        base = can_ada.parse(url)
        title = tree.css_first("title")
        return title.text() if title else "", list(self._new(base, hrefs))

    def _new(self, base: can_ada.URL, hrefs: set[str]) -> set[str]:
        urls = set()
        for href in hrefs:
            try:
                link: str = (base + href).href
            except ValueError:
                continue
            if link not in self._urls and link.startswith(self._host) and not _FILE.search(link):
                urls.add(link)
        if self._skip_known:
            self._urls |= urls
        return urls
