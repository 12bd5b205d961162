"""Page extraction: links, metadata such as the title, and text.

Takes linear time on hostile input. It is CPU-bound and holds the interpreter lock (0.3 ms for
a page of 35 kB, 1 ms with its main content; 0.1 s for 6 MB).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from typing import Any

import turbohtml
from msgspec import Struct, field

from crawlyard.core.access.logged_out import rules_of
from crawlyard.core.crawl.link import MAX_BYTES as MAX_LINK_BYTES
from crawlyard.core.crawl.link import MAX_LINKS, LinkKind, encode_ids, encode_links
from crawlyard.core.crawl.link import MAX_TEXT as MAX_LINK_TEXT
from crawlyard.core.crawl.page import ELEMENTS_CUT, LINKS_CUT
from crawlyard.core.jobs.spec import JobSpec, TextMode
from crawlyard.engine.extract import content, page_text, structured
from crawlyard.engine.extract.logout_sign import SessionSigns, logout_sign
from crawlyard.engine.extract.page_text import visible_length
from crawlyard.engine.urls import MAX_URLS, Base, packed_fingerprints, without_query
from crawlyard.lazy import lazily

# it needs an extra
with lazily():
    from crawlyard.engine.extract import pdf

MAX_TITLE = 1_000  # characters
MAX_DESCRIPTION = 2_000
MAX_LANG = 35  # RFC 5646 §4.4.1: room for every tag in use
MAX_VALUES = 1_000  # per --extract and page
MAX_VALUE = 10_000  # characters of one value

MAX_ELEMENTS = 1_000_000
"""Elements read per page, or one for each 8 bytes if more: a million take 180 MB of memory."""


class ExtractError(ValueError):
    """The page could not be parsed; the message says why."""


class ExtractOptions(Struct, frozen=True):
    """Extraction options of a job."""

    text: TextMode = TextMode.MARKDOWN
    css: tuple[tuple[str, str], ...] = ()  # (name, "CSS" or "CSS@attribute")
    follow_nofollow: bool = False
    outgoing: bool = True  # keep links with their texts
    ignore_query: bool = False
    anchors: bool = False
    ignored: tuple[str, ...] = ()  # CSS of elements to leave out of the text
    session: SessionSigns | None = None  # None: the job has no session


def extract_options_of(spec: JobSpec) -> ExtractOptions:
    """Return the extraction options of a job."""
    selectors = rules_of(spec.logged_out).selectors
    return ExtractOptions(
        text=spec.text,
        css=spec.extract,
        follow_nofollow=spec.follow_nofollow,
        outgoing=spec.keep_links,
        ignore_query=spec.ignore_query,
        anchors=spec.keep_anchors,
        ignored=spec.ignore_css,
        session=SessionSigns(selectors=selectors) if spec.session else None,
    )


class PageSource(Struct, frozen=True, kw_only=True):
    """Origin of a page, with the hints of its server and the options of its job."""

    url: str
    is_pdf: bool = False
    charset: str | None = None  # as named by the server
    language: str = ""  # value of Content-Language
    robots_header: Sequence[str] = ()  # values of X-Robots-Tag
    agent_token: str = ""  # the crawler's name in robots.txt (`robots.token_of`)
    options: ExtractOptions = ExtractOptions()


class Extracted(Struct, frozen=True, kw_only=True):
    """Data extracted from a page. Strings are trimmed and white space is collapsed."""

    title: str = ""
    description: str = ""
    lang: str = ""
    canonical: str = ""  # a canonical URL
    links: tuple[str, ...] = ()  # to follow: canonical URLs in document order, no duplicates
    nofollow: tuple[str, ...] = ()  # the same, of links that must not be followed
    outgoing: bytes = b""  # all links with their texts, as `link.encode_links` returns them
    targets: bytes = b""  # their fingerprints, packed
    anchors: bytes | None = None  # ids of elements, a JSON list; None without that option
    refresh: str | None = None  # target of a <meta> refresh
    noindex: bool = False
    needs_scripts: bool = False  # its text is empty or partial without scripts
    logged_out: str = ""  # sign in the page that the session is logged out: "has …"
    credentials: int = 0  # links whose user name or password was dropped
    text: str | None = None  # None without text extraction
    content_rule: str = ""  # the rule that found the text; empty: no text
    content_hash: str = ""
    content_version: int = 0
    nearly_empty: bool = False  # almost none of its text is main content
    extracted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    structured: dict[str, Any] = field(default_factory=dict)
    cut: str = ""  # note on parts of text and links that were left out
    unreadable: str = ""  # why nothing could be extracted


# Each tag is queried separately: the parser keeps an index by tag, so nine queries take half
# the time of one that names all nine (12 µs instead of 30 for 100 links).
_LINKS = "a[href]"
_RARE = ("area[href]", "iframe[src]", "frame[src]")  # they link to pages too
_ALL_LINKS = ",".join((_LINKS, *_RARE))
_ATTRIBUTES = {"a": "href", "area": "href", "iframe": "src", "frame": "src"}
_KINDS = {  # plain strings: an enum member is hashed by a Python function
    "a": LinkKind.A.value,
    "area": LinkKind.AREA.value,
    "iframe": LinkKind.FRAME.value,
    "frame": LinkKind.FRAME.value,
}
_TEMPLATE = "template:not([shadowrootmode])"  # its content is not part of the page

# Source: WHATWG HTML §4.2.5.3, «shared declarative refresh steps».
_REFRESH = re.compile(
    r"""[\t\n\f\r ]*+[0-9.]++
    (?:[\t\n\f\r ]++[;,]?|[;,])[\t\n\f\r ]*+
    (?:url[\t\n\f\r ]*+=[\t\n\f\r ]*+)?+
    (?:"(?P<double>[^"]*)|'(?P<single>[^']*)|(?P<bare>.*))""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)

# Thresholds that tell a page that needs scripts from one with little text, in characters other
# than white space. Tried on shells of seven frameworks and on 5,700 pages of documentation.
_ENOUGH = 2_500  # text, white space included: a page with more has content
_PARTIAL = 1_000  # maximum around an empty framework root: header and footer
_HINTED = 200  # maximum beside a <noscript> that mentions JavaScript
MAX_SHELL_TEXT = 30  # maximum in place of the content: "Loading, please wait…"
_MUCH = 2_000  # minimum of inline script beside so little text
_FEW_LINKS = 5
SHELL_ROOTS = {"root", "app", "react-root", "react-app", "vue-app", "app-root", "q-app", "svelte"}
SHELL_ROOTS |= {"__next", "__nuxt", "___gatsby"}
_ROOT_TAGS = ("-root", "-app")  # custom elements: app-root, ion-app
_OTHER_CONTENT = ("img", "iframe", "frame", "video", "audio", "object", "embed", "canvas", "input")
_URLS = frozenset({"href", "src", "action", "cite", "data", "poster", "formaction"})
_PREFORMATTED = frozenset({"pre", "textarea"})
_NAVIGATES = re.compile(r"\blocation(?:\.href)?\s*=[^=]|\blocation\.(?:replace|assign)\(")

# X-Robots-Tag directives with a value after a colon; other names before a colon are agents
_VALUED = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
_AGENT = re.compile(r"[\w.*-]+")

_OPENING = re.compile(rb"<(?!/)")


def extract(body: bytes, source: PageSource) -> Extracted:
    """Extract the data of *body*: an HTML page, or the text of a PDF.

    The encoding is taken from a byte order mark, the charset named by the server, the page's
    <meta> or a guess, in this order. A label that no browser knows is ignored. XHTML is read
    as HTML.

    Raises:
        ExtractError: the parser failed.
    """
    try:
        if source.is_pdf:
            return _extract_pdf(body)
        return _extract_html(body, source)
    except MemoryError:
        raise ExtractError("it takes too much memory") from None
    except Exception as error:  # any error of the parser: one page must not end a crawl
        kind = "" if source.is_pdf else f"{type(error).__name__}: "
        raise ExtractError(f"{kind}{error}") from error


def _extract_pdf(body: bytes) -> Extracted:
    document = pdf.read(body)
    return Extracted(
        text=document.text,
        title=_line(document.title, MAX_TITLE),
        lang=_line(document.lang, MAX_LANG),
        content_rule=content.PDF,
        content_hash=content.content_hash(document.text),
        content_version=content.VERSION,
        nearly_empty=not document.text,
        cut=document.cut,
    )


def parse_css(expression: str) -> tuple[str, str | None]:
    """Return the selector and the attribute of "CSS@attribute"; ``None`` means the text.

    Only a name after the last "@" is an attribute; ``a[href*="@"]`` has none.
    """
    css, _, attribute = expression.rpartition("@")
    attribute = attribute.strip()
    if css and attribute.replace("-", "").replace("_", "").replace(":", "").isalnum():
        return css.strip(), attribute.lower()
    return expression.strip(), None


def parse_html(body: bytes, charset: str | None) -> turbohtml.Document:
    """Parse a body in the charset that its server names, else in the detected one."""
    # a declarative shadow root is parsed as a plain template, so that its links are found
    if charset:
        try:
            return turbohtml.parse(
                body,
                encoding=charset.strip(" \"'"),
                positions=False,
                allow_declarative_shadow_roots=False,
            )
        except (LookupError, ValueError):  # no such encoding; a lone surrogate in its name
            pass
    return turbohtml.parse(
        body, detect_encoding=True, positions=False, allow_declarative_shadow_roots=False
    )


def decoded(body: bytes, charset: str | None) -> str:
    """Decode markup in the encoding that a browser would use.

    *charset* is the one from the Content-Type; undecodable bytes become U+FFFD.
    """
    try:
        return body.decode(charset or "utf-8")
    except (LookupError, ValueError):
        return body.decode(parse_html(body, charset).encoding or "utf-8", "replace")


class _PageLinks(Struct):
    """Links of a page in document order."""

    nodes: Sequence[turbohtml.Element]
    kinds: Sequence[str]
    hrefs: Sequence[str]
    rels: Sequence[str]  # empty: no link has a rel


def _find_links(document: turbohtml.Document) -> _PageLinks:
    rare = [css for css in _RARE if document.select(css)]
    nodes = document.select(_ALL_LINKS if rare else _LINKS)
    rels: Sequence[str] = ()
    if rare or document.select("a[rel]"):
        rels = [
            " ".join(rel.lower().split()) if (rel := node.attr("rel")) else "" for node in nodes
        ]
    if rare:
        hrefs = [node.attr(_ATTRIBUTES[node.tag]) or "" for node in nodes]
        kinds = [_KINDS[node.tag] for node in nodes]
    else:
        hrefs = [node.attr("href") or "" for node in nodes]
        kinds = [_KINDS["a"]] * len(nodes)
    return _PageLinks(nodes, kinds, hrefs, rels)


def _outgoing(
    page_links: _PageLinks, urls: Sequence[str], refresh: str | None, *, closed: bool, own: bool
) -> list[tuple[str, str, str, str, str]]:
    """Return the fields of the links of the page, as `Link` has them; *urls* are its targets.

    *closed* if the whole page says nofollow. With *own*, links to fragments of the page itself are
    included: every heading of a manual has one.
    """
    rels = page_links.rels or [""] * len(urls)
    if closed:
        rels = [f"{rel} nofollow".lstrip() for rel in rels]
    links = zip(urls, page_links.hrefs, page_links.kinds, rels, page_links.nodes, strict=True)
    is_listed = (
        urls
        if own
        else [
            url and not href.startswith("#")
            for url, href in zip(urls, page_links.hrefs, strict=True)
        ]
    )
    refreshes = [] if refresh is None else [(refresh, "", LinkKind.REFRESH.value, "", "")]
    return refreshes + [
        (
            url,
            href.partition("#")[2],
            kind,
            rel,
            " ".join(node.text[:1_000].split())[:MAX_LINK_TEXT] or _alternative(node),
        )
        for url, href, kind, rel, node in islice(compress(links, is_listed), MAX_LINKS)
    ]


def _alternative(link: turbohtml.Element) -> str:
    """Return the alt text of the first picture of a link."""
    picture = link.select_one("img")
    return "" if picture is None else _line(picture.attr("alt"), MAX_LINK_TEXT)


def _anchors(document: turbohtml.Document) -> bytes:
    """Return the targets of fragments: ids, and names of links."""
    ids = [node.attr("id") or "" for node in document.select("[id]")]
    names = [node.attr("name") or "" for node in document.select("a[name]")]
    return encode_ids(filter(None, dict.fromkeys(ids + names)))


def _title(document: turbohtml.Document) -> str | None:
    for node in document.select("title"):
        if node.namespace is turbohtml.Namespace.HTML:
            return node.text
    return None


def _href(document: turbohtml.Document, css: str) -> str | None:
    node = document.select_one(css)
    return None if node is None else node.attr("href")


def _extract_html(body: bytes, source: PageSource) -> Extracted:
    options, agent_token = source.options, source.agent_token
    document, is_whole = _parse_capped(body, source.charset)
    if document.select("template"):
        document.remove(_TEMPLATE)
    base = Base(source.url, _href(document, "base[href]"))
    meta = _meta(document.select("meta[content]"))
    directives = {
        *_directives(meta.get("name=robots", ())),
        *_directives(meta.get(f"name={agent_token}", ())),
        *_header_directives(source.robots_header, agent_token),
    }
    closed = bool(directives & {"nofollow", "none"})
    page_links = _find_links(document)
    urls = base.join_each(page_links.hrefs)
    links, nofollow = _links(urls, page_links.rels, closed=closed, follow=options.follow_nofollow)
    after = _refresh(meta, base)
    outgoing, targets = _encode_links(page_links, urls, after, options, closed=closed)
    canonical_href = _href(document, "link[rel~=canonical i][href]")
    data = structured.data(document, meta)
    title, heading = _title(document), document.select("h1")[:1]
    anchors = _anchors(document) if options.anchors else None
    # in this order, as each but the first changes the document
    extracted = {name: _values(document, data, base, value) for name, value in options.css}
    logged_out = logout_sign(document, base, options.session) if options.session else ""
    for css in options.ignored:
        document.remove(css)
    without = f" without {', '.join(options.ignored)}" if options.ignored else ""
    mode = options.text
    read = page_text.whole(document, body) if mode is TextMode.TEXT else page_text.PageText()
    scripted = after is None and _needs_scripts(document, read.text or "", len(links + nofollow))
    if mode not in {TextMode.NONE, TextMode.TEXT}:
        read = page_text.read(document, title or "", data, base, mode, body)
    return Extracted(
        title=_first(
            (title, *_open_graph(meta, "og:title"), *(h.text for h in heading)), MAX_TITLE
        ),
        description=_description(meta),
        lang=_lang(document.root, meta, source.language),
        canonical=(canonical_href and base.join(canonical_href)) or "",
        links=links,
        nofollow=nofollow,
        outgoing=outgoing,
        targets=targets,
        anchors=anchors,
        refresh=after,
        noindex=bool(directives & {"noindex", "none"}),
        logged_out=logged_out,
        credentials=base.credentials,
        text=read.text,
        content_rule=read.rule and read.rule + without,
        content_hash=read.hash,
        content_version=content.VERSION if read.rule else 0,
        nearly_empty=read.nearly_empty,
        extracted=extracted,
        structured=data,
        needs_scripts=scripted,
        cut=_cuts(read.cut, base, whole=is_whole),
    )


def _parse_capped(body: bytes, charset: str | None) -> tuple[turbohtml.Document, bool]:
    """Return the document up to the maximum of elements, and whether it is complete."""
    most = max(MAX_ELEMENTS, len(body) // 8)
    if len(body) <= most or body.count(b"<") - body.count(b"</") <= most:
        return parse_html(body, charset), True
    last = next(islice(_OPENING.finditer(body), most, None), None)
    return parse_html(body[: last.start()] if last else body, charset), last is None


def _cuts(text: str, base: Base, *, whole: bool) -> str:
    """Describe in one line the parts of a page that were left out."""
    reasons = [text] if text else []
    if not whole:
        reasons.append(ELEMENTS_CUT)
    if base.is_exhausted:
        reasons.append(f"{LINKS_CUT}, as their URLs have over {MAX_URLS:,} characters")
    return "; ".join(reasons)


def _encode_links(
    page_links: _PageLinks,
    urls: Sequence[str],
    refresh: str | None,
    options: ExtractOptions,
    *,
    closed: bool,
) -> tuple[bytes, bytes]:
    """Return the distinct links of the page for the store, and the fingerprints of their targets.

    Of too many, those that fit into `MAX_LINK_BYTES`; none if the job stores no links.
    """
    if not options.outgoing:
        return b"", b""
    each = _outgoing(page_links, urls, refresh, closed=closed, own=options.anchors)
    links = list(dict.fromkeys(each))[:MAX_LINKS]
    data = encode_links(links) if links else b""
    while len(data) > MAX_LINK_BYTES:
        links = links[: len(links) * MAX_LINK_BYTES // len(data)]
        data = encode_links(links)
    targets = [link[0] for link in links]
    if options.ignore_query:  # both the URLs, and the keys of their pages
        targets += [without_query(url) for url in targets]
    return data, packed_fingerprints(targets)


def _links(
    urls: Sequence[str], rels: Sequence[str], *, closed: bool, follow: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the URLs to follow, and the others; *closed* if the whole page says nofollow."""
    distinct = tuple(filter(None, dict.fromkeys(urls)))
    if closed and not follow:
        return (), distinct
    if follow or not any("nofollow" in rel for rel in rels):
        return distinct, ()
    shut = ["nofollow" in rel.split() for rel in rels]
    followed = dict.fromkeys(url for url, no in zip(urls, shut, strict=True) if url and not no)
    return tuple(followed), tuple(url for url in distinct if url not in followed)


def _meta(nodes: Iterable[turbohtml.Element]) -> dict[str, list[str]]:
    """Return the contents of <meta> elements by "name=…", "http-equiv=…" and "property=…"."""
    contents: dict[str, list[str]] = {}
    for node in nodes:
        for attribute in ("name", "http-equiv", "property"):
            value = node.attr(attribute)
            if value:
                key = f"{attribute}={value.strip().lower()}"
                contents.setdefault(key, []).append(node.attr("content") or "")
    return contents


def _open_graph(meta: Mapping[str, Sequence[str]], name: str) -> Sequence[str]:
    """Return the values of an Open Graph property; many sites write it as a name."""
    return meta.get(f"property={name}") or meta.get(f"name={name}") or ()


def _description(meta: Mapping[str, Sequence[str]]) -> str:
    own = meta.get("name=description", ())
    return _first((*own, *_open_graph(meta, "og:description")), MAX_DESCRIPTION)


def _first(texts: Iterable[str | None], most: int) -> str:
    """Return the first of *texts* that is not blank, up to *most* characters."""
    return next(filter(None, (_line(text, most) for text in texts)), "")


def _lang(root: turbohtml.Element | None, meta: Mapping[str, Sequence[str]], header: str) -> str:
    """Return the language named by the page or else its server; a list of several is ignored.

    Source: WHATWG HTML §4.2.5.3, «content language state».
    """
    own = (root.attr("lang") or root.attr("xml:lang")) if root is not None else None
    listed = (*meta.get("http-equiv=content-language", ()), header)
    locales = (value.replace("_", "-") for value in _open_graph(meta, "og:locale"))
    return _first(
        (own, *(language for language in listed if "," not in language), *locales), MAX_LANG
    )


def _directives(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from value.lower().replace(",", " ").split()


def _header_directives(values: Iterable[str], agent_token: str) -> Iterator[str]:
    """Yield the X-Robots-Tag directives that apply to us.

    After «name:», the rest of the line applies to that agent only.
    """
    for value in values:
        ours = True
        for part in value.lower().split(","):
            name, colon, directive = part.partition(":")
            name = name.strip()
            if colon and name not in _VALUED and _AGENT.fullmatch(name):
                ours = name in {"*", agent_token}
                part = directive  # noqa: PLW2901  # the part after the name
            if ours:
                yield part.strip()


def _refresh(meta: Mapping[str, Sequence[str]], base: Base) -> str | None:
    """Return the URL that a page refreshes to, if any."""
    contents = meta.get("http-equiv=refresh", ())
    target = next(filter(None, map(_refresh_target, contents)), None)
    return None if target is None else base.join(target)


def _refresh_target(content: str) -> str | None:
    """Return the target of a refresh, ``None`` if it only reloads the page."""
    match = _REFRESH.match(content)
    if match is None:
        return None
    return next((text for text in match.groups() if text), None)


def _needs_scripts(document: turbohtml.Document, text: str, links: int) -> bool:
    """Return whether a page has almost no content without scripts.

    The cheapest checks come first, as most pages have enough *text* or links.
    """
    if len(text) > _ENOUGH or not (scripts := document.select("script")):
        return False
    roots = list(_roots(document))
    if not roots and links > _FEW_LINKS:
        return False
    inline = [script.text for script in scripts]
    styles = (style.text for style in document.select("style"))
    if len(document.text) - sum(map(len, inline)) - sum(map(len, styles)) > _ENOUGH:
        return False
    return _is_shell(document, roots, inline, links)


def _is_shell(
    document: turbohtml.Document,
    roots: Sequence[turbohtml.Element],
    inline: Sequence[str],
    links: int,
) -> bool:
    """Return whether a page with little text is a shell for scripts; modifies the document."""
    hinted = any("javascript" in node.text.lower() for node in document.select("noscript"))
    document.remove("script,style,noscript,title")
    text_length = visible_length(document.text)
    if text_length <= _PARTIAL and any(
        visible_length(node.text) <= MAX_SHELL_TEXT for node in roots
    ):
        return True
    if hinted and text_length <= _HINTED and links <= _FEW_LINKS:
        return True
    if links or any(document.select(tag) for tag in _OTHER_CONTENT):
        return False
    if text_length <= MAX_SHELL_TEXT and (not text_length or sum(map(len, inline)) > _MUCH):
        return True
    return text_length <= _HINTED and any(map(_NAVIGATES.search, inline))


def _roots(document: turbohtml.Document) -> Iterator[turbohtml.Element]:
    """Yield the root elements that a framework fills."""
    for css in ("div[id]", "main[id]"):  # by tag, since a query by id scans the whole page
        for node in document.select(css):
            if (node.attr("id") or "").lower() in SHELL_ROOTS:
                yield node
    body = document.select_one("body")
    for child in body.children if body is not None else ():
        if isinstance(child, turbohtml.Element) and child.tag.endswith(_ROOT_TAGS):
            yield child


def _values(
    document: turbohtml.Document, data: Mapping[str, Any], base: Base, expression: str
) -> tuple[str, ...]:
    """Return the values of an ``--extract`` expression, in document order."""
    path = structured.path_of(expression)
    if path is not None:
        matches = structured.values(data, path)
        return tuple(value[:MAX_VALUE] for value in islice(matches, MAX_VALUES))
    css, attribute = parse_css(expression)
    nodes = document.select(css)[:MAX_VALUES]
    if attribute is None:
        return tuple(_text_of(node) for node in nodes)
    values = (node.attr(attribute) for node in nodes)
    if attribute not in _URLS:
        return tuple(value.strip()[:MAX_VALUE] for value in values if value is not None)
    urls = (base.absolute(value) for value in values if value is not None)
    return tuple(url[:MAX_VALUE] for url in urls if url)


def _text_of(node: turbohtml.Element) -> str:
    """Return the text of an extracted element; code keeps its lines."""
    if node.tag in _PREFORMATTED or node.select_one("pre"):
        lines = node.text.replace("\r\n", "\n")[: MAX_VALUE * 10].split("\n")
        return "\n".join(line.rstrip() for line in lines).strip("\n")[:MAX_VALUE]
    return _line(node.text, MAX_VALUE)


def _line(text: str | None, most: int) -> str:
    """Return up to *most* characters of *text*, with white space collapsed."""
    # cut early, since a title may have a megabyte
    return " ".join((text or "")[: most * 10].split())[:most]
