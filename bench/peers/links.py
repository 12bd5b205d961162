# selectolax is of the extra `bench`, which type checks do without.
# mypy: disable-error-code="import-not-found"
"""What an expert puts in front of a framework: a parser that is fast, and a set of known URLs.

No request object is made of a link whose URL is known.
"""

import re
from urllib.parse import urlsplit

import can_ada
from selectolax.lexbor import LexborHTMLParser

# what is surely no page, as all who are compared leave it out; the rest they ask for
_FILE = re.compile(
    r"\.(7z|avi|bmp|bz2|css|docx?|epub|exe|gif|gz|ico|jar|jpe?g|js|mp[34]|ogg|pdf|png|pptx?|rar|"
    r"rss|svg|tar|tgz|tiff?|web[mp]|woff2?|xlsx?|xz|zip)(\?|$)"
)


class Links:
    """The pages of the host of *start*, each once."""

    def __init__(self, start: str, *, known: bool = True) -> None:
        parts = urlsplit(start)
        self._host = f"{parts.scheme}://{parts.netloc}/"
        self._seen = {start}
        self._knows = known  # else a page's links are only distinct among themselves

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
        found = set()
        for href in hrefs:
            try:
                link: str = (base + href).href
            except ValueError:
                continue
            if link not in self._seen and link.startswith(self._host) and not _FILE.search(link):
                found.add(link)
        if self._knows:
            self._seen |= found
        return found
