"""Differences between two texts: their size and position."""

from time import process_time

from crawlyard.core.text.difference import (
    MOST_LINES,
    Amount,
    DiffLine,
    amount,
    comparable_lines,
    format_unified,
    hunks_of,
    lines_of,
)


def test_lines_count_without_blank_ones_and_with_white_space_folded() -> None:
    lines = lines_of(b"# A\n\n  one   two\t\n\n")
    assert comparable_lines(lines, None) == lines == ["# A", "one two"]
    assert comparable_lines(["a", "clock 12:01", "b"], lambda line: "clock" in line) == ["a", "b"]


def test_an_amount_has_lines_and_the_share_of_words() -> None:
    before, after = ["a b", "c d", "e"], ["a b", "c x", "e", "e"]
    assert amount(before, after) == Amount(added=2, removed=1, share=round(5 / 11, 4))
    assert amount(before, before[::-1]) == Amount(added=0, removed=0, share=0)
    assert amount([], []) == Amount(added=0, removed=0, share=0)


def test_words_are_marked_in_lines_that_take_the_place_of_others() -> None:
    before = ["one", "the price is 12 EUR today", "two"]
    after = ["one", "the price is 14 EUR today", "two"]
    assert format_unified(before, after).splitlines() == [
        "@@ -1,3 +1,3 @@",
        " one",
        "-the price is [-12 -]EUR today",
        "+the price is {+14 +}EUR today",
        " two",
    ]


def test_lines_that_have_little_in_common_are_not_marked() -> None:
    assert format_unified(["alpha beta"], ["gamma delta"]).splitlines()[1:] == [
        "-alpha beta",
        "+gamma delta",
    ]
    assert format_unified(["a", "b"], ["a"]).splitlines()[1:] == [" a", "-b"]


def test_a_diff_has_the_numbers_of_its_lines_and_marks_that_no_text_can_forge() -> None:
    before = [*"abcdefgh", "it listens on port 80 [-here-]", "end"]
    after = [*"abcdefgh", "it listens on port 8080 [-here-]", "end", "and more"]
    [hunk] = hunks_of(before, after)
    assert hunk == (
        *(DiffLine(before=n, after=n, parts=(word,)) for n, word in enumerate("fgh", 6)),
        DiffLine(before=9, after=None, parts=("it listens on port ", "80 ", "[-here-]")),
        DiffLine(before=None, after=9, parts=("it listens on port ", "8080 ", "[-here-]")),
        DiffLine(before=10, after=10, parts=("end",)),
        DiffLine(before=None, after=11, parts=("and more",)),
    )
    apart = hunks_of(["x", *"abcdefgh", "y"], [*"abcdefgh", "y", "z"])
    assert [[(line.before, line.after) for line in hunk] for hunk in apart] == [
        [(1, None), (2, 1), (3, 2), (4, 3)],
        [(8, 7), (9, 8), (10, 9), (None, 10)],
    ]
    assert (hunks_of(before, before), format_unified([], ["a"])) == ((), "@@ -0,0 +1 @@\n+a")


def test_hostile_texts_are_compared_in_bounded_time() -> None:
    began = process_time()
    many = ["x"] * (2 * MOST_LINES)
    text = format_unified(many, ["y", *many])
    assert text.endswith(f"… not compared: {MOST_LINES + 1:,} more lines")
    format_unified([f"{n} {n % 7}" for n in range(5_000)], [f"{n} {n % 5}" for n in range(5_000)])
    format_unified(["word " * 100_000], ["words " * 100_000])
    assert process_time() - began < 10
