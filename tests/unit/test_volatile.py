"""Volatile places of a text: found by comparing two fetches, and left out of comparisons."""

import time
from collections.abc import Sequence

import pytest

from crawlyard.core.text.difference import MOST_LINES
from crawlyard.core.text.volatile import (
    MOST_PLACES,
    Gap,
    Place,
    decode_places,
    encode_places,
    find_always_volatile,
    find_volatile,
    gaps,
    settle_volatile,
)


def text(*middle: str) -> list[str]:
    return ["# A page", "Its first paragraph.", *middle, "Its last paragraph.", "The end."]


def places(first: Sequence[str], other: Sequence[str]) -> Sequence[Place]:
    return decode_places(find_volatile(first, other))


def test_what_differs_between_two_fetches_is_a_place() -> None:
    first = ["a", "10:41:02", "b", "advert one", "buy it", "c"]
    other = ["a", "10:41:03", "b", "advert two", "c"]
    assert places(first, other) == [Place(1, 2, 1), Place(3, 5, 2)]
    assert places(other, first) == [Place(1, 2, 1), Place(3, 4, 2)]
    assert find_volatile(first, first) == b""
    assert find_volatile([], ["x"]) == b"[[0,0,1]]"


def test_lines_that_are_there_many_times_hold_texts_together_by_their_number() -> None:
    rows = ["| 0 | 0 |"] * 50
    first, other = [*rows, "12", *rows, "13", *rows], [*rows, "14", *rows, "15", *rows]
    assert list(gaps(first, other)) == [Gap(50, 51, 50, 51), Gap(101, 102, 101, 102)]


def test_a_clock_a_counter_and_an_advertisement_are_calmed() -> None:
    before = text("It is 9:00.", "Visitor 17.", "Buy shoes.", "They are red.")
    after = text("It is 9:30.", "Visitor 23.", "Buy a hat.", "It is black.")
    again = text("It is 9:31.", "Visitor 24.", "Buy tea.")
    assert settle_volatile(before, after, (), places(after, again)) == after
    # by what the earlier run knew of its own text
    assert settle_volatile(before, after, places(before, again), ()) == after
    assert settle_volatile(before, after, (), ()) == before
    shorter = text("It is 9:30.", "Visitor 23.", "Buy a hat.")
    assert settle_volatile(before, shorter, places(before, again), ()) == shorter


def test_an_advertisement_may_have_more_lines_or_none() -> None:
    full, short, none = text("Buy tea.", "Now."), text("Buy a hat."), text()
    for before, after, again in (
        (none, full, short),
        (short, none, full),
        (full, none, full),
        (full, short, none),
    ):
        calm_lines = settle_volatile(before, after, (), places(after, again))
        assert (calm_lines == after) == (len(before) <= max(len(after), len(again)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (text("Costs 10.", "Visitor 1."), text("Costs 12.", "Visitor 2.")),
        (text("Costs 10.", "Visitor 1."), text("Visitor 2.")),
        (text("Visitor 1.", "Costs 10."), text("Visitor 2.")),
        (text("Visitor 1."), text("Visitor 2.", "Costs 10.")),
        (text("Visitor 1.", "Costs 10.", "Costs 11."), text("Visitor 2.", "Costs 12.")),
    ],
)
def test_a_change_beside_a_restless_place_stays_one(
    before: Sequence[str], after: Sequence[str]
) -> None:
    again = [line.replace("Visitor 2.", "Visitor 3.") for line in after]
    assert settle_volatile(before, after, (), places(after, again)) != after


def test_a_change_beside_a_counter_is_counted_without_the_counter() -> None:
    before, after = text("Visitor 1.", "Costs 10."), text("Visitor 2.", "Costs 12.")
    again = text("Visitor 3.", "Costs 12.")
    assert settle_volatile(before, after, (), places(after, again)) == text(
        "Visitor 2.", "Costs 10."
    )


def test_an_advertisement_may_wander() -> None:
    first, second = ["Buy tea.", "Now with", "more leaves."], ["Buy a hat.", "It is", "black."]
    long = "What the page has to say is longer than that. " * 3
    fetched, other = [long, *first, long + long, *second], [long, *second, long + long, *first]
    assert places(fetched, other) == [Place(1, 4, 3), Place(5, 8, 3)]


def test_what_differs_from_each_run_to_the_next_is_recurring() -> None:
    versions = [text("10:40"), text("Buy tea.", "10:41"), text("10:42"), text("10:43", "Costs 3.")]
    assert find_always_volatile(versions[:2]) == [Place(2, 4, 2)]
    assert find_always_volatile(versions[:3]) == [Place(2, 3, 2)]
    assert find_always_volatile(versions) == [Place(2, 4, 2)]
    steady = [text("10:40", "Costs 3."), text("10:40", "Costs 4."), text("10:41", "Costs 5.")]
    assert find_always_volatile(steady) == [Place(3, 4, 1)]
    assert not find_always_volatile([*steady, steady[-1]])
    assert not find_always_volatile([*steady, ["x"] * (MOST_LINES + 1)])
    other = [*steady[-1][:2], "10:41", "Costs 5.", *steady[-1][4:]]
    assert find_always_volatile([steady[0], other]) == [Place(2, 4, 2)]


def test_places_that_overlap_are_one() -> None:
    first, other = (
        encode_places([Place(1, 3, 2), Place(7, 7, 1)]),
        encode_places([Place(2, 5, 4), Place(5, 6, 1)]),
    )
    assert decode_places(first, other) == [Place(1, 5, 4), Place(5, 6, 1), Place(7, 7, 1)]


def test_a_text_that_is_another_one_each_time_has_no_places() -> None:
    many = range(MOST_PLACES + 1)
    first, other = ([line for n in many for line in (f"{n}", f"{n} {m}")] for m in "ab")
    assert find_volatile(first, other) == b""
    assert (
        find_volatile([*first[:2], *["x"] * MOST_LINES], [*other[:2], *["x"] * MOST_LINES]) == b""
    )


@pytest.mark.parametrize("kind", ["alternating", "reversed", "repeated"])
def test_hostile_texts_take_linear_time(kind: str) -> None:
    lines = MOST_LINES
    first = [f"line {n}" for n in range(lines)]
    other = {
        "alternating": [line if n % 2 else f"{line}!" for n, line in enumerate(first)],
        "reversed": first[::-1],
        "repeated": ["a", "b"] * (lines // 2),
    }[kind]
    began = time.process_time()
    differences = list(gaps(first, other))
    assert settle_volatile(first, other, [Place(0, 5, 5)], [Place(3, 3, 1)])
    assert differences
    assert time.process_time() - began < 1
