"""Search terms: whatever is a part of a page, its terms say that it may be."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard.core.crawl.page_search import words_of
from crawlyard.core.crawl.search_terms import (
    HUGE,
    MOST_LETTERS,
    Piece,
    head_of,
    lowered,
    pieces_of,
    terms_of,
)

LETTERS = "aB1_-. \n/ßİΣéあア漢字ー한ไ"
"""Of each kind: with and without case, spaces between words, and more than one letter for one."""

TEXTS = st.lists(st.text(LETTERS, max_size=30) | st.just("x1Y" * 30), max_size=5).map("".join)


def may_have(piece: Piece, terms: set[str]) -> bool:
    if piece.is_term:
        return piece.text in terms
    if piece.begins:
        return any(term.startswith(piece.text) for term in terms)
    if piece.ends:
        return any(term.endswith(piece.text) for term in terms)
    return any(piece.text in term for term in terms)


@settings(max_examples=50)
@given(TEXTS, st.data())
def test_what_a_page_has_is_never_missed(text: str, data: st.DataObject) -> None:
    head = head_of("", "", text)
    for lower, terms in [
        (" ".join(lowered(text).split()), terms_of("", text)),
        (head, terms_of(head, "")),
    ]:
        start = data.draw(st.integers(0, len(lower)))
        word = lower[start : start + data.draw(st.integers(1, 100))]
        assert all(may_have(piece, terms) for piece in pieces_of((word,)))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Getting started, foo_bar 42", {"getting", "started", "foo_bar", "42"}),
        ("Äpfel État", {"äpfel", "état"}),
        ("東京都", {"東京", "京都"}),
        ("水 abc東京", {"水", "abc", "東京"}),
        ("a" * 40, {"a" * 40}),
        ("abcdefghij" * 5, {"abcdefghij" * 4, "abcdefghij" * 3}),
        ("…!", set()),
    ],
)
def test_terms_are_words_pairs_of_letters_without_spaces_and_spans(
    text: str, terms: set[str]
) -> None:
    assert terms_of("", text) == terms


def test_a_query_asks_for_whole_terms_where_it_tells_where_they_end() -> None:
    def told(query: str) -> list[tuple[str, bool, bool]]:
        return [(p.text, p.begins, p.ends) for p in pieces_of(words_of(query))]

    assert told("Install") == [("install", False, False)]
    assert told('"getting started now"') == [
        ("getting", False, True),
        ("started", True, True),
        ("now", True, False),
    ]
    assert told("東京都 都") == [
        ("東京", True, True),
        ("京都", True, True),
        ("都", False, False),
    ]
    assert told("a" * 30) == [("a" * 20, False, False)]
    assert told("% _ !") == [("_", False, False)]


def test_a_page_with_too_many_terms_has_one_that_all_searches_read() -> None:
    many = " ".join(map(str, range(10**5, 10**5 + MOST_LETTERS // 6 + 1)))
    assert terms_of("", many) == {HUGE}
    assert HUGE not in terms_of("", "# #12 a#b")


def test_the_terms_of_a_page_fit_into_a_mebibyte_though_they_overlap() -> None:
    letters = Random(1)
    for first, last in ((0x4E00, 0x9FFF), (0x20000, 0x2FFFF), (0x10330, 0x10340)):
        many = "".join(chr(letters.randint(first, last)) for _ in range(190_000))
        assert sum(len(term.encode()) for term in terms_of("", many)) < 1 << 20
