"""Search terms: index terms of pages, and the terms that a query requires.

A search finds a page if each word of the query is a part of its URL, title or text. The terms of
a page are chosen so that this can be decided from them, except for false positives: the caller
compares the pages found with the query.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import add

from msgspec import Struct

MOST_LETTERS = 200_000
"""Bytes of all terms of a page; one with more has the term `HUGE` alone.

Postgres, which does not check it, finds what lies within the first MiB of terms.
"""

MOST_ORDERED = 500
"""Words of a page whose terms are in the order of its text. One with more has the term `LONG`."""

HUGE = "#"
"""The term of a page with too many terms: each search has to read it."""

LONG = "##"
"""The term of a page with each of its terms once: which of them are adjacent is not known."""

# Scripts without spaces between words, and the half-width forms of one of them.
_CJK = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_RUN = re.compile(r"\w+")
_CJK_PART = re.compile(f"([{_CJK}]+)")  # the only one: such a set takes 2 ms to compile

_ASCII = bytes(range(128))
_WORDS_ONLY = bytes(
    c if c > 127 else ord(chr(c).lower()) if _RUN.match(chr(c)) else ord(" ") for c in range(256)
)
"""Puts ASCII into lower case, and a blank for all of it that is no part of a word."""

_SPAN = 40  # letters of the longest term; what is longer is cut into overlapping spans
_STEP = 20  # so that each part of this length is in one of them


class Terms(Struct, frozen=True, kw_only=True):
    """Index terms of one page."""

    each: Sequence[bytes] | set[bytes]  # as they follow each other in the page, or each once

    @property
    def words(self) -> str:
        """Text to store in the index."""
        words = b" ".join(self.each).decode()
        return f"{words} {LONG}" if isinstance(self.each, set) else words


class Piece(Struct, frozen=True, kw_only=True):
    """A part of a word of a query: a page that has the word has a term with it."""

    text: str
    begins: bool  # such a term begins with it
    ends: bool  # and ends with it
    placed: bool = True  # such a term is adjacent to those of the pieces before and after

    @property
    def is_term(self) -> bool:
        """True if it is a whole term, from beginning to end."""
        return self.begins and self.ends


def head_of(url: str, final_url: str, title: str) -> str:
    """Return the searched parts of a page other than its text, in lower case."""
    return "\n".join((url, final_url, " ".join(title.split()))).lower()


def to_lower(text: str) -> str:
    """Return *text* in lower case, with as many characters: "İ" would become two."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def job_term(number: int) -> str:
    """Return the term of the pages of a job; it never equals a word."""
    return f"#{number}"


def terms_of(head: str, text: bytes) -> Terms:
    """Return the terms of a page: of its `head_of`, and of its text in UTF-8."""
    # on bytes, in a third of the time: most are ASCII, in web pages of any language
    page = head.encode() + b"\n" + text
    non_ascii = page.translate(None, _ASCII)
    letters = set(non_ascii.decode(errors="replace"))
    if any(letter != letter.lower() for letter in letters) or "\ufffd" in letters:
        page = to_lower(page.decode(errors="replace")).encode()
    ordered = page.translate(_WORDS_ONLY).split()
    alone = [
        letter.encode() for letter in letters if _CJK_PART.match(letter)
    ]  # may be a whole query
    each: list[bytes] | set[bytes] = ordered if len(ordered) <= MOST_ORDERED else set(ordered)
    if letters or max(map(len, each), default=0) > _SPAN:
        if isinstance(each, set):
            odd = {word for word in each if len(word) > _SPAN or not word.isascii()}
            each -= odd
            each.update(alone, *map(_cut, odd))
        else:
            cut = [*chain.from_iterable(map(_cut, ordered)), *alone]
            # a letter of Chinese brings two terms
            each = cut if len(cut) <= 2 * MOST_ORDERED else set(cut)
    # spans and pairs overlap: each letter is in two terms at most
    if 2 * len(page) > MOST_LETTERS and sum(map(len, each)) > MOST_LETTERS:
        return Terms(each=[HUGE.encode()])
    return Terms(each=each)


def pieces_of(word: str) -> list[Piece]:
    """Return what a page must have to have *word*, in order.

    There may be nothing: a word without a letter or digit has no piece.
    """
    return list(_pieces(word))


def phrases_of(pieces: Sequence[Piece]) -> list[Sequence[Piece]]:
    """Return those of the pieces of a word whose terms are adjacent in a page that has it."""
    phrases: list[list[Piece]] = [[]]
    for piece in pieces:
        if not piece.begins or not piece.placed:
            phrases.append([])
        phrases[-1].append(piece)
        if not piece.ends or not piece.placed:
            phrases.append([])
    return [phrase for phrase in phrases if len(phrase) > 1]


def _cut(word: bytes) -> Sequence[bytes]:
    """Return the terms of a word between blanks, without other ASCII characters."""
    if len(word) <= _SPAN and word.isascii():
        return (word,)
    runs = _RUN.findall(word.decode())
    return [term.encode() for run in runs for part in _parts(run) for term in _terms(part)]


def _parts(run: str) -> Iterator[str]:
    """Return the parts of a run of letters: those in scripts without spaces, and the others."""
    return filter(None, _CJK_PART.split(run))


def _terms(part: str) -> Sequence[str]:
    """Return the terms of a run of letters of one kind."""
    if _CJK_PART.match(part):
        return _pairs(part)
    return [part[start : start + _SPAN] for start in range(0, max(1, len(part) - _STEP), _STEP)]


def _pairs(part: str) -> Sequence[str]:
    return list(map(add, part, part[1:])) or [part]


def _pieces(word: str) -> Iterator[Piece]:
    for run in _RUN.finditer(word):
        start = run.start()
        for text in _parts(run[0]):
            # a page with the word also has what surrounds the run in it
            begins = start > 0
            start += len(text)
            ends = start < len(word)
            if _CJK_PART.match(text):
                placed = len(text) > 1 or (begins and ends)
                yield from (
                    Piece(text=p, begins=True, ends=True, placed=placed) for p in _pairs(text)
                )
            elif len(text) > _STEP:
                yield Piece(text=text[:_STEP], begins=begins, ends=False)
            else:
                yield Piece(text=text, begins=begins, ends=ends)
