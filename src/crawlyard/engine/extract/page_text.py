"""Text of a page in each mode, bounded by the size of the page."""

import gc
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from turbohtml import Document

from crawlyard.core.crawl.page import TEXT_CUT
from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract import content, markdown
from crawlyard.engine.urls import Base

RATIO = 4
SLACK = 64 * 1024
"""A text has at most `RATIO` times the bytes of its page, plus `SLACK`. Pages of documentation
have less than once; each line of nested quotes or lists could have 87 times its own."""

DENSE_SIZE = 256 * 1024
DENSE = 150_000
"""A page of more bytes, and of more lines and tags than this, is dense: its layout may take a
hundred times its size."""

_INDENTING = re.compile(rb"<(/?)(?:blockquote|[ou]l)\b", re.IGNORECASE)
_INDENT = 4  # characters of a level, at most; usual ones of numbers have three
_LEVELS = 16  # deeper levels are not indented

# A main content of fewer characters is nearly empty, if the page has many more
_EMPTY = 60
_FULL = 600


class PageText(Struct, frozen=True):
    """Text of a page, with the rule that found it."""

    text: str | None = None
    rule: str = ""
    hash: str = ""
    nearly_empty: bool = False
    cut: str = ""  # note on parts that were left out


class TextBound(Struct, frozen=True):
    """Maximum size of a text, and whether it keeps its layout."""

    most: int  # bytes
    is_flat: bool = False  # no layout, which alone would be larger

    @classmethod
    def of(cls, body: bytes) -> "TextBound":
        """Return the bound by the size of *body*, without layout if it is nested too deeply."""
        return cls(RATIO * len(body) + SLACK, _is_too_deep(body))

    def cut(self, text: str) -> tuple[str, str]:
        """Return *text* up to the bound, and a note on the cut."""
        if 4 * len(text) <= self.most:  # a character has up to four bytes
            return text, ""
        encoded = text.encode("utf-8", "replace")
        if len(encoded) <= self.most:
            return text, ""
        cut = f"{TEXT_CUT} at {self.most:,} bytes, {RATIO} times the page and {SLACK >> 10} kB"
        return encoded[: self.most].decode("utf-8", "ignore"), cut


def is_dense(body: bytes) -> bool:
    """Return whether a page has so many lines that its layout may take much memory."""
    if len(body) <= DENSE_SIZE:
        return False
    return sum(map(body.count, (b"<", b"\n", b"\r"))) > DENSE


def whole(document: Document, body: bytes) -> PageText:
    """Return the text in the mode ``text``; the document is changed if it has no layout."""
    bound = TextBound.of(body)
    with suppress(MemoryError, markdown.TooManyCells):
        if not bound.is_flat:
            text = markdown.whole_text(document, bound.most)
            return _within(bound, PageText(text, content.WHOLE, content.content_hash(text)))
    return _without_layout(document, bound)


def read(
    document: Document,
    title: str,
    data: Mapping[str, Any],
    base: Base,
    mode: TextMode,
    body: bytes,
) -> PageText:
    """Return the text in any mode but ``none`` and ``text``; the document is changed."""
    bound = TextBound.of(body)
    with suppress(MemoryError, markdown.TooManyCells):
        if not bound.is_flat and mode is TextMode.PAGE_MARKDOWN:
            return _within(bound, _page_markdown(document, base))
        if not bound.is_flat:
            return _within(bound, _main(document, title, data, base, mode, bound))
    return _without_layout(document, bound)


def visible_length(text: str) -> int:
    """Return the number of characters other than white space."""
    return sum(map(len, text.split()))


def _page_markdown(document: Document, base: Base) -> PageText:
    content.drop_unseen(document)
    digest = content.content_hash(document.text)
    return PageText(markdown.to_markdown(document, base), content.WHOLE, digest)


def _main(
    document: Document,
    title: str,
    data: Mapping[str, Any],
    base: Base,
    mode: TextMode,
    bound: TextBound,
) -> PageText:
    main = content.keep_main(document, title, data)
    if main is None:
        return PageText("", content.NO_BODY)
    if mode is TextMode.MAIN:
        text, sign = markdown.to_text(document, bound.most), ""
    else:
        text, sign = markdown.to_markdown(document, base), "# "
    if main.heading:
        text = f"{sign}{main.heading}\n\n{text}"
    nearly_empty = visible_length(text[:_FULL]) < _EMPTY and main.dropped > _FULL
    digest = content.content_hash(f"{main.heading} {main.text}")
    return PageText(text, main.rule, digest, nearly_empty)


def _without_layout(document: Document, bound: TextBound) -> PageText:
    """Return the text of a page whose layout would be too large."""
    gc.collect()  # free the reference cycles of a failed layout
    text = markdown.flat_text(document)
    cut = "the text has no layout, which would be too large"
    return _within(bound, PageText(text, content.WHOLE, content.content_hash(text), cut=cut))


def _within(bound: TextBound, page_text: PageText) -> PageText:
    text, cut = bound.cut(page_text.text or "")
    return replace(page_text, text=text, cut=page_text.cut or cut) if cut else page_text


def _is_too_deep(body: bytes) -> bool:
    """Return whether nested lists and quotes alone would indent a text beyond its bound."""
    if not is_dense(body):
        return False
    size = depth = position = 0
    for tag in _INDENTING.finditer(body):
        size += _lines(body, position, tag.start()) * min(depth, _LEVELS) * _INDENT
        depth, position = max(depth + (-1 if tag[1] else 1), 0), tag.end()
    size += _lines(body, position, len(body)) * min(depth, _LEVELS) * _INDENT
    return size > RATIO * len(body) + SLACK


def _lines(body: bytes, start: int, end: int) -> int:
    """Return an upper bound of the lines of text in a part of a page."""
    return body.count(b"\n", start, end) + body.count(b"<", start, end)
