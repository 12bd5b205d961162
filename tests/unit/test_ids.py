"""Creation dates read from ids."""

from datetime import UTC, datetime, timedelta

from crawlyard.ids import new_id
from crawlyard.store.codec.jobs import SLACK, is_dated, least_id, most_id

NOW = datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
MS = timedelta(milliseconds=1)


def test_the_bounds_of_a_moment_are_of_it_and_a_millisecond_beyond_is_not() -> None:
    for bound, beyond in [(least_id, -MS), (most_id, MS)]:
        assert is_dated(bound(NOW), NOW), bound
        assert not is_dated(bound(NOW + beyond), NOW), bound


def test_all_of_an_ids_milliseconds_count() -> None:
    first, second = least_id(NOW).split("-")[:2]
    assert not is_dated(f"{int(first, 16) + 2:08x}-{second}-7000-8000-000000000000", NOW)
    assert is_dated(least_id(NOW + SLACK), NOW)


def test_an_id_says_of_when_it_is_and_another_shape_nothing() -> None:
    assert is_dated(new_id(), datetime.now(UTC))
    for other in ["", "job-1", most_id(NOW).upper(), most_id(NOW)[:-1]]:
        assert not is_dated(other, NOW), other
