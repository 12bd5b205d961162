"""Page search over all jobs: query words, bounds of one step, and excerpts."""

from datetime import datetime, timedelta
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.crawl.page import Page
from crawlyard.core.search.terms import head_of, to_lower
from crawlyard.errors import Invalid

MAX_TEXT = 500
"""Characters of a query."""

MOST_WORDS = 10
"""Words of a query."""

MAX_WORD = 100
"""Characters of one word."""

EXCERPT = 200
"""Characters of text that are shown around a match."""

_BEFORE = 60  # of these, before the match


class FoundPage(Struct, frozen=True, kw_only=True):
    """A page record and its job."""

    id: int
    job_id: str
    job_name: str  # empty if it has none
    page: Page
    excerpt: str = ""  # of its text, around the words found


class SearchStep(Struct, frozen=True, kw_only=True):
    """The result of searching one batch of pages, newest first, from some page on."""

    pages: tuple[FoundPage, ...] = ()  # matches, newest first
    looked_at: int = 0  # pages searched, matching or not
    reached: int | None = None  # the last of these; None: no older pages
    reached_at: datetime | None = None  # when that one was fetched


class SearchBounds(Struct, frozen=True, kw_only=True):
    """Limits of one search request; the next request continues where it stopped."""

    pages: int = 20_000
    time: timedelta = timedelta(milliseconds=400)


BOUNDS = SearchBounds()


class IndexUse(StrEnum):
    """Uses of the word index in a search."""

    COMPLETE = auto()  # it covers all pages
    BEHIND = auto()  # it does not cover all pages yet; the others are read one by one
    UNDECIDED = auto()  # it cannot narrow these words down: pages are read one by one
    OFF = auto()  # there is no index: likewise


class Match(Struct, frozen=True, kw_only=True):
    """Conditions with which the index finds pages that may have all words of a query."""

    groups: tuple[tuple[str, ...], ...]  # a page must have a term of each
    phrases: tuple[tuple[str, ...], ...]  # and terms in the order of each phrase, if known
    low: int  # the index covers pages with ids above this one
    high: int  # up to this one
    unindexed: int  # number of pages that it does not cover, approximately


class Findings(Struct, frozen=True, kw_only=True):
    """Results of a search within its bounds, newest first."""

    pages: tuple[FoundPage, ...]
    looked_at: int  # pages searched, matching or not
    back_to: datetime | None  # when the last of these was fetched; None if none was
    further: int | None  # the page after which to continue; None: all were searched
    cut_short: bool  # stopped by its bounds before it had enough matches
    index: IndexUse | None = None  # None: a search for no words
    unindexed: int = 0  # pages not indexed yet, approximately
    stored: int | None = None  # pages that it covers, if cut short; None: not counted


def words_of(text: str) -> tuple[str, ...]:
    """Return the search terms of *text* in lower case: its words, and each phrase in "…" as one.

    Raises:
        Invalid: *text* or a term is too long, there are too many terms, or a " is not closed.
    """
    if len(text) > MAX_TEXT:
        raise Invalid("q", f"expected at most {MAX_TEXT} characters, got {len(text):,}")
    parts = text.lower().split('"')
    if len(parts) % 2 == 0:
        raise Invalid("q", 'expected a closing "')
    distinct: dict[str, None] = {}
    for place, part in enumerate(parts):
        words = part.split() if place % 2 == 0 else [" ".join(part.split())]
        distinct |= dict.fromkeys(word for word in words if word)
    if len(distinct) > MOST_WORDS:
        raise Invalid("q", f"expected at most {MOST_WORDS} words, got {len(distinct)}")
    if any(len(word) > MAX_WORD for word in distinct):
        raise Invalid("q", f"expected words of at most {MAX_WORD} characters")
    return tuple(distinct)


def missing(words: tuple[str, ...], page: Page) -> tuple[str, ...]:
    """Return those of *words* that appear neither in the URLs nor in the title of *page*."""
    head = head_of(page.url, page.final_url, page.title)
    return tuple(word for word in words if word not in head)


def excerpt(text: str, words: tuple[str, ...], sought: tuple[str, ...]) -> str | None:
    """Return the text around the first of *words*; ``None`` if *text* lacks one of *sought*.

    The excerpt is on one line, has at most `EXCERPT` characters and whole words, and "…" where text
    is left out. It is empty if none of *words* appears.
    """
    flat = " ".join(text.split())
    lower = to_lower(flat)
    if any(word not in lower for word in sought):
        return None
    places = [place for place in map(lower.find, words) if place >= 0]
    if not places:
        return ""
    first = min(places)
    begin = max(0, first - _BEFORE)
    if begin > 0:  # at the next word, if one begins before the match
        begin = flat.find(" ", begin, first) + 1 or begin
    end = begin + EXCERPT - 2  # characters for "…" at both ends
    if end < len(flat):
        space = flat.rfind(" ", first, end + 1)
        end = space if space > first else end
    return f"{'…' if begin else ''}{flat[begin:end]}{'…' if end < len(flat) else ''}"
