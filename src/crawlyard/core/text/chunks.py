"""Text chunks for search and retrieval: split by heading, with stable ids."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct

_HEADING = re.compile(r"(#{1,6}) +(.*?)(?: +#+)?$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_TABLE_RULE = re.compile(r"[|:\s-]*-[|:\s-]*")  # below the header of a table
_NO_WORDS = re.compile(r"[|:*_\s-]*")  # such a rule, empty cells, or a thematic break


class Chunk(Struct, frozen=True, kw_only=True):
    """A part of a page's text under one heading.

    The id comes from the page's URL, the headings and the number of the chunk below them. It stays
    when the text changes, so that a new version replaces the old one in an index.
    """

    id: str  # 32 hex digits
    headings: tuple[str, ...]  # from the page's title down, in plain text
    text: str  # without the headings
    words: int


def chunks(url: str, text: str, most: int, *, markdown: bool = True) -> Iterator[Chunk]:
    """Yield the chunks of a page's *text* in order, of at most *most* words each.

    A chunk has whole paragraphs, lists, tables and blocks of code of one section. Only a block of
    more than *most* words is split, between lines where it can be. Text that is not *markdown* is
    one section: in source code, "#" begins a comment.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    sections = _sections(text) if markdown else [((), list(_blocks(text, markdown=False)))]
    for headings, blocks in sections:
        for part in _pack(blocks, most):
            if _NO_WORDS.fullmatch(part):
                continue
            number = counts[headings]
            counts[headings] += 1
            key = "\0".join((url, *headings, str(number)))
            digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()
            yield Chunk(id=digest, headings=headings, text=part, words=len(part.split()))


def _sections(markdown: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the headings above each section, and its blocks."""
    path: list[tuple[int, str]] = []
    blocks: list[str] = []
    for block in _blocks(markdown):
        heading = _HEADING.fullmatch(block)
        if heading is None:
            blocks.append(block)
            continue
        if blocks:
            yield tuple(title for _, title in path), blocks
            blocks = []
        level = len(heading[1])
        path = [heading for heading in path if heading[0] < level]
        path.append((level, plain(heading[2])))
    if blocks:
        yield tuple(title for _, title in path), blocks


def _blocks(text: str, *, markdown: bool = True) -> Iterator[str]:
    """Yield the blocks between blank lines; headings and fenced code are blocks of their own."""
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line) if markdown else None
        if fence:
            lines.append(line)
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
        elif mark:
            lines.append(line)
            fence = mark[1]
        elif line.strip() and not (markdown and _HEADING.fullmatch(line)):
            lines.append(line)
        else:
            if lines:
                yield "\n".join(lines)
                lines = []
            if line.strip():
                yield line
    if lines:
        yield "\n".join(lines)


def _pack(blocks: Sequence[str], most: int) -> Iterator[str]:
    """Yield texts of as many whole blocks as fit in *most* words."""
    chunk_lines: list[str] = []
    words = 0
    for block in blocks:
        size = len(block.split())
        if chunk_lines and words + size > most:
            yield "\n\n".join(chunk_lines)
            chunk_lines, words = [], 0
        if size > most:
            yield from _split(block, most)
        else:
            chunk_lines.append(block)
            words += size
    if chunk_lines:
        yield "\n\n".join(chunk_lines)


def _split(block: str, most: int) -> Iterator[str]:
    """Yield parts of a block that is too long: whole lines, or words of a line that is too long."""
    piece: list[str] = []
    words = 0
    lines = block.splitlines()
    if _TABLE_RULE.fullmatch(lines[1] if len(lines) > 1 else ""):
        header = "\n".join(lines[:2])
        lines[:2] = [header if len(header.split()) <= most else lines[0]]
    for line in lines:
        split_words = line.split()
        if words and words + len(split_words) > most:
            yield "\n".join(piece)
            piece, words = [], 0
        if len(split_words) > most:
            for start in range(0, len(split_words), most):
                yield " ".join(split_words[start : start + most])
        else:
            piece.append(line)
            words += len(split_words)
    if words:
        yield "\n".join(piece)


_LINK = re.compile(
    r"!?\[((?:[^\[\]\\]|\\.)*)\]"
    r"\((?:<[^<>]*>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)"  # the URL
    r'(?:\s+"(?:[^"\\]|\\.)*")?\)'  # the title
)
_MARK = re.compile(r"(?<!\\)[*`]+|</?su[bp]>")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def plain(inline: str) -> str:
    """Return inline Markdown without its marks: the text of a link, no emphasis."""
    text = _MARK.sub("", _LINK.sub(r"\1", _LINK.sub(r"\1", inline)))  # of a picture in a link
    return " ".join(_ESCAPE.sub(r"\1", text).split())
