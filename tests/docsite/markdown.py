"""Parts of Markdown that the generated references share."""

import re
from collections.abc import Iterable, Iterator, Sequence

Pages = dict[str, str]
"""Markdown by path within the documentation."""

_SECTION = re.compile(r"^(Args|Raises|Returns|Yields):$")


def cell(text: str) -> str:
    """Return *text* as the content of a table cell."""
    return prose(text).replace("\n", " ").replace("|", "\\|").replace("<", "&lt;").strip()


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or nothing if there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *lines])


def page(*parts: str) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def prose(text: str) -> str:
    """Return a docstring as Markdown: double backticks become single ones."""
    return re.sub(r"``(.+?)``", r"`\1`", text)


def docstring(text: str) -> str:
    """Return a docstring in Google's style as Markdown, with its sections as lists."""
    blocks = text.strip().split("\n\n")
    return "\n\n".join("\n".join(_lines(block)) for block in blocks)


def _lines(block: str) -> Iterator[str]:
    first, *rest = block.splitlines()
    if not (section := _SECTION.match(first)):
        yield prose(block)
        return
    yield f"**{section[1]}**\n"
    for line in rest:
        name, colon, meaning = line.strip().partition(": ")
        starts_item = colon and re.match(r" {4}\S", line)
        yield f"- `{name}`: {prose(meaning)}" if starts_item else f"  {prose(line.strip())}"


def first_sentence(text: str) -> str:
    """Return the first sentence of the first paragraph, without links and marks."""
    for block in re.split(r"\n\s*\n", text):
        if block.strip() and not re.match(r"#|<|```|\||!\[|---|\s*[-*] ", block.strip()):
            plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(block.split()))
            return re.split(r"(?<=[.!?]) (?=[A-Z*`])", plain)[0]
    return ""
