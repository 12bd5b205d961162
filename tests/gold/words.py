"""Words: of a page's gold, of a text, of Markdown without its marks."""

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import turbohtml
from turbohtml import Element

from tests.gold.themes import Theme

Words = Counter[str]

DEAD = ("script", "style", "template", "noscript", "svg", "iframe", "object")
_INLINE = (
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|label|mark|nobr|q|rp|rt"
    "|ruby|s|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr"
)
INLINE = frozenset(_INLINE.split("|"))

_WORD = re.compile(r"\w+")
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))

_FENCE = re.compile(r"^[ >]*(`{3,}|~{3,}).*$")
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_PATH = r"(?:<[^<>\n]*>|(?:[^\s()\\]|\\.|\((?:[^\s()]|\([^\s()]*\))*\))*)"
_TARGET = rf"\({_PATH}(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)"
_IMAGE = re.compile(r"!\[(?:[^\[\]\\]|\\.)*\]" + _TARGET)
_LINK_END = re.compile(r"(?<!\\)\]" + _TARGET)
_DEFINITION = re.compile(r"^ {0,3}\[(?!\^)[^\]\n]+\]:\s+\S+.*$", re.MULTILINE)
_ITEM = re.compile(r"^([ >]*)(?:[-*+] +)*\d{1,9}[.)](?= |$)", re.MULTILINE)
_INLINE_TAG = re.compile(rf"(?<!\\)</?(?:{_INLINE})(?:\s[^<>]*)?/?>")
_BLOCK_TAG = re.compile(
    r"(?<!\\)</?(?:blockquote|br|caption|col|colgroup|dd|details|div|dl|dt|figcaption|figure|h[1-6]|hr"
    r"|img|li|ol|p|pre|summary|table|tbody|td|tfoot|th|thead|tr|ul)(?:\s[^<>]*)?/?>"
)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


@dataclass(frozen=True, slots=True)
class Gold:
    """Required and optional words of a page's text."""

    words: Words
    optional: Words


def words(text: str) -> Words:
    """The words of a text: runs of \\w, case-folded, without underscores around them."""
    plain = unicodedata.normalize("NFC", text).translate(_INVISIBLE).casefold()
    tokens = (word.strip("_") for word in _WORD.findall(plain))
    return Counter(word for word in tokens if word)


def gold(body: bytes, theme: Theme) -> Gold:
    """The words of the page's main content as its theme's row describes it."""
    document = turbohtml.parse(body, detect_encoding=True)
    for selector in (*DEAD, *theme.remove):
        for element in document.select(selector):
            element.decompose()
    content = _outermost(e for selector in theme.content for e in document.select(selector))
    optional = _outermost(
        e for inside in content for selector in theme.optional for e in inside.select(selector)
    )
    may = words(" ".join(_text(element) for element in optional))
    for element in optional:
        element.decompose()
    return Gold(words(" ".join(_text(element) for element in content)), may)


def strip_markdown(text: str) -> str:
    """The text of Markdown: no marks, tags, numbers of list items, link targets or images."""
    prose: list[str] = []
    parts: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and line.strip(" >") == mark[1]:
                fence = ""
            else:
                parts.append(line)
        elif mark and not ("`" in mark[1] and "`" in line.strip(" >").lstrip("`")):
            parts.append(_strip_prose("\n".join(prose)))
            prose = []
            fence = mark[1]
        else:
            prose.append(line)
    parts.append(_strip_prose("\n".join(prose)))
    return "\n".join(parts)


def _strip_prose(text: str) -> str:
    """Markdown outside fences without its marks; code between back-ticks stays as it is."""
    spans: list[str] = []

    def set_aside(match: re.Match[str]) -> str:
        spans.append(match[2])
        return f"\ue000{len(spans) - 1}\ue001"

    text = _CODE.sub(set_aside, text)
    text = _IMAGE.sub(" ", text)
    text = _LINK_END.sub("", text)
    text = _DEFINITION.sub("", text)
    text = _ITEM.sub(r"\1", text)
    text = _BLOCK_TAG.sub(" ", _INLINE_TAG.sub("", text))
    text = re.sub(r"(?<!\\)(?:\*+|~~)", "", text)
    text = html.unescape(_ESCAPE.sub(r"\1", text))
    return re.sub("\ue000(\\d+)\ue001", lambda match: spans[int(match[1])], text)


def _outermost(elements: Iterable[Element]) -> list[Element]:
    """The elements that lie in no other of them, each once."""
    every = list(dict.fromkeys(elements))
    members = set(every)
    return [e for e in every if not any(a in members for a in e.ancestors)]


def _text(element: Element) -> str:
    """The element's text, with a space wherever a block begins or ends."""
    parts: list[str] = []
    stack: list[object] = [element]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            parts.append(node)
        elif isinstance(node, turbohtml.Text):
            parts.append(node.data)
        elif isinstance(node, Element):
            space = [] if node.tag in INLINE else [" "]
            stack += [*space, *reversed(list(node.children)), *space]
    return "".join(parts)
