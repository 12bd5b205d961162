"""Pages that grow: small on the wire, and many times as large once their links or text are read."""

import gzip
from collections.abc import Callable, Iterator
from functools import cache

from tests.hazards.bombs import coded
from tests.hazards.common import Hazard, Make

SIZE = 8 * 1024 * 1024  # decoded: as much of a body as is read by default


def filled(start: str, unit: str, size: int = SIZE) -> bytes:
    """Return *start*, and *unit* again and again up to *size* bytes."""
    head, each = start.encode(), unit.encode()
    return head + each * ((size - len(head)) // len(each))


def based(length: int, links: Iterator[str] | list[str]) -> bytes:
    """Return links on a page whose <base> has *length* characters."""
    return f'<base href="/{"x" * length}/">{"".join(links)}'.encode()


def packed(build: Callable[[], bytes]) -> Make:
    """Return what gives a page in gzip, built when it is first asked for."""

    @cache
    def answer() -> bytes:
        return gzip.compress(build(), 6)

    return lambda _: coded("gzip", answer())


QUOTES = "<blockquote>" * 20
NUMBERED = "<ol start=999999999><li>" * 16

PAGES: dict[str, Callable[[], bytes]] = {
    "long-base": lambda: based(100_000, ["<a href=a>x</a>"] * 20_000),
    "repeated-link": lambda: based(7_900, ["<a href=a>x</a>"] * 60_000),
    "pictures": lambda: based(7_900, ["<img src=a>"] * 80_000),
    "links": lambda: based(7_000, (f"<a href={n}>x</a>" for n in range(50_000))),
    "words": lambda: based(7_900, (f"<a href=a>{n}</a>" for n in range(20_000))),
    "quotes": lambda: filled(f"{QUOTES}<pre>", "x\n"),
    "quotes-1": lambda: filled(f"{QUOTES}<pre>", "x\n", SIZE // 8),
    "numbered": lambda: filled(f"{NUMBERED}<pre>", "x\n", SIZE // 8),
    "lists": lambda: filled("<ul><li>" * 200, "x<br>"),
    "paragraphs": lambda: filled("", "<p>x"),
    "cells": lambda: filled("<table>", "<tr><td>x<td>y<td>z"),
    "bold": lambda: filled("", "<b>x</b>"),
    "plain": lambda: filled("<p>", "word "),
}

HAZARDS = tuple(
    Hazard(f"/grow/{name}", packed(build), ("page", "truncated")) for name, build in PAGES.items()
)
"""A text may be cut, which the record says: what is to be seen is the memory that they take."""
