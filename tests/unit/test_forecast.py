"""Forecast of a time table: warnings before it is saved."""

from datetime import UTC, datetime, timedelta

import pytest

from crawlyard.core.schedules.planning import Concern, ForecastBounds, forecast_of
from crawlyard.core.schedules.timetable import timetable

NOW = datetime(2027, 3, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def concerns(when: str, count: int = 5, zone: str = "Europe/Berlin", **bounds: object) -> list[str]:
    forecast = forecast_of(timetable(when, zone, NOW), NOW, count, ForecastBounds(**bounds))  # type: ignore[arg-type]  # of each field's own
    return [warning.code for warning in forecast.warnings]


def test_runs_come_in_their_order_within_their_bounds() -> None:
    table = timetable("every 1h", "UTC", NOW)
    bounds = ForecastBounds(starts_at=NOW + 2 * HOUR, ends_at=NOW + 4 * HOUR)

    forecast = forecast_of(table, NOW, 10, bounds)

    assert forecast.instants == tuple(NOW + n * HOUR for n in (2, 3, 4))
    assert forecast.warnings == ()


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("@daily", []),
        ("*/5 * * * *", []),
        ("*/4 * * * *", [Concern.TOO_OFTEN]),
        ("0,1 12 * * *", [Concern.TOO_OFTEN]),
        ("30 2 * * *", [Concern.CLOCK_CHANGE]),
        ("at 2027-03-28T02:30", [Concern.CLOCK_CHANGE]),
        ("at 2020-01-01T00:00", [Concern.NEVER]),
    ],
)
def test_what_is_seldom_wanted_is_warned_of(when: str, expected: list[Concern]) -> None:
    assert concerns(when) == expected


def test_a_clock_change_beyond_the_runs_that_are_shown_is_none_of_theirs() -> None:
    assert concerns("30 2 * * *", count=1) == []


def test_a_warning_does_not_depend_on_how_many_runs_are_shown() -> None:
    assert concerns("* * * * *", count=0) == [Concern.TOO_OFTEN]


@pytest.mark.parametrize(("jitter", "expected"), [(HOUR, []), (2 * HOUR, [Concern.WIDE_JITTER])])
def test_a_jitter_beyond_the_next_run_is_warned_of(
    jitter: timedelta, expected: list[Concern]
) -> None:
    assert concerns("@hourly", jitter=jitter) == expected


def test_an_end_before_the_first_run_leaves_none() -> None:
    assert concerns("@daily", ends_at=NOW) == [Concern.NEVER]
