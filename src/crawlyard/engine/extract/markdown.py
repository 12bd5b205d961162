"""Markdown of an element: absolute links, tables as grids, code with its language."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from turbohtml import Document, Element, Markdown, Node, Text

from crawlyard.engine.urls import MAX_URLS, Base

MAX_CELLS = 2_000
"""Cells to which the spans of a table may expand: 40 kB of markup can declare a million."""

MAX_GRID = 10_000_000
"""Characters of all tables of a page as text: 60 kB of markup can declare 60 million."""

MAX_GRID_CELLS = 250_000
"""Cells of all tables of a page as text: each takes 1 kB of memory."""

_GAP = 2  # characters between two columns
_MAX_CODE_LINES = 20  # of a block of code in a cell; with a longer one, the table is flattened
_MAX_NESTED = 8  # tables in tables
_MAX_SPANS = 200  # of one table
_MAX_SPAN = 50
_MAX_MARKED = 10_000  # emphasis elements per page that our own rules convert
_MAX_PIECES = 20_000  # into which inline code of a page is split

_SIGNS = frozenset({"", "¶", "#", "§", "🔗", "permalink", "link", "anchor"})
_ONLY_SIGNS = frozenset({"¶", "#", "§", "🔗"})
_MOST_NAMES = 1_000  # characters of a class attribute that are read
_HEADINGS = "h1,h2,h3,h4,h5,h6,dt"
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language-|lang-|highlight-source-|highlight-|brush:\s*)([\w+#.-]+)"
)
_NO_LANGUAGE = frozenset({"default", "none", "text", "plain", "plaintext", "notranslate"})
_NO_LANGUAGE |= {"highlight", "nohighlight"}
_LINES = ("pre br", "pre div")
_BLOCKS = ("td div", "td p", "th div", "th p")
_PARTS = "tbody,thead,tfoot,tr,td,th,colgroup"
_UNSEEN = "script,style,noscript,title"
_NOT_IN_CODE = ("code > a[href]", "code > br")
_Link = tuple[Element, str, str]  # with its target as written, and its text
_INVISIBLE = "\u200b\u00ad\u2060\ufeff"  # within words, where they break a search


class TooManyCells(Exception):
    """The page has more than `MAX_GRID_CELLS` cells."""


def whole_text(document: Document, most: int) -> str:
    """Return all text of *document*, with tables in columns as long as it has *most* characters.

    Raises:
        TooManyCells: the page has too many for a layout in columns.
    """
    return _render_text(document, document, most)


def flat_text(document: Document) -> str:
    """Return the visible text of *document*, a line for each piece between two tags."""
    document.remove(_UNSEEN)
    return _searchable("\n".join(document.stripped_strings))


def to_text(document: Document, most: int) -> str:
    """Return the body of *document* as text, as `whole_text` does; the tree is changed.

    Raises:
        TooManyCells: the page has too many for a layout in columns.
    """
    lines = [node for css in _LINES for node in document.select(css)]
    blocks = [node for css in _BLOCKS for node in document.select(css)]
    body, _ = _prepare(document)
    if body is None:
        return ""
    # the renderer would join the words around them
    for line in lines:
        if line.previous_sibling is not None:
            line.insert_before(Text("\n"))
    for block in blocks:
        if _has_words(block.previous_sibling):
            block.insert_before(Element("br"))
        if _has_words(block.next_sibling):
            block.insert_after(Element("br"))
    return _searchable(_render_text(document, body, most))


def _render_text(document: Document, node: Node, most: int) -> str:
    """Return *node* as text; if that is over *most* characters, the largest tables lose columns."""
    _limit_grids(document, MAX_GRID)
    text = node.to_text()
    if len(text) > most:
        _limit_grids(document, most)
        text = node.to_text()
    return text


def _has_words(node: Node | None) -> bool:
    return isinstance(node, Text) and bool(node.data.strip())


def to_markdown(document: Document, base: Base) -> str:
    """Return the body of *document* as Markdown with absolute links; the tree is changed."""
    pictures = document.select("img")
    marked = sum(len(document.select(tag)) for tag in _CONVERTERS)
    body, links = _prepare(document)
    if body is None:
        return ""
    _resolve(pictures, links, base)
    text = body.to_markdown(_OPTIONS if marked <= _MAX_MARKED else None)
    if "&#160;" in text and "&#160;" not in body.text:  # added by the renderer, not in the page
        text = text.replace("&#160;", " ")
    return _searchable(text)


def _searchable(text: str) -> str:
    if text.isascii():
        return text
    text = text.replace("\u00a0", " ")
    for letter in _INVISIBLE:  # four searches take a tenth of the time of one expression
        text = text.replace(letter, "")
    return text


def _prepare(document: Document) -> tuple[Element | None, list[_Link]]:
    """Drop permalinks, name the language of code, unfold tables.

    Return the body and its links.
    """
    # all queries run before the tree is changed, which drops the parser's index by tag
    links, blocks = document.select("a[href]"), document.select("pre")
    fragments = _fragments(document)
    codes = {part.parent for css in _NOT_IN_CODE for part in document.select(css)}
    tables, nested = document.select("table"), document.select_one("table table")
    marks = document.select("dt span.classifier")
    body = document.select_one("body")
    other_links = _drop_permalinks(links)
    for block in blocks:
        _name_language(block)
    for fragment, lines in fragments.items():
        _fence(fragment, lines)
    parts = _parts(document) if nested else None
    for table in tables:
        _expand(table, None if parts is None else parts.get(table, ()))
    pieces_left = _MAX_PIECES
    for code in codes:
        if isinstance(code, Element) and code.parent is not None and not code.closest("pre"):
            pieces_left -= len(code)
            if pieces_left >= 0:
                _split(code)
    for mark in marks:
        mark.insert_before(Text(" : "))  # Sphinx draws it with CSS
    return body, other_links


def _drop_permalinks(links: Iterable[Element]) -> list[_Link]:
    """Drop the signs beside headings, and unwrap headings; return the other links."""
    other_links = []
    for link in links:
        href, text = link.attr("href") or "", link.text.strip()
        if href.startswith("#"):
            if text.lower() in _SIGNS and not link.select_one("img"):
                link.decompose()
                continue
            if link.closest(_HEADINGS):
                link.unwrap()
                continue
        elif text in _ONLY_SIGNS and "#" in href and link.closest(_HEADINGS):
            link.decompose()
            continue
        other_links.append((link, href, text))
    return other_links


def _split(code: Element) -> None:
    """Split inline code at links and line breaks, which Markdown does not allow in it."""
    for child in code.children:
        if isinstance(child, Element) and child.tag == "a":
            child.wrap_children(Element("code"))
        elif child.text.strip():
            child.wrap(Element("code"))
    code.unwrap()


def _name_language(block: Element) -> None:
    """Set the class from which the renderer reads the language of a block of code."""
    above = block.parent.parent if block.parent is not None else None
    for element in (block, block.select_one("code"), block.parent, above):
        if isinstance(element, Element) and (language := _language(element)):
            block.attrs["class"] = f"language-{language}"
            return


def _fragments(document: Document) -> dict[Element, list[Element]]:
    """Return the lines of code of each fragment of Doxygen."""
    fragments: dict[Element, list[Element]] = {}
    lines = document.select("div.line")
    if not lines or document.select_one("div.line div.line"):  # Doxygen nests none
        return fragments
    for line in lines:
        if (fragment := line.closest("div.fragment")) is not None:
            fragments.setdefault(fragment, []).append(line)
    return fragments


def _fence(fragment: Element, lines: Sequence[Element]) -> None:
    """Turn the *lines* of a fragment of Doxygen into a block of code."""
    for line in lines:
        for number in line.select("span.lineno"):
            number.decompose()
    code = Element("pre")
    code.append(Text("\n".join(line.text.rstrip() for line in lines).strip("\n")))
    fragment.insert_before(code)
    for line in lines:
        line.decompose()


def _language(node: Element) -> str:
    named = node.attr("data-lang") or node.attr("data-language")
    return named or _language_of((node.attr("class") or "")[:_MOST_NAMES])


@lru_cache(maxsize=1_000)
def _language_of(names: str) -> str:
    languages = (
        language_name
        for language_name in _LANGUAGE.findall(names)
        if language_name.lower() not in _NO_LANGUAGE
    )
    if language := next(languages, ""):
        return language
    words = names.split()
    if "sourceCode" in words or "hljs" in words or words[:1] == ["rust"]:  # Pandoc, mdBook
        other_words = (word for word in words if word not in {"sourceCode", "hljs", "nohighlight"})
        return next(other_words, "")
    return ""


def _resolve(pictures: Iterable[Element], links: Iterable[_Link], base: Base) -> None:
    """Make links absolute; drop empty ones, and unwrap those without a target.

    Once all URLs together have more than `MAX_URLS` characters, the others are unwrapped.
    """
    size_left = MAX_URLS
    for picture in pictures:
        source = picture.attr("src") or "data:"
        if source.startswith("data:"):  # loaded by a script later
            source = picture.attr("data-src") or picture.attr("data-lazy-src") or ""
        url = base.absolute(source) if source and size_left > 0 else None
        if url is None:
            picture.decompose()
        else:
            size_left -= len(url)
            picture.attrs["src"] = url
    for link, href, text in links:
        url = base.absolute(href) if size_left > 0 else None
        if not text and not link.select_one("img"):
            link.decompose()
        elif url is None:
            link.unwrap()
        else:
            size_left -= len(url)
            link.attrs["href"] = url
    base.is_exhausted |= size_left <= 0


def _parts(document: Document) -> dict[Element, list[Element]]:
    """Return the parts of each table, without those of nested tables."""
    parts: dict[Element, list[Element]] = {}
    for part in document.select(_PARTS):
        if (table := part.closest("table")) is not None:
            parts.setdefault(table, []).append(part)
    return parts


def _expand(table: Element, parts: Sequence[Element] | None) -> None:
    """Expand spans, so that the table is a grid; a layout table becomes blocks.

    *parts* are those of the table, if the document has nested tables.
    """
    layout = bool(table.attr("role") == "presentation" or table.select_one("table,h1,h2,h3"))
    code = [] if layout else table.select("pre")
    layout = layout or not _fits_in_cells(code, table)
    items = [] if layout else table.select("li")
    if layout or len(items) > MAX_CELLS or len(table.select("td,th")) == 1:
        for part in (*(table.select(_PARTS) if parts is None else parts), table):
            part.tag = "div"
        return
    for block in code:
        _flatten_code(block)
    if items:
        _flatten_lists(table.select("ul,ol"), items)
    spanned = table.select("[colspan],[rowspan]")
    cells_left = MAX_CELLS if len(spanned) <= _MAX_SPANS else 0
    for cell in spanned:
        wide, tall = _span(cell, "colspan"), _span(cell, "rowspan")
        cells_left -= wide * tall
        if cells_left >= 0 and isinstance(cell.parent, Element):
            _spread(cell, cell.parent, wide, tall)
        for name in ("colspan", "rowspan"):
            if cell.attr(name) is not None:
                del cell.attrs[name]


def _fits_in_cells(code: Sequence[Element], table: Element) -> bool:
    """Return whether blocks of code are short enough for the cells of a table with a header."""
    if not code:
        return True
    lines = [1 + block.text.strip("\n").count("\n") for block in code]
    short = max(lines) <= _MAX_CODE_LINES and sum(lines) <= MAX_CELLS
    return short and table.select_one("th") is not None


def _flatten_code(block: Element) -> None:
    """Turn a block of code in a table into lines of inline code, as a cell holds no block."""
    if _has_words(block.previous_sibling):
        block.insert_before(Element("br"))
    lines = [line for line in block.text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if number:
            block.insert_before(Element("br"))
        code = Element("code")
        code.append(Text(line))
        block.insert_before(code)
    if lines and _has_words(block.next_sibling):
        block.insert_before(Element("br"))
    block.decompose()


def _flatten_lists(lists: Iterable[Element], items: Iterable[Element]) -> None:
    """Turn the lists in a table into lines, as a cell holds no list."""
    for item in items:
        before = (item.previous_sibling, item.parent and item.parent.previous_sibling)
        if any(sibling is not None for sibling in before):
            item.insert_before(Element("br"), Text("- "))
        else:
            item.insert_before(Text("- "))
        item.unwrap()
    for list_element in lists:
        if list_element.next_sibling is not None:
            list_element.insert_after(Element("br"))
        list_element.unwrap()


def _limit_grids(document: Document, most: int) -> None:
    """Flatten tables if all together would take over *most* characters as text."""
    rows = len(document.select("tr"))
    if not rows:
        return
    nested = document.select_one("table table") is not None
    cells = len(document.select("td")) + len(document.select("th"))
    if cells > MAX_GRID_CELLS:
        raise TooManyCells
    if not nested and rows * (len(document.text) + _GAP * cells) <= most:
        return
    deep = document.select_one("table " * (_MAX_NESTED + 1)) is not None
    parts, size_left = _parts(document), most
    within: dict[Node | None, int] = {}  # characters of the tables in a cell
    for table in reversed(document.select("table")):
        of = parts.get(table, [])
        size = 0 if deep else _grid_size([part for part in of if part.tag == "tr"], within)
        if deep or size > size_left:
            for part in (*of, table):
                part.tag = "div"
        else:
            size_left -= size
        if nested and table.parent is not None:
            cell = table.parent.closest("td,th")
            within[cell] = within.get(cell, 0) + size


def _grid_size(rows: Sequence[Element], within: Mapping[Node | None, int]) -> int:
    """Return the characters of a table whose columns are as wide as their widest cell."""
    widths: list[int] = []
    for row in rows:
        sizes = [len(cell.text) + within.get(cell, 0) for cell in _elements(row)]
        widths += [0] * (len(sizes) - len(widths))
        widths[: len(sizes)] = map(max, sizes, widths)
    return len(rows) * (sum(widths) + _GAP * len(widths))


def _span(cell: Element, name: str) -> int:
    value = cell.attr(name) or ""
    return max(1, min(int(value), _MAX_SPAN)) if value.isdecimal() and value.isascii() else 1


def _spread(cell: Element, row: Element, wide: int, tall: int) -> None:
    """Add the empty cells that *cell* covers."""
    position = _elements(row).index(cell)
    below = [sibling for sibling in row.next_siblings if isinstance(sibling, Element)]
    for number, covered_row in enumerate([row, *below][:tall]):
        cells = _elements(covered_row)
        at = position + (number == 0)
        for _ in range(wide - (number == 0)):
            if at < len(cells):
                cells[at].insert_before(Element("td"))
            else:
                covered_row.append(Element("td"))


def _elements(node: Element) -> list[Element]:
    return [child for child in node.children if isinstance(child, Element)]


def _html_converter(tag: str) -> Callable[[Element, str], str]:
    return lambda _, inner: f"<{tag}>{inner}</{tag}>" if inner.strip() else inner


def _emphasis_converter(tag: str, mark: str) -> Callable[[Element, str], str]:
    """Return the converter of an emphasis element.

    The renderer writes HTML wherever the text ends in punctuation; Markdown needs it only between
    punctuation inside and a letter outside.

    Source: CommonMark 0.31 §6.2, left- and right-flanking delimiter runs.
    """

    def convert(element: Element, inner: str) -> str:
        inner = inner.replace("&#160;", " ")
        if inner[:1].isalnum() and inner[-1:].isalnum():
            return f"{mark}{inner}{mark}"  # nearly always
        text = inner.strip()
        nested = text.startswith(mark) and (mark == "**" or not text.startswith("**"))
        if not text or nested:
            return inner
        start = len(inner) - len(inner.lstrip())
        head, tail = inner[:start], inner[start + len(text) :]
        before, after = element.previous_sibling, element.next_sibling
        beside = (head or (before.text if before is not None else ""))[-1:], text[0]
        behind = (tail or (after.text if after is not None else ""))[:1], text[-1]
        if any(letter.isalnum() and not edge.isalnum() for letter, edge in (beside, behind)):
            return f"{head}<{tag}>{text}</{tag}>{tail}"
        return f"{head}{mark}{text}{mark}{tail}"

    return convert


_CONVERTERS = {
    "sup": _html_converter("sup"),
    "sub": _html_converter("sub"),
    "strong": _emphasis_converter("strong", "**"),
    "b": _emphasis_converter("strong", "**"),
    "em": _emphasis_converter("em", "*"),
    "i": _emphasis_converter("em", "*"),
}
_OPTIONS = Markdown(converters=_CONVERTERS)
