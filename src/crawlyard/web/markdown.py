"""Markdown of crawled pages as a tree of elements, which the dashboard builds node by node.

The text is untrusted: raw HTML stays text, links lead only to http and https, and an image is
shown as a link.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

Node: TypeAlias = str | list[Any]
"""Text, or an element: its tag with classes, its attributes, then its children."""

MAX_BRACKETS = 10_000
"""Opening brackets of one text; paragraphs after that many are shown as they are written."""

MAX_BLOCKS = 16
"""Nested quotes and lists; deeper ones become one paragraph. A list counts twice."""

MAX_DEPTH = 50
"""Nested elements; deeper ones are added to the last."""

_TAG = re.compile(r"<(sup|sub|em|strong)>|<br ?/?>")  # the extractor writes these itself
_WINDOW = 2_000  # characters in which a tag is closed
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_OUT = {"target": "_blank", "rel": "noopener noreferrer nofollow"}


def nodes_of(text: str) -> list[Node]:
    """Return *text*, which is Markdown, as nodes."""
    root: list[Any] = []
    stack = [root]
    links = 0  # open ones: an image in a link is no link
    for token in _flat(_MARKDOWN.parse(text)):
        top = stack[-1]
        if token.type == "link_open":
            links += 1
        elif token.type == "link_close":
            links -= 1
        if token.nesting < 0:
            stack.pop()
        elif token.nesting == 0:
            top.append(_leaf(token, linked=links > 0))
        elif token.hidden or len(stack) > MAX_DEPTH:  # hidden: the paragraphs of a tight list
            stack.append(top)
        else:
            stack.append(_open_element(token, top))
    return root


def _flat(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from (token.children or ()) if token.type == "inline" else (token,)


def _open_element(token: Token, parent: list[Any]) -> list[Any]:
    """Append the element of *token* to *parent*; return the list that its children go to."""
    tag = token.tag
    if token.type == "heading_open":  # the page itself has the first level
        tag = f"h{min(6, int(tag[1]) + 1)}"
    elif token.attrs.get("style") == "text-align:right":
        tag += ".num"
    element: list[Any] = [tag, _attributes(token)]
    around = {"tabindex": 0, "role": "group", "aria-label": "Table"}
    parent.append(["div.scroll", around, element] if tag == "table" else element)
    return element


def _attributes(token: Token) -> dict[str, Any]:
    match token.type:
        case "link_open":
            return _link(token.attrs["href"])
        case "th_open":
            return {"scope": "col"}
        case "ordered_list_open":
            return dict(token.attrs)  # its first number
    return {}


def _link(url: str | float) -> dict[str, Any]:
    return {"href": url, "title": url, **_OUT}


def _leaf(token: Token, *, linked: bool) -> Node:
    match token.type:
        case "text":
            return token.content
        case "softbreak":
            return "\n"
        case "code_inline":
            return ["code", {}, token.content]
        case "fence" | "code_block":
            return _code(token)
        case "image":
            parts = [part.content for part in token.children or ()]
            name = f"Image: {''.join(parts)}" if any(parts) else "Image"
            return name if linked else ["a", _link(token.attrs["src"]), name]
    return [token.tag, {}]


def _code(token: Token) -> Node:
    code = ["code", {}, token.content.removesuffix("\n")]
    block: Node = ["pre", {"tabindex": 0}, code]
    language = (token.info.split() or [""])[0][:40]
    return ["figure.code", {}, ["figcaption", {}, language], block] if language else block


def _inline(state: StateCore) -> None:
    """Parse what is inside paragraphs, up to `MAX_BRACKETS`."""
    brackets = 0
    for token in state.tokens:
        if token.type != "inline":
            continue
        brackets += token.content.count("[")
        token.children = []
        if brackets > MAX_BRACKETS:
            token.children.append(Token("text", "", 0, content=token.content))
        else:
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _deep(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    """Read what is nested too deep as one paragraph: the parser would drop it."""
    if silent or state.level < MAX_BLOCKS:
        return False
    line = start + 1
    while line < end and (state.isEmpty(line) or state.sCount[line] >= state.blkIndent):
        line += 1
    state.push("paragraph_open", "p", 1)
    inline = state.push("inline", "", 0)
    inline.content = state.getLines(start, line, state.blkIndent, keepLastLF=False).strip()
    state.push("paragraph_close", "p", -1)
    state.line = line
    return True


def _tag(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the parser calls it
    """Read a tag that the extractor writes where Markdown has no mark of its own."""
    match = _TAG.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    name, start, most = match[1], match.end(), state.posMax
    if name is None:
        if not silent:
            state.push("hardbreak", "br", 0)
        state.pos = start
        return True
    close = f"</{name}>"
    end = state.src.find(close, start, min(most, start + _WINDOW))
    if end < 0:
        return False
    if not silent:
        state.push(f"{name}_open", name, 1)
        state.pos, state.posMax = start, end
        state.md.inline.tokenize(state)
        state.push(f"{name}_close", name, -1)
    state.pos, state.posMax = end + len(close), most
    return True


def _parser() -> MarkdownIt:
    options = {"html": False, "maxNesting": MAX_BLOCKS + 4}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    parser.disable("reference")  # a definition would vanish from the text
    parser.core.ruler.at("inline", _inline)
    parser.block.ruler.before("table", "deep", _deep)
    parser.inline.ruler.before("autolink", "tag", _tag)
    parser.validateLink = lambda url: _SCHEME.match(url) is not None  # type: ignore[method-assign]
    return parser


_MARKDOWN = _parser()
