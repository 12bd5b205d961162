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


@pytest.mark.parametrize("priority", Priority)
def test_a_priority_is_found_by_the_word_that_it_is_shown_as(priority: Priority) -> None:
    assert Priority.of(str(priority)) is priority
    assert Priority.of(str(priority).upper()) is priority


@pytest.mark.parametrize("word", ["", "3", "very high", "__class__"])
def test_another_word_is_refused_with_the_four_that_there_are(word: str) -> None:
    with pytest.raises(Invalid, match="urgent, high, normal, low") as refused:
        Priority.of(word)

    assert refused.value.field == "priority"
