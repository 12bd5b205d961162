"""Search terms: those of a page match every substring of its text."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard.core.search.search import words_of
from crawlyard.core.search.terms import (
    HUGE,
    LONG,
    MOST_LETTERS,
    MOST_ORDERED,
    Piece,
    head_of,
    job_term,
    phrases_of,
    pieces_of,
    terms_of,
    to_lower,
)

LETTERS = "aB1_-. \n/ßİΣéあア漢字ー한ไ"
"""Of each kind: with and without case, spaces between words, and more than one letter for one."""

TEXTS = st.lists(st.text(LETTERS, max_size=30) | st.just("x1Y" * 30), max_size=5).map("".join)


def fits(piece: Piece, term: str) -> bool:
    if piece.is_term:
        return piece.text == term
    if piece.begins:
        return term.startswith(piece.text)
    return term.endswith(piece.text) if piece.ends else piece.text in term


def page_terms(head: str, text: str) -> list[str]:
    return terms_of(head, text.encode()).words.split()


@settings(max_examples=50)
@given(TEXTS, st.data())
def test_what_a_page_has_is_never_missed(text: str, data: st.DataObject) -> None:
    head = head_of("", "", text)
    for lower, terms in [
        (" ".join(to_lower(text).split()), page_terms("", text)),
        (head, page_terms(head, "")),
    ]:
        start = data.draw(st.integers(0, len(lower)))
        word = lower[start : start + data.draw(st.integers(1, 100))]
        pieces = pieces_of(word)
        assert all(any(fits(piece, term) for term in terms) for piece in pieces)
        for phrase in phrases_of(pieces):
            places = range(len(terms) - len(phrase) + 1)
            assert any(all(map(fits, phrase, terms[place:])) for place in places)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Getting started, foo_bar 42", {"getting", "started", "foo_bar", "42"}),
        ("Äpfel État", {"äpfel", "état"}),
        ("東京都", {"東京", "京都", "東", "京", "都"}),
        ("水 abc東京", {"水", "abc", "東京", "東", "京"}),
        ("État — d\u2019été… ΟΔΟΣ\u00a0É\ufffd", {"état", "d", "été", "οδος", "é"}),
        ("a" * 40, {"a" * 40}),
        ("abcdefghij" * 5, {"abcdefghij" * 4, "abcdefghij" * 3}),
        ("…!", set()),
    ],
)
def test_terms_are_words_letters_without_spaces_and_their_pairs_and_spans(
    text: str, terms: set[str]
) -> None:
    assert set(page_terms("", text)) == terms


def test_damaged_text_has_the_terms_that_are_whole() -> None:
    assert set(terms_of("", b"whole caf\xc3 \xff \xe6\x9d\xb1").words.split()) == {
        "whole",
        "caf",
        "東",
    }


def test_of_a_short_page_the_order_is_known_and_of_a_long_one_that_it_is_not() -> None:
    short, long = (terms_of("", b"a b " * (MOST_ORDERED // 2) + more) for more in (b"", b"c"))
    assert short.words.split() == ["a", "b"] * (MOST_ORDERED // 2)
    assert sorted(long.words.split()) == sorted([LONG, "a", "b", "c"])


def test_a_query_asks_for_whole_terms_where_it_tells_where_they_end() -> None:
    def query_terms(query: str) -> list[tuple[str, bool, bool]]:
        pieces = (p for word in words_of(query) for p in pieces_of(word))
        return [(p.text, p.begins, p.ends) for p in pieces]

    assert query_terms("Install") == [("install", False, False)]
    assert query_terms('"getting started now"') == [
        ("getting", False, True),
        ("started", True, True),
        ("now", True, False),
    ]
    assert query_terms("東京都 都") == [
        ("東京", True, True),
        ("京都", True, True),
        ("都", True, True),
    ]
    assert query_terms("a" * 30) == [("a" * 20, False, False)]
    assert query_terms("% _ !") == [("_", False, False)]


def test_a_page_with_too_many_terms_has_one_that_all_searches_read() -> None:
    many = " ".join(map(str, range(10**5, 10**5 + MOST_LETTERS // 6 + 1)))
    assert page_terms("", many) == [HUGE]
    assert not {HUGE, LONG, job_term(12)} & set(page_terms("", "# #12 ## a#b"))


def test_the_terms_of_a_page_fit_into_a_mebibyte_though_they_overlap() -> None:
    letters = Random(1)
    for first, last in ((0x4E00, 0x9FFF), (0x20000, 0x2FFFF), (0x10330, 0x10340)):
        many = "".join(chr(letters.randint(first, last)) for _ in range(190_000))
        assert sum(len(term.encode()) for term in page_terms("", many)) < 1 << 20


def test_pieces_are_adjacent_unless_the_page_may_have_more_between_them() -> None:
    def phrase_texts(query: str) -> list[list[str]]:
        return [[p.text for p in phrase] for phrase in phrases_of(pieces_of(query))]

    assert phrase_texts("getting started, now") == [["getting", "started", "now"]]
    assert phrase_texts("foo-bar") == [["foo", "bar"]]
    assert phrase_texts("install") == []
    assert phrase_texts("x東京都 y") == [["x", "東京", "京都", "y"]]
    assert phrase_texts("a b 都") == [["a", "b"]]  # 都 may have others after it
    assert phrase_texts("都 a b") == [["a", "b"]]
    assert phrase_texts("a 都 b") == [["a", "都", "b"]]
    long = "m" * 30
    assert phrase_texts(f"a b {long} c d") == [["a", "b", long[:20]], ["c", "d"]]
