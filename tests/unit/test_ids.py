"""Creation dates read from ids."""

from datetime import UTC, datetime, timedelta

from crawlyard.ids import new_id
from crawlyard.store.codec.jobs import MAX_DRIFT, has_creation_time, max_id, min_id

NOW = datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
MS = timedelta(milliseconds=1)


def test_the_bounds_of_a_moment_are_of_it_and_a_millisecond_beyond_is_not() -> None:
    for bound, beyond in [(min_id, -MS), (max_id, MS)]:
        assert has_creation_time(bound(NOW), NOW), bound
        assert not has_creation_time(bound(NOW + beyond), NOW), bound


def test_all_of_an_ids_milliseconds_count() -> None:
    first, second = min_id(NOW).split("-")[:2]
    assert not has_creation_time(f"{int(first, 16) + 2:08x}-{second}-7000-8000-000000000000", NOW)
    assert has_creation_time(min_id(NOW + MAX_DRIFT), NOW)


def test_an_id_says_of_when_it_is_and_another_shape_nothing() -> None:
    assert has_creation_time(new_id(), datetime.now(UTC))
    for other in ["", "job-1", max_id(NOW).upper(), max_id(NOW)[:-1]]:
        assert not has_creation_time(other, NOW), other
