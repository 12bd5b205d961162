import pytest

from crawlyard import Priority
from crawlyard.errors import Invalid


def test_urgent_is_above_high_above_normal_above_low() -> None:
    assert sorted(Priority, reverse=True) == [
        Priority.URGENT,
        Priority.HIGH,
        Priority.NORMAL,
        Priority.LOW,
    ]


def test_a_priority_is_found_by_the_word_that_it_is_shown_as() -> None:
    for priority in Priority:
        assert Priority.of(str(priority)) is priority, priority
        assert Priority.of(str(priority).upper()) is priority, priority


def test_another_word_is_refused_with_the_four_that_there_are(subtests: pytest.Subtests) -> None:
    for word in ["", "3", "very high", "__class__"]:
        with (
            subtests.test(word=word),
            pytest.raises(Invalid, match="urgent, high, normal, low") as refused,
        ):
            Priority.of(word)
        assert refused.value.field == "priority", word
