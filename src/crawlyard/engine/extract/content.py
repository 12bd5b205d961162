"""Main content of a page: the element that holds it, without navigation.

Works on the tree that links and metadata were read from, and changes it. All of it takes
linear time on hostile input.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import Any

from msgspec import Struct
from turbohtml import Document, Element, Node

from crawlyard.engine.extract.structured import ARTICLES, says_article

VERSION = 2
"""Increased with each change of the rules: hashes of different versions are not comparable."""

DENSITY = "density"
"""The rule for pages on which no selector finds the content."""

NO_BODY = "none"
"""The rule for pages without a <body>."""

WHOLE = "page"
"""The rule for pages whose whole text is kept."""

PLAIN = "plain"
"""The rule for text that is not HTML."""

PDF = "pdf"
"""The rule for the text of PDF documents."""

# Content elements of known themes, named behind them. Navigation is already outside of them. The
# last part of each names a tag: the parser keeps an index by tag, until the tree is changed.
_THEMES = (
    "article.bd-article",  # PyData Sphinx
    "div.body[role=main]",  # Sphinx: basic, alabaster, python.org
    "div.rst-content div[itemprop=articleBody]",  # Read the Docs
    "article.md-content__inner",  # Material for MkDocs
    "div.theme-doc-markdown",  # Docusaurus
    "div.vp-doc",  # VitePress
    "div.sl-markdown-content",  # Starlight
    "section#main-content.content",  # rustdoc
    "#content > main",  # mdBook
    "div#apicontent",  # Node.js
    "div#yui-main",  # Django
    "div#doc-content",  # Doxygen
    "div#main-content.wiki-content",  # Confluence
    "div#mw-content-text",  # MediaWiki
    "article.markdown-body",  # GitHub
)
# Bodies of posts and news. They may hold related stories and the like.
_BODIES = (
    "div[itemprop=articleBody]",
    "section[itemprop=articleBody]",
    "div.article-body",
    "div.article__body",
    "div.entry-content",
    "div.post-content",
    "div.article-content",
)
_GENERIC = ("main", "div[role=main]", "article")

# Queried one by one: the parser keeps an index by tag, a list of tags is a walk.
_SCRIPTS = ("script", "style", "noscript", "template", "iframe", "object", "svg", "canvas")
_CONTROLS = ("button", "select", "input", "textarea")
_MENUS = ("nav", "dialog")
_DOXYGEN = ("div#MSearchSelectWindow", "div#MSearchResultsWindow")  # shown by its search
_FRAMES = ("header", "footer", "aside")  # of the page, unless they are inside of its content
_CONTENT = ("main", "article", "h1")
_ROLES = frozenset({"navigation", "search", "dialog", "banner", "contentinfo", "menu"})
_ITEMS = ("article", "main", "div", "section", "body", "html")
_BLOCKS = frozenset({"div", "section", "ul", "ol", "dl", "table", "aside", "header", "footer"})
_BLOCKS |= {"form", "p", "figure", "article"}
_FIRST_LINES = frozenset({"h1", "h2", "p"})
_UNSEEN = re.compile(r"display:\s*none|visibility:\s*hidden", re.IGNORECASE)
_LOGO = re.compile(r"(?:^|[_-])logo[._-]", re.IGNORECASE)  # in the name of its file
_HOME = re.compile(r"(?:https?://[^/?#]+)?/?(?:\.{1,2}/)*(?:index\.\w+)?", re.IGNORECASE)
_CONTENT_ASIDE = re.compile(r"footnote|topic|admonition|note")  # of docutils


def _names(words: str) -> re.Pattern[str]:
    # whole, or between hyphens: "nav-bar" has "nav", "naval" has not
    return re.compile(rf"(?:^|[-_])(?:{words})(?=$|[-_])", re.IGNORECASE)


# Class names of elements that are never content.
_NEVER_NAMES = _names(
    r"nav|navbar|footer|navigation|nav(?:header|footer)|menu|menubar|breadcrumbs?|crumbs|"
    r"sphinxsidebar|copyright|cookies?|consent|gdpr|pager|pagination|prevnext|skip|docnav|"
    r"nosearch|sr-only|visually-hidden|screen-reader-text|editsection|jump-link|printfooter|"
    r"catlinks|navbox|linenos?|gutter|copybtn|headerlink|anchor-link|header-anchor|hash-link|"
    r"id_link|edit-page|back-to-top|logo|lang(?:uage)?-?(?:switch(?:er)?|select(?:or)?|menu|picker)|"
    r"(?:top|bottom)lang"
)
# Class names of elements that are no content outside the element of a theme.
_AROUND_NAMES = _names(
    r"share|sharing|sharedaddy|socials?|addtoany|related|recommend(?:ed|ations)|more-stories|"
    r"read-?more|newsletter|subscri(?:be|ption)|signup|promo|promotion|sponsored|advert\w*|ads?|"
    r"popup|modal|overlay|paywall|trending|most-read|popular|teasers?|outbrain|taboola|comments|"
    r"comment-?list|reviews|disqus\w*|respond"
)
# Class names of elements that are no content in an article, or with many links or little text.
_MAYBE_NAMES = _names(
    r"sidebars?|side|masthead|banner|widgets?|tags?|tagcloud|rating|author|bio|byline|"
    r"latest|meta|toolbar|tools|actions|credit|(?<![-_])comment"  # "rdfs-comment" is content
)
_EXEMPT = re.compile(
    r"^(?:has|with|no|is|not)-|content|article|post-|entry|body|wrap|layout|page|code|highlight",
    re.IGNORECASE,
)
_IDS = frozenset(
    {"comments", "sidebar", "footer", "header", "page-header", "related", "disqus_thread"}
)
_IDS |= {"respond", "secondary", "colophon"}
_ASCII = bytes(range(128))
_ASCII_SPACES = b"\t\n\v\f\r\x1c\x1d\x1e\x1f "  # with the others, all that str.split drops
_OTHER_SPACES = frozenset(
    "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_MOST_NAMES = 1_000  # characters of a class attribute that are read
_MOST_MENU_WORDS = 60  # characters beside the links of a menu of languages
_MOST_MENUS = 20  # of languages, and logos
_MOST_BARS = 1_000  # children checked for bars of links, from either end
_FEW_LINKED = 200  # characters of links by which a part of the content is always widened
_ENOUGH = 100  # characters: without more beside it, a list of links is the content
_NEVER, _AROUND, _MAYBE = 3, 2, 1  # verdicts on the class names of an element
_VERDICTS = ((_NEVER, _NEVER_NAMES), (_AROUND, _AROUND_NAMES), (_MAYBE, _MAYBE_NAMES))


def content_hash(text: str) -> str:
    """Return the hash that shows changes of a text: 32 hex digits, empty for an empty text.

    White space is ignored, as markup may have any between two blocks, and so is the composition of
    characters. Hashes are comparable if they have the same `VERSION` and the same rule.

    Source: Unicode Standard Annex #15, form NFC.
    """
    # str.split takes twice as long
    bare = text.encode("utf-8", "replace").translate(None, _ASCII_SPACES)
    if other_letters := set(bare.translate(None, _ASCII).decode()):
        letters = bare.decode()
        for space in _OTHER_SPACES & other_letters:
            letters = letters.replace(space, "")
        bare = unicodedata.normalize("NFC", letters).encode()
    return hashlib.blake2b(bare, digest_size=16).hexdigest() if bare else ""


class Main(Struct, frozen=True):
    """Rule, heading and text of the main content of a page."""

    rule: str  # the selector of its element, or "density"
    heading: str  # the page's heading, if it is outside the content
    text: str  # without layout
    whole: int  # characters of the page

    @property
    def dropped(self) -> int:
        """Characters of text outside the content."""
        return self.whole - _size(self.text)


def keep_main(document: Document, title: str, data: Mapping[str, Any]) -> Main | None:
    """Reduce the body of *document* to its main content; return ``None`` if it has no body.

    *title* is the text of the <title>: a heading outside of the content belongs to it only if
    the title repeats it. *data* is the structured data of the page.
    """
    body = document.select_one("body")
    if body is None:
        return None
    # all queries run before the tree is changed, which drops the parser's index by tag
    article = says_article(data) or _is_article_item(document)
    headings = document.select("h1")
    heading = _fold_spaces(headings[0].text) if len(headings) == 1 else ""
    content = _content(document)
    around = _navigation(document)
    matches = {css: document.select(css) for css in (*_THEMES, *_BODIES, *_GENERIC)}
    drop_unseen(document)
    whole = _size(body.text)
    _drop_but(around, content)
    element, rule = _container(document, body, matches, whole)
    theme = rule in _THEMES
    _drop_named(element, content, theme=theme, article=article)
    if not theme:
        if rule == DENSITY:
            element = _narrow(element, _drop_bars(element), article=article)
        elif article:
            element = _narrow(element, _size(element.text), article=True)
    if heading and (heading not in _fold_spaces(title) or _is_inside(headings[0], {element: True})):
        heading = ""
    if element is not body:
        body.clear()
        body.append(element)
    return Main(rule, heading, element.text, whole)


def _is_article_item(document: Document) -> bool:
    """Return whether the page calls itself an article in microdata."""
    items = (node for tag in _ITEMS for node in document.select(f"{tag}[itemtype]"))
    return any((node.attr("itemtype") or "").endswith(ARTICLES) for node in items)


# -- elements that are never content ---------------------------------------------------------


def drop_unseen(document: Document) -> None:
    """Drop invisible elements and form controls."""
    dead = [node for css in (*_SCRIPTS, *_CONTROLS, *_DOXYGEN) for node in document.select(css)]
    styled = document.select("[hidden],[style]")  # all queries run before the tree is changed
    content = _content(document)
    for node in dead:
        node.decompose()
    for node in styled:
        if _is_hidden(node):
            node.decompose()
    _drop_but([node for node in styled if _UNSEEN.search(node.attr("style") or "")], content)


def _navigation(document: Document) -> list[Element]:
    """Return elements that are navigation unless they hold the content."""
    elements = [node for tag in _MENUS for node in document.select(tag)]
    roles = [(node, node.attr("role")) for node in document.select("[role]")]
    elements += [node for node, role in roles if role in _ROLES]
    frames = [node for tag in _FRAMES for node in document.select(tag)]
    content = [node for tag in ("main", "article") for node in document.select(tag)]
    content += [node for node, role in roles if role == "main"]
    inside: dict[Node, bool] = dict.fromkeys(content, True)
    for node in frames:
        docutils = node.tag == "aside" and _CONTENT_ASIDE.search(node.attr("class") or "")
        if not docutils and not _is_inside(node, inside):
            elements.append(node)
    return [*elements, *_language_menus(document), *_logos(document)]


def _logos(document: Document) -> list[Element]:
    """Return the pictures named logo that link to the home page of a site."""
    pictures = document.select("a img[src*=logo i]")
    logos = [node for node in pictures if _LOGO.search(_file_name(node.attr("src") or ""))]
    links = [(logo, logo.closest("a")) for logo in logos[:_MOST_MENUS]]
    return [logo for logo, link in links if link and _HOME.fullmatch(link.attr("href") or "")]


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]


def _language_menus(document: Document) -> list[Element]:
    """Return the blocks of links to translations of the page."""
    links: dict[Element, list[Element]] = {}
    for link in document.select("a[hreflang]"):
        block = link.parent
        for _ in range(4):
            if not isinstance(block, Element) or block.tag in _BLOCKS:
                break
            block = block.parent
        if isinstance(block, Element) and block.tag in _BLOCKS:
            links.setdefault(block, []).append(link)
    return [
        block
        for block, some in [*links.items()][:_MOST_MENUS]
        if (
            len({link.attr("hreflang") for link in some}) > 1
            or all("alternate" in (link.attr("rel") or "") for link in some)
        )
        and len(block.select("a")) <= len(some) + 1  # the page itself may be without
        and _free(block) < _MOST_MENU_WORDS
    ]


def _is_inside(node: Node, inside_by_node: dict[Node, bool]) -> bool:
    """Return whether *node* has an ancestor that is inside; extend *inside_by_node*."""
    path = []
    above: Node | None = node
    while above is not None and above not in inside_by_node:
        path.append(above)
        above = above.parent
    inside = above is not None and inside_by_node[above]
    inside_by_node.update(dict.fromkeys(path, inside))
    return inside


def _is_hidden(node: Element) -> bool:
    """Return whether *node* is hidden; panels of tabs are not, as they are one click away."""
    hidden = node.attr("hidden")
    return hidden is not None and hidden != "until-found" and node.attr("role") != "tabpanel"


def _content(document: Document) -> list[Element]:
    return [node for tag in _CONTENT for node in document.select(tag)]


# -- the element that holds the content ------------------------------------------------------


def _container(
    document: Document, body: Element, matches: Mapping[str, Sequence[Element]], most: int
) -> tuple[Element, str]:
    """Return the element that holds the content, and the selector that found it.

    Some of *matches* may have been dropped since; *body* has at most *most* characters.
    """
    is_attached: dict[Node, bool] = {document: True}
    attached_matches = {
        css: [node for node in nodes if _is_inside(node, is_attached)] if nodes else []
        for css, nodes in matches.items()
    }
    for css in _THEMES:
        if len(nodes := attached_matches[css]) == 1:
            size = 4 * _size(nodes[0].text)
            if size >= most or size >= _size(body.text):
                return nodes[0], css
    if not any(attached_matches.values()):
        return body, DENSITY
    free = _free(body)
    for css in _BODIES:
        if len(nodes := attached_matches[css]) == 1 and 2 * _free(nodes[0]) >= free:
            return nodes[0], css
    for css in _GENERIC:
        best, size = _largest(attached_matches[css], css)
        if best is not None and size >= 0.4 * free:
            return _only_article(best, size, css), css
    return body, DENSITY


def _largest(nodes: Iterable[Element], css: str) -> tuple[Element | None, int]:
    """Return the largest of the outermost *nodes*, and its size without links.

    ``None`` if the second is nearly as large: elements of equal size are posts or teasers, and
    their container is the content.
    """
    outer = [node for node in nodes if node.parent is None or node.parent.closest(css) is None]
    sizes = sorted(((_free(node), position) for position, node in enumerate(outer)), reverse=True)
    if not sizes or (len(sizes) > 1 and sizes[1][0] > 0.3 * sizes[0][0]):
        return None, 0
    size, position = sizes[0]
    return outer[position], size


def _only_article(element: Element, size: int, css: str) -> Element:
    inner = element.select("article") if css != "article" else []
    if len(inner) == 1 and _free(inner[0]) >= 0.8 * size:
        return inner[0]
    return element


# -- elements of the content to drop ---------------------------------------------------------


@lru_cache(maxsize=5_000)
def _verdict(names: str) -> int:
    words = [word for word in names.split()[:12] if not _EXEMPT.search(word)]
    for verdict, pattern in _VERDICTS:
        if any(map(pattern.search, words)):
            return verdict
    return 0


def _drop_named(root: Element, content: Sequence[Element], *, theme: bool, article: bool) -> None:
    """Drop elements whose class names or id mark them as something other than content."""
    candidates = _named(root, theme=theme, article=article)
    if {verdict for _, verdict in candidates} <= {_NEVER}:
        whole = headings = 0
    else:
        whole, headings = _size(root.text), len(root.select("h1"))
    # still valid for each node, as parents come first
    around = _ancestors_of(content) if candidates else ()
    for node, verdict in candidates:
        if node.parent is None or node is root:
            continue
        block = node.tag in _BLOCKS
        if verdict == _NEVER:
            if not block or node not in around:
                node.decompose()
        elif block and _is_beside(node, verdict, whole) and _holds_less(node, headings):
            node.decompose()


def _named(root: Element, *, theme: bool, article: bool) -> list[tuple[Element, int]]:
    """Return elements that may not be content, in document order, with a verdict on each."""
    by_id: set[Node] = set()
    if not theme:
        by_id = {node for node in root.select("[id]") if node.attr("id") in _IDS}
    named = root.select("[class],[id]" if by_id else "[class]")
    names = [node.attr("class") or "" for node in named]
    # most pages have a few dozen names on a thousand elements
    verdict_by_name = {name: _verdict(name[:_MOST_NAMES]) for name in set(names)}
    if theme:
        verdict_by_name = {n: v if v == _NEVER else 0 for n, v in verdict_by_name.items()}
    elif article:
        verdict_by_name = {n: v and max(v, _AROUND) for n, v in verdict_by_name.items()}
    verdicts = [verdict_by_name[name] for name in names]
    if by_id:
        verdicts = [
            max(verdict, _AROUND) if node in by_id else verdict
            for node, verdict in zip(named, verdicts, strict=True)
        ]
    return list(compress(zip(named, verdicts, strict=True), verdicts))


def _holds_less(node: Element, headings: int) -> bool:
    """Return whether a first-level heading remains without *node*, if there is any."""
    return not headings or len(node.select("h1")) < headings


def _is_beside(node: Element, verdict: int, whole: int) -> bool:
    """Return whether a block is small compared with the content, or mostly links."""
    size = _size(node.text)
    small = size <= (0.2 + 0.2 * verdict) * whole
    if small and (verdict == _AROUND or size < 80):
        return True
    enough = whole - size >= _ENOUGH
    if not (small or enough):
        return False
    linked = _linked(node)
    if 10 * linked > 9 * size and enough:
        return True  # a list of links, however long
    return small and 5 * linked > size


def _drop_bars(body: Element) -> int:
    """Drop bars of links before the first heading and after the last line; return the size left."""
    whole = size_left = _size(body.text)
    # from sibling to sibling: a list of all children may take more memory than the page
    for first, step in ((0, "next_sibling"), (-1, "previous_sibling")):
        node = body[first] if len(body) else None
        for _ in range(_MOST_BARS):
            if node is None:
                break
            following = getattr(node, step)
            if isinstance(node, Element):
                if node.tag in _FIRST_LINES or node.select_one("h1,h2,h3"):
                    break
                size = _size(node.text)
                small = node.tag in _BLOCKS and size < max(200, whole // 10)
                if small and 5 * (size - _linked(node)) <= size:
                    node.decompose()
                    size_left -= size
            node = following
    return size_left


def _narrow(root: Element, size: int, *, article: bool) -> Element:
    """Return the part of *root* with its prose; for an article, without blocks of links."""
    linked = _linked(root)
    free = size - linked
    if free < 400 or (4 if article else 2) * (prose := _prose(root)) < free:
        return root  # a reference, a table, a hub
    if linked <= _FEW_LINKED and not article:
        return root  # to which any part of it would be widened
    best = _around_prose(root, prose, article=article)
    if article:
        _drop_link_blocks(best, size)
    return best


def _around_prose(root: Element, prose: int, *, article: bool) -> Element:
    """Return the element with the prose, widened to related sections.

    The parser's score is right on news, but selects a single section of a manual. So the element
    must hold most paragraphs, and except for an article it is widened as long as the added part has
    few links: adjacent sections, not columns of teasers.
    """
    best = root.main_content()
    if best is None or best is root or _prose(best) < 0.7 * prose:
        return root
    size, linked = _size(best.text), _linked(best)
    while not article and best is not root and isinstance(above := best.parent, Element):
        more, links = _size(above.text), _linked(above)
        if links - linked > max(_FEW_LINKED, 0.5 * (more - size)):
            break
        best, size, linked = above, more, links
    return best


def _drop_link_blocks(root: Element, whole: int) -> None:
    inside: dict[Element, list[int]] = {}
    for link in root.select("a"):
        up = link.parent
        for _ in range(6):
            if not isinstance(up, Element) or up is root:
                break
            if up.tag in _BLOCKS:
                inside.setdefault(up, []).append(_size(link.text))
            up = up.parent
    for node, sizes in inside.items():
        if len(sizes) > 1 and sum(sizes) > 30 and node.parent is not None:
            size = _size(node.text)
            if 2 * sum(sizes) > size and size < 0.4 * whole and not node.select_one("h1"):
                node.decompose()


def _drop_but(nodes: Sequence[Element], content: Iterable[Element]) -> None:
    """Drop *nodes*, except those that hold some of the *content*."""
    if not nodes:
        return
    around = _ancestors_of(content)  # a walk from each node would take its depth times as long
    for node in nodes:
        if node.parent is not None and node not in around:
            node.decompose()


def _ancestors_of(nodes: Iterable[Element]) -> set[Node]:
    ancestors: set[Node] = set()
    for node in nodes:
        above = node.parent
        while above is not None and above not in ancestors:
            ancestors.add(above)
            above = above.parent
    return ancestors


# -- measures, in characters other than white space ------------------------------------------


def _size(text: str) -> int:
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t")


def _linked(node: Element) -> int:
    return _size("".join([link.text for link in node.select("a")]))


def _free(node: Element) -> int:
    return max(_size(node.text) - _linked(node), 0)  # outside of links


def _prose(node: Element) -> int:
    return _size("".join([paragraph.text for paragraph in node.select("p")]))


def _fold_spaces(text: str) -> str:
    return " ".join(text.split())
