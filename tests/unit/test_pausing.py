"""When a pause is warned of, and when it is over."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.jobs.pausing import PausingStep, due_step, ends_at, notice
from tests.builders import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEK = 7 * DAY


def step(days: float, *warned: float, ttl: timedelta = WEEK) -> PausingStep | None:
    """Return what is due so many days after a pause began."""
    return due_step(NOW, [NOW + DAY * w for w in warned], ttl, NOW + DAY * days)


def test_it_is_warned_of_at_half_of_its_time_and_a_day_before_its_end() -> None:
    for days, warned, due in [
        (3.4, (), None),
        (3.5, (), PausingStep.WARN),
        (5.9, (3.5,), None),
        (6, (3.5,), PausingStep.WARN),
        (6.9, (3.5, 6), None),
        (7, (3.5, 6), PausingStep.CANCEL),
        (8, (3.5, 6), PausingStep.CANCEL),
        (6.5, (), PausingStep.WARN),  # nobody looked at half of its time: one warning is enough
        (7.4, (6.5,), None),
        (7.5, (6.5,), PausingStep.CANCEL),
        (30, (), PausingStep.WARN),  # nobody looked for a month
        (30, (3.5,), PausingStep.WARN),
        (30.9, (30,), None),
        (31, (30,), PausingStep.CANCEL),
    ]:
        assert step(days, *warned) is due, (days, warned)


def test_the_last_warning_comes_a_seventh_before_the_end_where_that_is_less_than_a_day() -> None:
    assert notice(WEEK * 5) == notice(WEEK) == DAY
    assert notice(7 * HOUR) == HOUR


@given(
    ttl=st.timedeltas(min_value=timedelta(seconds=7), max_value=timedelta(days=400)),
    looks=st.lists(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=900))),
)
def test_nobody_is_surprised_whenever_the_janitor_looks(
    ttl: timedelta, looks: list[timedelta]
) -> None:
    warned: list[datetime] = []
    told_end = NOW
    for look in sorted(looks):
        due = due_step(NOW, warned, ttl, NOW + look)
        if due is PausingStep.WARN:
            warned.append(NOW + look)
            told_end = ends_at(NOW, ttl, NOW + look)
        if due is PausingStep.CANCEL:
            assert look >= ttl
            assert NOW + look >= told_end >= warned[-1] + notice(ttl)
            break
    assert len(warned) <= 2
