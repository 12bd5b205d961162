"""Pages over all jobs: what is looked for in them, and how far one look goes."""

from datetime import datetime, timedelta

from msgspec import Struct

from crawlyard.core.crawl.page import Page
from crawlyard.errors import Invalid

MAX_TEXT = 500
"""Characters of what one search asks for."""

MOST_WORDS = 10
"""Words that one search may ask for."""

MAX_WORD = 100
"""Characters of one of them."""

EXCERPT = 200
"""Characters of a text that are shown around what was found in it."""

_BEFORE = 60  # of these, in front of it


class FoundPage(Struct, frozen=True, kw_only=True):
    """A page record with the job that it is of."""

    id: int
    job_id: str
    job_name: str  # empty: it has none
    page: Page
    excerpt: str = ""  # of its text, around the words that were looked for


class SearchStep(Struct, frozen=True, kw_only=True):
    """What one look at the newest pages before some page brought."""

    pages: tuple[FoundPage, ...] = ()  # those that fit, newest first
    looked_at: int = 0  # pages, whether they fit or not
    reached: int | None = None  # the last of these; None: there is nothing further back
    reached_at: datetime | None = None  # when that one was fetched


class SearchBounds(Struct, frozen=True, kw_only=True):
    """How far one search may go before it is to answer; it goes on with the next request."""

    pages: int = 20_000
    time: timedelta = timedelta(milliseconds=400)


BOUNDS = SearchBounds()


class Findings(Struct, frozen=True, kw_only=True):
    """What a search found within its bounds, newest first."""

    pages: tuple[FoundPage, ...]
    looked_at: int  # pages, whether they fit or not
    back_to: datetime | None  # when the last of these was fetched; None: there was none
    further: int | None  # the page behind which to go on; None: all was looked at
    cut_short: bool  # its bounds ended it before there were enough


def words_of(text: str) -> tuple[str, ...]:
    """Return what *text* looks for, in lower case: its words, and what is between "…" as it is.

    Raises:
        Invalid: it is too long, or one of them; they are too many, or a " has no other.
    """
    if len(text) > MAX_TEXT:
        raise Invalid("q", f"expected at most {MAX_TEXT} characters, got {len(text):,}")
    parts = text.lower().split('"')
    if len(parts) % 2 == 0:
        raise Invalid("q", 'expected another " that ends the text')
    found: dict[str, None] = {}
    for place, part in enumerate(parts):
        words = part.split() if place % 2 == 0 else [" ".join(part.split())]
        found |= dict.fromkeys(word for word in words if word)
    if len(found) > MOST_WORDS:
        raise Invalid("q", f"expected at most {MOST_WORDS} words, got {len(found)}")
    if any(len(word) > MAX_WORD for word in found):
        raise Invalid("q", f"expected words of at most {MAX_WORD} characters")
    return tuple(found)


def missing(words: tuple[str, ...], page: Page) -> tuple[str, ...]:
    """Return those of *words* that are neither in the URLs nor in the title of *page*."""
    shown = "\n".join((page.url, page.final_url, " ".join(page.title.split()))).lower()
    return tuple(word for word in words if word not in shown)


def excerpt(text: str, words: tuple[str, ...], sought: tuple[str, ...]) -> str | None:
    """Return what stands around the first of *words* in *text*; ``None``: one of *sought* is not.

    On one line, at most `EXCERPT` characters; empty if none of *words* is there.
    """
    flat = " ".join(text.split())
    lower = flat.lower()
    if len(lower) != len(flat):  # "İ" is two letters then, and places would not be the same
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in flat)
    if any(word not in lower for word in sought):
        return None
    places = [place for place in map(lower.find, words) if place >= 0]
    if not places:
        return ""
    begin = max(0, min(places) - _BEFORE)
    return flat[begin : begin + EXCERPT]
