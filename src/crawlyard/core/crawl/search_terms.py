"""Search terms: what pages are indexed by, and what a query needs a page to have.

A search finds a page if each word of the query is a part of its URL, title or text. The terms of
a page are chosen so that this can be told from them, but for false alarms: whoever asks compares
the pages found with the query.
"""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

MOST_LETTERS = 200_000
"""Letters of all terms of a page; one with more has the term `HUGE` alone.

Postgres, which does not check it, finds what lies within the first MiB of terms: a letter takes
up to four bytes.
"""

HUGE = "#"
"""The term of a page with too many terms: each search has to read it."""

# Scripts without spaces between words, and the half-width forms of one of them.
_CJK = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_RUN = re.compile(r"\w+")
_PART = re.compile(f"[{_CJK}]+|[^{_CJK}]+")
_IS_CJK = re.compile(f"[{_CJK}]").match

_BLANKS = {code: " " for code in range(128) if not _RUN.match(chr(code))}

_SPAN = 40  # letters of the longest term; what is longer is cut into overlapping spans
_STEP = 20  # so that each part of this length is in one of them


class Piece(Struct, frozen=True, kw_only=True):
    """A part of a word of a query: a page that has the word has a term with it."""

    text: str
    begins: bool  # such a term begins with it
    ends: bool  # and ends with it

    @property
    def is_term(self) -> bool:
        """Return whether it is a whole term."""
        return self.begins and self.ends


def head_of(url: str, final_url: str, title: str) -> str:
    """Return what of a page is searched beside its text, in lower case."""
    return "\n".join((url, final_url, " ".join(title.split()))).lower()


def lowered(text: str) -> str:
    """Return *text* in lower case, with as many characters: "İ" would become two."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def job_term(number: int) -> str:
    """Return the term of the pages of a job, which is no word."""
    return f"#{number}"


def terms_of(head: str, text: str) -> set[str]:
    """Return the terms of a page: of its `head_of`, and of its text."""
    words = set(_words(head))
    words.update(_words(lowered(text)))
    if max(map(len, words), default=0) > _SPAN or not (head.isascii() and text.isascii()):
        odd = [word for word in words if len(word) > _SPAN or not word.isascii()]
        words.difference_update(odd)
        words.update(term for word in odd for part in _PART.findall(word) for term in _terms(part))
    # spans and pairs overlap: each letter is in two terms at most
    if 2 * (len(head) + len(text)) > MOST_LETTERS and sum(map(len, words)) > MOST_LETTERS:
        return {HUGE}
    return words


def pieces_of(words: Sequence[str]) -> list[Piece]:
    """Return what a page must have to have all of *words*, each piece once.

    There may be none: a word without a letter or digit has no piece.
    """
    return list(dict.fromkeys(piece for word in words for piece in _pieces(word)))


def _words(lower: str) -> list[str]:
    # the same for ASCII, in a third of the time
    return lower.translate(_BLANKS).split() if lower.isascii() else _RUN.findall(lower)


def _terms(part: str) -> Iterator[str]:
    """Yield the terms of a run of letters of one kind."""
    if _IS_CJK(part):
        yield from _pairs(part)
        return
    for start in range(0, max(1, len(part) - _STEP), _STEP):
        yield part[start : start + _SPAN]


def _pairs(part: str) -> Iterator[str]:
    if len(part) == 1:
        yield part
    for start in range(len(part) - 1):
        yield part[start : start + 2]


def _pieces(word: str) -> Iterator[Piece]:
    for run in _RUN.finditer(word):
        for part in _PART.finditer(run[0]):
            text = part[0]
            # what the word has on both sides of the run, the page has as well
            begins = run.start() + part.start() > 0
            ends = run.start() + part.end() < len(word)
            if _IS_CJK(text) and len(text) > 1:
                yield from (Piece(text=p, begins=True, ends=True) for p in _pairs(text))
            elif len(text) > _STEP:
                yield Piece(text=text[:_STEP], begins=begins, ends=False)
            else:
                yield Piece(text=text, begins=begins, ends=ends)
