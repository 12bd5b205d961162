"""Search words: how they are parsed, and where they match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.search.search import (
    EXCERPT,
    MAX_TEXT,
    MAX_WORD,
    MOST_WORDS,
    excerpt,
    missing,
    words_of,
)
from crawlyard.errors import Invalid
from tests.builders import a_page, a_target


def test_words_are_told_apart_by_blanks_and_kept_together_by_quotes() -> None:
    for text, words in [
        ("", ()),
        ("  \n ", ()),
        ("One tWO one", ("one", "two")),
        ('"Two\n  words" one', ("two words", "one")),
        ('a"b c"d', ("a", "b c", "d")),
        ('""', ()),
        ("ÄPFEL", ("äpfel",)),
        ("état % _ \\", ("état", "%", "_", "\\")),
    ]:
        assert words_of(text) == words, text


def test_what_cannot_be_looked_for_is_refused(subtests: pytest.Subtests) -> None:
    for text in [
        'one "two',
        " " * (MAX_TEXT + 1),
        " ".join(map(str, range(MOST_WORDS + 1))),
        "x" * (MAX_WORD + 1),
    ]:
        with subtests.test(text=text), pytest.raises(Invalid) as refused:
            words_of(text)
        assert refused.value.field == "q", text


def test_what_is_in_url_or_title_is_not_missing() -> None:
    page = a_page(a_target("Guide"), title="Getting\n  started", final_url="https://a.example/end")
    assert missing(("guide", "a.example", "getting started", "text"), page) == ("text",)


class TestExcerpt:
    def test_words_are_found_in_a_text_or_elsewhere_and_belong_together_over_lines(self) -> None:
        assert excerpt("one two", ("one", "three"), ("three",)) is None
        assert excerpt("", ("one",), ("one",)) is None
        assert excerpt("", ("one",), ()) == ""
        assert excerpt("two", ("one", "two"), ("two",)) == "two"
        assert excerpt("a Big\n   cat", ("big cat",), ("big cat",)) == "a Big cat"
        assert excerpt("a big, cat", ("big cat",), ("big cat",)) is None

    def test_it_is_what_stands_around_the_first_word(self) -> None:
        text = f"{'x ' * 500}Needle{' y' * 500} hay"

        words_around = excerpt(text, ("hay", "needle"), ("hay", "needle"))

        assert words_around is not None
        assert "Needle" in words_around
        assert words_around.startswith("…x ")
        assert words_around.endswith(" y…")
        assert len(words_around) <= EXCERPT

    def test_it_ends_with_a_whole_word(self) -> None:
        words_around = excerpt(f"needle {'a' * 150} {'b' * 150}", ("needle",), ("needle",))

        assert words_around == f"needle {'a' * 150}…"

    def test_letters_that_are_two_in_lower_case_do_not_move_it(self) -> None:
        words_around = excerpt(f"{'İ' * 300} needle", ("needle",), ("needle",))
        assert words_around is not None
        assert words_around.endswith("needle")

    @given(st.text(), st.text(min_size=1, max_size=3))
    def test_it_is_never_longer_than_it_may_be(self, text: str, word: str) -> None:
        words = (word.lower(),)
        words_around = excerpt(text, words, words)
        assert words_around is None or (len(words_around) <= EXCERPT and "\n" not in words_around)
