"""Content of the demo site: a deterministic handbook of linked pages."""

from collections.abc import Mapping
from html import escape
from posixpath import relpath
from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.demo import prose
from crawlyard.errors import Invalid

HTML = "text/html; charset=utf-8"
SLOW_S = 1.5  # long enough to stand out, short enough for a demo
FANOUT = 8  # most children of a section or article: fits a table of contents
MAX_CACHED = 10_000  # pages kept once built; about 4 KB each
MAX_SITEMAP = 50_000  # the most entries allowed in one sitemap (sitemaps.org)
_STYLE = "body{font:1rem/1.5 serif;max-width:44rem;margin:2rem auto;padding:0 1rem}"
EDITED_AT = "Mon, 01 Jun 2026 08:00:00 GMT"


class Answer(Struct, frozen=True):
    """One response. The server adds Date, Content-Length and Connection if they are missing."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay_s: float = 0.0  # before the first byte


class _Node(Struct, frozen=True):
    """One page and its place in the tree. Numbers are indexes into `DemoSite.pages`."""

    number: int
    path: str
    title: str
    parent: int  # its own number for the home page
    children: tuple[int, ...]


class Edits(Struct, frozen=True):
    """Differences of the second edition of a site, by path."""

    changed: frozenset[str] = frozenset()  # also the home page, which lists new pages
    new: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()  # still linked
    moved: Mapping[str, str] = {}


class DemoSite:
    """A small documentation site: home, sections, and articles below them.

    *pages* is the number of pages that a polite crawl stores. With *faults*, one page is slow,
    and the site has the faulty URLs named by the attributes below.

    The second *edition* differs from the first by `edits`.

    Raises:
        Invalid: *pages* is below 1.
    """

    forbidden = "/private/"  # linked, but robots.txt disallows it
    redirect = "/old-start"  # leads to `redirect_target`
    missing = "/chapter-that-was-removed.html"  # 404
    broken = "/broken-index"  # 500
    nofollow = "/drafts/"  # answers, but its only link is nofollow
    external = "https://example.org/harbours"  # out of scope

    def __init__(self, pages: int = 300, faults: bool = True, *, edition: int = 1) -> None:  # noqa: FBT001, FBT002 - callers pass it by name
        if pages < 1:
            raise Invalid("pages", f"expected at least 1, got {pages}")
        self.faults = faults
        self._nodes = _tree(pages)
        self._first = tuple(self._nodes)  # of the first edition
        self.edits = Edits() if edition == 1 else _edit(self._nodes)
        self._by_path = {node.path: node for node in self._nodes}
        self._built: dict[int, Answer] = {}

    @property
    def pages(self) -> tuple[str, ...]:
        """Paths of all regular pages, the home page first."""
        return tuple(node.path for node in self._nodes)

    @property
    def slow(self) -> str | None:
        """Path of the page that takes `SLOW_S`; ``None`` without faults."""
        return self._first[-1].path if self.faults else None

    @property
    def redirect_target(self) -> str:
        """Path that the redirecting page leads to."""
        return self._first[len(self._first) // 2].path

    @property
    def failing(self) -> dict[str, int]:
        """Linked paths that fail, with their statuses."""
        return {self.missing: 404, self.broken: 500} if self.faults else {}

    def reachable(self) -> frozenset[str]:
        """Return the paths that a polite crawl from / stores with status 200."""
        return frozenset(self._by_path) - self.edits.removed

    def answer(self, method: str, path: str, host: str) -> Answer:
        """Return the answer for *path*, ignoring its query; *host* is the Host header."""
        del method
        path = path.partition("?")[0]
        if (to := self.edits.moved.get(path)) is not None:
            return Answer(301, (("Location", to),))
        node = self._by_path.get(path)
        if node is not None and path not in self.edits.removed:
            return self._page(node)
        if path == "/robots.txt":
            return _text(self._robots(host))
        if path == "/sitemap.xml":
            return self._sitemap(host)
        return (self._fault(path) if self.faults else None) or _notice(404, "Not found")

    def _fault(self, path: str) -> Answer | None:
        if path == self.redirect:
            return Answer(301, (("Location", self.redirect_target),))
        if path == self.broken:
            return _notice(500, "Internal server error")
        if path == self.forbidden:
            return _notice(200, "Private papers")
        if path == self.nofollow:
            return _notice(200, "Drafts")
        return None

    def _page(self, node: _Node) -> Answer:
        built = self._built.get(node.number)
        if built is None:
            body = self._html(node).encode()
            headers = (
                ("Content-Type", HTML),
                ("ETag", f'"{crc32(body):08x}"'),
                ("Last-Modified", EDITED_AT),
            )
            built = Answer(200, headers, body, SLOW_S if node.path == self.slow else 0.0)
            if len(self._built) < MAX_CACHED:
                self._built[node.number] = built
        return built

    def _html(self, node: _Node) -> str:
        return _document(
            node.title,
            prose.description(node.number),
            f'<link rel="canonical" href="{node.path}">',
            f"<nav>{self._around(node)}</nav>",
            f"<h1>{escape(node.title)}</h1>",
            *(f"<p>{escape(text)}</p>" for text in self._text(node)),
            self._contents(node),
            f"<p>See also: {self._elsewhere(node)}.</p>",
            self._faulty_links() if self.faults and node.number == 0 else "",
        )

    def _text(self, node: _Node) -> list[str]:
        paragraphs = prose.paragraphs(node.number)
        if node.path in self.edits.changed:
            text, _, _ = paragraphs[0].rstrip(".").rpartition(". ")
            paragraphs[0] = f"{text}. {prose.LATER}"
        return paragraphs

    def _around(self, node: _Node) -> str:
        """Return the links to home, parent, siblings, next and previous page."""
        last = len(self._nodes) - 1
        parent = self._nodes[node.parent]
        links = [f'<a href="/">Home</a> <a href="{_relative(node.path, parent.path)}">Up</a>']
        if node.number > 0:
            links.append(self._link(node, node.number - 1, 'rel="prev" '))
        if node.number < last:
            links.append(self._link(node, node.number + 1, 'rel="next" '))
        links += [self._link(node, n) for n in parent.children if n != node.number]
        return " ".join(links)

    def _contents(self, node: _Node) -> str:
        if not node.children:
            return ""
        items = "".join(f"<li>{self._link(node, n)}</li>" for n in node.children)
        return f"<h2>In this part</h2><ul>{items}</ul>"

    def _elsewhere(self, node: _Node) -> str:
        """Return two cross links; one has a fragment, and so is another spelling of a known URL."""
        total = len(self._first)
        first = self._nodes[(node.number * 7 + 3) % total]
        second = self._nodes[(node.number * 13 + 5) % total]
        return (
            f'<a href="{first.path}">{escape(first.title)}</a> and '
            f'<a href="{second.path}#notes">{escape(second.title)}</a>'
        )

    def _link(self, node: _Node, number: int, attributes: str = "") -> str:
        to = self._nodes[number]
        href = _relative(node.path, to.path)
        return f'<a {attributes}href="{href}">{escape(to.title)}</a>'

    def _faulty_links(self) -> str:
        again = self.redirect_target
        return f"""<h2>Odds and ends</h2><ul>
<li><a href="{self.redirect}">Where the handbook used to begin</a></li>
<li><a href="{self.slow}">A page that takes its time</a></li>
<li><a href="{self.missing}">A chapter that was removed</a></li>
<li><a href="{self.broken}">The broken index</a></li>
<li><a href="{self.forbidden}">Private papers</a></li>
<li><a href="{self.nofollow}" rel="nofollow">Drafts</a></li>
<li><a href="/./drafts/..{again}#top">A page in another spelling</a></li>
<li><a href="{self.external}">Other harbours</a></li>
</ul>"""

    def _robots(self, host: str) -> str:
        rules = f"Disallow: {self.forbidden}" if self.faults else "Disallow:"
        return f"User-agent: *\n{rules}\n\nSitemap: http://{host}/sitemap.xml\n"

    def _sitemap(self, host: str) -> Answer:
        urls = "".join(
            f"<url><loc>http://{escape(host)}{node.path}</loc><lastmod>2026-06-01</lastmod></url>\n"
            for node in self._nodes[:MAX_SITEMAP]
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
        )
        return Answer(200, (("Content-Type", "application/xml"),), body.encode())


def _tree(pages: int) -> list[_Node]:
    """Return *pages* nodes: home, up to twelve sections, and a tree of `FANOUT` below each."""
    sections = min(len(prose.SECTIONS), max(1, (pages - 1) // FANOUT))
    parents = [0]
    for number in range(1, pages):
        # Within a section, pages are numbered as in a heap: the parent of m is (m - 1) // FANOUT.
        position, section = divmod(number - 1, sections)
        parents.append(0 if position == 0 else (position - 1) // FANOUT * sections + section + 1)
    children: list[list[int]] = [[] for _ in range(pages)]
    for number in range(1, pages):
        children[parents[number]].append(number)
    nodes = [_Node(0, "/", "The harbour handbook", 0, tuple(children[0]))]
    for number in range(1, pages):
        is_section = number <= sections
        title = prose.SECTIONS[number - 1] if is_section else prose.title(number - sections - 1)
        end = "/" if is_section or children[number] else ".html"
        path = f"{nodes[parents[number]].path}{prose.slug(title)}{end}"
        nodes.append(_Node(number, path, title, parents[number], tuple(children[number])))
    return nodes


def _edit(nodes: list[_Node]) -> Edits:
    """Make the second edition of *nodes*: a page is new, one has moved, one is removed."""
    leaves = [node for node in nodes[:-1] if not node.children]
    new = _Node(len(nodes), "/news.html", "News of the harbour", 0, ())
    nodes.append(new)
    nodes[0] = replace(nodes[0], children=(*nodes[0].children, new.number))
    if len(leaves) < 3:
        return Edits(changed=frozenset({"/"}), new=frozenset({new.path}))
    *unchanged, removed, moved = leaves
    path = f"{moved.path.removesuffix('.html')}-revised.html"
    nodes[moved.number] = replace(moved, path=path)
    return Edits(
        changed=frozenset({"/", *(node.path for node in unchanged[::10])}),
        new=frozenset({new.path}),
        removed=frozenset({removed.path}),
        moved={moved.path: path},
    )


def _relative(base: str, to: str) -> str:
    """Return the relative link from a page at *base* to *to*, as documentation tools write it."""
    folder = base.rpartition("/")[0] or "/"
    href = relpath(to, folder)
    return f"{href}/" if to.endswith("/") else href


def _document(title: str, description: str, *parts: str) -> str:
    head, *body = parts
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(title)}</title>",
            f'<meta name="description" content="{escape(description)}">',
            '<meta name="viewport" content="width=device-width">',
            head,
            f"<style>{_STYLE}</style></head><body>",
            *(part for part in body if part),
            "</body></html>\n",
        )
    )


def _notice(status: int, words: str) -> Answer:
    body = _document(words, words, "", f'<h1>{words}</h1><p><a href="/">Home</a></p>')
    return Answer(status, (("Content-Type", HTML),), body.encode())


def _text(words: str) -> Answer:
    return Answer(200, (("Content-Type", "text/plain; charset=utf-8"),), words.encode())
