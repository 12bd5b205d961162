"""Due instants of a schedule, compared with tables and with a slow oracle."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard.core.schedules.cron import ALIASES
from crawlyard.core.schedules.timetable import Timetable, TimetableKind, timetable
from crawlyard.errors import Invalid
from tests import cron_oracle

ANCHOR = datetime(2026, 1, 1, 9, 30, 15, 250_000, tzinfo=UTC)

BERLIN, LONDON, NEW_YORK = "Europe/Berlin", "Europe/London", "America/New_York"
LORD_HOWE, SANTIAGO, AUCKLAND = "Australia/Lord_Howe", "America/Santiago", "Pacific/Auckland"
CAIRO, KATHMANDU = "Africa/Cairo", "Asia/Kathmandu"


def local(zone: str, text: str) -> datetime:
    """Return the instant of a local time; the first one of two."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def coming(table: Timetable, since: datetime, count: int) -> list[datetime]:
    """Return the next *count* instants after *since*."""
    instants: list[datetime] = []
    while len(instants) < count and (at := table.after(instants[-1] if instants else since)):
        instants.append(at)
    return instants


def local_times(zone: str, instants: Sequence[datetime]) -> list[str]:
    """Return instants as the clock shows them, with the name of the zone."""
    return [f"{at.astimezone(ZoneInfo(zone)):%m-%d %H:%M %Z}" for at in instants]


# --- clock changes, zone by zone

CHANGES: list[tuple[str, str, str, list[str]]] = [
    # expression, zone, start as a local time, what comes
    # Berlin, 2027-03-28: 02:00 CET becomes 03:00 CEST
    ("30 2 * * *", BERLIN, "2027-03-27T12:00", ["03-28 03:00 CEST", "03-29 02:30 CEST"]),
    ("15,45 2 * * *", BERLIN, "2027-03-27T12:00", ["03-28 03:00 CEST", "03-29 02:15 CEST"]),
    ("0 2,3 * * *", BERLIN, "2027-03-27T12:00", ["03-28 03:00 CEST", "03-29 02:00 CEST"]),
    ("0 3 * * *", BERLIN, "2027-03-27T12:00", ["03-28 03:00 CEST", "03-29 03:00 CEST"]),
    ("0 * * * *", BERLIN, "2027-03-28T00:30", ["03-28 01:00 CET", "03-28 03:00 CEST"]),
    ("*/30 2 * * *", BERLIN, "2027-03-27T12:00", ["03-29 02:00 CEST", "03-29 02:30 CEST"]),
    ("30 2 28 3 *", BERLIN, "2027-03-01T00:00", ["03-28 03:00 CEST", "03-28 02:30 CEST"]),
    # Berlin, 2027-10-31: 03:00 CEST becomes 02:00 CET
    ("30 2 * * *", BERLIN, "2027-10-30T12:00", ["10-31 02:30 CEST", "11-01 02:30 CET"]),
    ("0 3 * * *", BERLIN, "2027-10-30T12:00", ["10-31 03:00 CET", "11-01 03:00 CET"]),
    (
        "0 * * * *",
        BERLIN,
        "2027-10-31T00:30",
        ["10-31 01:00 CEST", "10-31 02:00 CEST", "10-31 02:00 CET", "10-31 03:00 CET"],
    ),
    (
        "*/30 2 * * *",
        BERLIN,
        "2027-10-30T12:00",
        ["10-31 02:00 CEST", "10-31 02:30 CEST", "10-31 02:00 CET", "10-31 02:30 CET"],
    ),
    ("0 0-23 * * *", BERLIN, "2027-10-31T01:30", ["10-31 02:00 CEST", "10-31 03:00 CET"]),
    # London, 2027-03-28 01:00 GMT to 02:00 BST, and back on 2027-10-31
    ("30 1 * * *", LONDON, "2027-03-27T12:00", ["03-28 02:00 BST", "03-29 01:30 BST"]),
    ("30 1 * * *", LONDON, "2027-10-30T12:00", ["10-31 01:30 BST", "11-01 01:30 GMT"]),
    # New York, 2027-03-14 02:00 EST to 03:00 EDT, and back on 2027-11-07
    ("30 2 * * *", NEW_YORK, "2027-03-13T12:00", ["03-14 03:00 EDT", "03-15 02:30 EDT"]),
    ("30 1 * * *", NEW_YORK, "2027-11-06T12:00", ["11-07 01:30 EDT", "11-08 01:30 EST"]),
    (
        "*/15 1 * * *",
        NEW_YORK,
        "2027-11-07T01:20",
        ["11-07 01:30 EDT", "11-07 01:45 EDT", "11-07 01:00 EST", "11-07 01:15 EST"],
    ),
    # Lord Howe changes by half an hour: 2027-04-04 02:00 to 01:30, 2027-10-03 02:00 to 02:30
    ("15 2 * * *", LORD_HOWE, "2027-10-02T12:00", ["10-03 02:30 +11", "10-04 02:15 +11"]),
    ("45 1 * * *", LORD_HOWE, "2027-04-03T12:00", ["04-04 01:45 +11", "04-05 01:45 +1030"]),
    (
        "*/15 * * * *",
        LORD_HOWE,
        "2027-10-03T01:40",
        ["10-03 01:45 +1030", "10-03 02:30 +11", "10-03 02:45 +11", "10-03 03:00 +11"],
    ),
    ("*/15 3 * * *", LORD_HOWE, "2027-10-03T00:00", ["10-03 03:00 +11", "10-03 03:15 +11"]),
    (
        "*/15 * * * *",
        LORD_HOWE,
        "2027-04-04T01:40",
        ["04-04 01:45 +11", "04-04 01:30 +1030", "04-04 01:45 +1030", "04-04 02:00 +1030"],
    ),
    # Santiago changes at midnight: 2027-09-05 00:00 to 01:00, 2027-04-04 00:00 to 04-03 23:00
    ("0 0 * * *", SANTIAGO, "2027-09-04T12:00", ["09-05 01:00 -03", "09-06 00:00 -03"]),
    ("30 0 5 9 *", SANTIAGO, "2027-09-04T12:00", ["09-05 01:00 -03", "09-05 00:30 -03"]),
    ("30 23 * * *", SANTIAGO, "2027-04-03T12:00", ["04-03 23:30 -03", "04-04 23:30 -04"]),
    ("0 0 * * *", SANTIAGO, "2027-04-03T12:00", ["04-04 00:00 -04", "04-05 00:00 -04"]),
    ("*/30 0 5 * *", SANTIAGO, "2027-09-04T12:00", ["10-05 00:00 -03", "10-05 00:30 -03"]),
    # Auckland: 2027-09-26 02:00 to 03:00, 2027-04-04 03:00 to 02:00
    ("30 2 * * *", AUCKLAND, "2027-09-25T12:00", ["09-26 03:00 NZDT", "09-27 02:30 NZDT"]),
    ("30 2 * * *", AUCKLAND, "2027-04-03T12:00", ["04-04 02:30 NZDT", "04-05 02:30 NZST"]),
    # Cairo: Friday 2027-04-30 00:00 to 01:00
    ("0 0 * * FRI", CAIRO, "2027-04-28T12:00", ["04-30 01:00 EEST", "05-07 00:00 EEST"]),
    # Kathmandu has an offset of 5:45 and no changes
    ("0 6 * * *", KATHMANDU, "2027-03-27T12:00", ["03-28 06:00 +0545", "03-29 06:00 +0545"]),
]


def test_a_clock_change_is_followed_as_cron_does() -> None:
    for when, zone, start, runs in CHANGES:
        table = timetable(when, zone, ANCHOR)
        instants = coming(table, local(zone, start), len(runs))
        assert local_times(zone, instants) == runs, (when, zone)


def test_a_start_in_the_repeated_hour_is_followed_by_what_is_ahead() -> None:
    second = datetime(2027, 11, 7, 6, 15, tzinfo=UTC)  # 01:15 EST, an hour after 01:15 EDT
    table = timetable("30 1 * * *", NEW_YORK, ANCHOR)
    assert local_times(NEW_YORK, coming(table, second, 1)) == ["11-08 01:30 EST"]


REMARKS = [
    ("30 2 * * *", BERLIN, "2027-03-27T12:00", "in place of 02:30: the clocks go forward"),
    ("30 2 * * *", BERLIN, "2027-10-30T12:00", "the first 02:30 of two: the clocks go back"),
    ("30 2 * * *", BERLIN, "2027-03-26T12:00", ""),
    ("0 3 * * *", BERLIN, "2027-03-27T12:00", ""),
    ("0 * * * *", BERLIN, "2027-03-28T01:00", ""),
    ("15 */2 * * *", BERLIN, "2027-10-31T02:20", "the second 02:15 of two: the clocks go back"),
    ("at 2027-03-28T02:30", BERLIN, "2027-03-01", "in place of 02:30: the clocks go forward"),
    ("at 2027-10-31T02:30", BERLIN, "2027-03-01", "the first 02:30 of two: the clocks go back"),
    ("at 2027-10-31T02:30+02:00", BERLIN, "2027-03-01", ""),
    ("every 1h", BERLIN, "2027-10-31T02:00", ""),
]


def test_a_run_says_what_a_clock_change_does_to_it() -> None:
    for when, zone, start, remark in REMARKS:
        table = timetable(when, zone, ANCHOR)
        (run,) = coming(table, local(zone, start), 1)
        assert table.remark(run) == remark, (when, zone)


# --- days

DAYS: list[tuple[str, str, list[str]]] = [
    ("0 0 29 2 *", "2026-01-01", ["2028-02-29", "2032-02-29"]),
    ("0 0 29 2 *", "2096-03-01", ["2104-02-29", "2108-02-29"]),  # 2100 is no leap year
    ("0 0 31 * *", "2026-01-31", ["2026-03-31", "2026-05-31", "2026-07-31"]),
    ("0 0 L * *", "2028-01-31", ["2028-02-29", "2028-03-31", "2028-04-30"]),
    ("0 0 L 2 *", "2026-01-01", ["2026-02-28", "2027-02-28", "2028-02-29"]),
    ("0 0 LW * *", "2026-01-01", ["2026-01-30", "2026-02-27", "2026-03-31"]),
    ("0 0 lw 5 *", "2026-01-01", ["2026-05-29"]),  # the 31st is a Sunday
    ("0 0 1,L * *", "2026-01-01", ["2026-01-31", "2026-02-01", "2026-02-28"]),
    ("0 0 * * 5L", "2026-01-01", ["2026-01-30", "2026-02-27", "2026-03-27"]),
    ("0 0 * * friL", "2026-01-01", ["2026-01-30", "2026-02-27", "2026-03-27"]),
    ("0 0 * * MON#1", "2026-01-01", ["2026-01-05", "2026-02-02", "2026-03-02"]),
    ("0 0 * * 1#5", "2026-01-01", ["2026-03-30", "2026-06-29"]),
    ("0 0 * * 0#1,7#2", "2026-01-01", ["2026-01-04", "2026-01-11", "2026-02-01"]),
    ("0 0 * 2 MON#5", "2026-01-01", ["2044-02-29"]),
    # the 13th or a Friday: either does
    ("0 0 13 * 5", "2026-01-09", ["2026-01-13", "2026-01-16"]),
    ("0 0 29 2 1#5", "2026-01-01", ["2028-02-29", "2032-02-29"]),
    # with a star in front of one of them: both must hold
    ("0 0 13 * *", "2026-01-01", ["2026-01-13", "2026-02-13"]),
    ("0 0 1-7 * */7", "2026-01-01", ["2026-01-04", "2026-02-01", "2026-03-01"]),
    ("0 0 */10 * 1", "2026-01-01", ["2026-05-11", "2026-06-01"]),
    ("0 0 */2 * MON", "2026-01-01", ["2026-01-05", "2026-01-19", "2026-02-09"]),
    ("0 0 ? * MON", "2026-01-01", ["2026-01-05", "2026-01-12"]),
    ("0 0 1 * ?", "2026-01-01", ["2026-02-01", "2026-03-01"]),
    ("0 0 * * 7", "2026-01-01", ["2026-01-04", "2026-01-11"]),
    ("0 0 * * Sat-7", "2026-01-01", ["2026-01-03", "2026-01-04", "2026-01-10"]),
    ("0 0 * * 6/2", "2026-01-01", ["2026-01-03", "2026-01-10"]),
    ("0 0 1 jan,JUL-sep/2 *", "2026-01-01", ["2026-07-01", "2026-09-01", "2027-01-01"]),
    ("\t0  0 1 */6 * ", "2026-01-01", ["2026-07-01", "2027-01-01"]),
]


def test_days_are_found_by_date_and_weekday() -> None:
    for when, start, days in DAYS:
        table = timetable(when, "UTC", ANCHOR)
        instants = coming(table, local("UTC", start), len(days))
        assert [f"{at:%Y-%m-%d}" for at in instants] == days, (when, start)


def test_minutes_are_found_by_steps_and_lists() -> None:
    for when, minutes in [
        ("5/15 * * * *", [5, 20, 35, 50]),
        ("*/7 * * * *", [0, 7, 14, 21, 28, 35, 42, 49, 56]),
        ("10-20/5,59 * * * *", [10, 15, 20, 59]),
        ("59/5 * * * *", [59]),
    ]:
        table = timetable(when, "UTC", ANCHOR)
        instants = coming(table, datetime(2026, 1, 1, 11, 59, tzinfo=UTC), len(minutes) + 1)
        assert [at.minute for at in instants] == [*minutes, minutes[0]], when


def test_a_short_name_means_its_expression() -> None:
    for alias in ALIASES:
        named, spelled = (
            timetable(when, BERLIN, ANCHOR) for when in (alias.upper(), ALIASES[alias])
        )
        assert coming(named, ANCHOR, 3) == coming(spelled, ANCHOR, 3), alias
        assert named.text == spelled.text, alias


# --- against the oracle

_NUMBERS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


@st.composite
def _field(draw: st.DrawFn, low: int, high: int, specials: Sequence[str] = ()) -> str:
    star = st.sampled_from(["*", f"*/{draw(st.integers(1, max(1, high)))}"])
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, max(1, high)))
    plain = [f"{first}", f"{first}-{last}", f"{first}-{last}/{step}", f"{first}/{step}"]
    items = st.lists(st.sampled_from([*plain, *specials]), min_size=1, max_size=3)
    return draw(star | items.map(",".join))


_EXPRESSIONS = st.tuples(
    st.sampled_from(["*", "*/15", "0", "30", "15,45", "*/7"]) | _field(0, 59),
    st.sampled_from(["*", "*/2", "1", "2", "1-3", "0", "23"]) | _field(0, 23),
    st.just("*") | _field(1, 31, ["L", "LW"]),
    st.just("*") | _field(1, 12),
    st.just("*") | _field(0, 7, ["5L", "0#1", "7#2", "3#5"]),
).map(" ".join)

_ZONES_AND_DAYS = st.sampled_from(
    [
        (BERLIN, "2027-03-28"),
        (BERLIN, "2027-10-31"),
        (NEW_YORK, "2027-03-14"),
        (NEW_YORK, "2027-11-07"),
        (LORD_HOWE, "2027-04-04"),
        (LORD_HOWE, "2027-10-03"),
        (SANTIAGO, "2027-04-03"),
        (SANTIAGO, "2027-09-05"),
        (AUCKLAND, "2027-09-26"),
        (CAIRO, "2027-04-30"),
        (CAIRO, "2027-10-29"),
        (LONDON, "2028-02-29"),
        (KATHMANDU, "2027-12-31"),
    ]
)


@given(when=_EXPRESSIONS, place=_ZONES_AND_DAYS, offset_s=st.integers(-86_400, 43_200))
@settings(max_examples=50, deadline=None)
def test_runs_are_those_of_a_walk_over_every_minute(
    when: str, place: tuple[str, str], offset_s: int
) -> None:
    zone, day = place
    since = local(zone, f"{day}T02:00") + timedelta(seconds=offset_s)
    until = since + timedelta(hours=30)
    try:
        table = timetable(when, zone, ANCHOR)
    except Invalid:
        assert not list(cron_oracle.runs(when, zone, since, until))
        return

    instants = list(cron_oracle.runs(when, zone, since, until))

    expected = coming(table, since, len(instants) + 1)
    assert [at for at in expected if at <= until] == instants


@given(
    when=_EXPRESSIONS | st.sampled_from(["every 7m", "every 36h", "at 2027-03-28T02:30"]),
    place=_ZONES_AND_DAYS,
    offset=st.timedeltas(timedelta(days=-300), timedelta(days=300)),
)
@settings(max_examples=150, deadline=None)
def test_the_next_run_is_after_now_and_none_is_between(
    when: str, place: tuple[str, str], offset: timedelta
) -> None:
    zone, day = place
    now = local(zone, day) + offset
    try:
        table = timetable(when, zone, ANCHOR)
    except Invalid:
        return

    following = table.after(now)

    if following is not None:
        assert following > now
        assert following.utcoffset() == timedelta(0)
        assert table.after(following - timedelta(microseconds=1)) == following
        assert table.after(now + (following - now) / 2) == following


# --- intervals and single instants


def test_an_interval_counts_from_its_anchor_whatever_the_clocks_do() -> None:
    start = local(BERLIN, "2027-10-30T08:00")
    table = timetable("every 12h", BERLIN, start)
    instants = coming(table, start - timedelta(days=3), 4)
    expected = ["10-30 08:00 CEST", "10-30 20:00 CEST", "10-31 07:00 CET", "10-31 19:00 CET"]
    assert local_times(BERLIN, instants) == expected
    assert table.kind is TimetableKind.EVERY


def test_an_interval_counts_in_whole_seconds_and_not_from_before() -> None:
    table = timetable("Every 1h30m", "UTC", ANCHOR)
    assert table.after(ANCHOR) == datetime(2026, 1, 1, 11, 0, 15, tzinfo=UTC)


def test_a_single_instant_comes_once() -> None:
    for when, at in [
        ("at 2027-01-01T08:00", "2027-01-01T07:00+00:00"),
        ("AT 2027-01-01 08:00:30", "2027-01-01T07:00:30+00:00"),
        ("at 2027-01-01T08:00Z", "2027-01-01T08:00+00:00"),
        ("at 2027-01-01T08:00-05:00", "2027-01-01T13:00+00:00"),
        ("at 2027-03-28T02:30", "2027-03-28T01:00+00:00"),  # skipped: right after
        ("at 2027-10-31T02:30", "2027-10-31T00:30+00:00"),  # twice: the first
    ]:
        table = timetable(when, BERLIN, ANCHOR)
        assert coming(table, ANCHOR, 2) == [datetime.fromisoformat(at)], when
        assert table.kind is TimetableKind.AT, when


def test_the_calendar_ends_without_an_error() -> None:
    end = datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC)
    instants = [
        timetable(w, BERLIN, ANCHOR).after(end) for w in ("0 0 * * *", "* * * * *", "every 1h")
    ]
    assert instants == [None, None, None]


# --- refusals

REFUSED = [
    ("61 * * * *", "minute 61 is out of 0-59, at position 0"),
    ("* 24 * * *", "hour 24 is out of 0-23, at position 2"),
    ("* * 0 * *", "day of month 0 is out of 1-31, at position 4"),
    ("* * * 13 *", "month 13 is out of 1-12, at position 6"),
    ("* * * * 8", "weekday 8 is out of 0-7, at position 8"),
    ("  0,5,61 * * * *", "minute 61 is out of 0-59, at position 6"),
    ("0 0 1-32 * *", "day of month 32 is out of 1-31, at position 6"),
    ("0 5-1 * * *", "hour range 5-1 runs backwards, at position 2"),
    ("0 0 * * FRI-SUN", "weekday range FRI-SUN runs backwards; write FRI-7, at position 8"),
    ("0,,5 * * * *", "minute has no value; expected 0-59, at position 2"),
    ("0 1- * * *", "hour has no value; expected 0-23, at position 4"),
    ("*/0 * * * *", "minute step 0 is out of 1-59, at position 2"),
    ("*/90 * * * *", "'every 90m' counts on over the hour, at position 2"),
    ("* */x * * *", "hour expected a step of 1-23 after the '/', got 'x', at position 4"),
    ("* * * FOO *", "month does not accept 'FOO'; expected 1-12, JAN-DEC, at position 6"),
    ("x * * * *", "minute does not accept 'x'; expected 0-59, at position 0"),
    ("* * 15W * *", "day of month does not accept '15W'; expected 1-31, L, LW, at position 4"),
    ("* * L/2 * *", "day of month L takes no step, at position 5"),
    ("* * * * L", "weekday does not accept 'L'"),
    ("* * * * MON#6", "weekday expected 1-5 after the '#', got '6', at position 12"),
    ("* * * * MON#", "weekday expected 1-5 after the '#', got nothing, at position 12"),
    ("* * * * MON#1/2", "weekday MON#1 takes no step, at position 13"),
    ("? * * * *", "minute does not accept '?'"),
    ("-1 * * * *", "minute has no value; expected 0-59, at position 0"),
    ("² * * * *", "minute does not accept '²'"),
    ("H * * * *", "minute does not accept 'H'"),
    ("* * * *", "got 4 fields"),
    ("", "got 0 fields"),
    ("0 0 12 * * *", "there is no field for seconds or years: '*' is one too many, at position 11"),
    ("@reboot", "@reboot is not supported"),
    ("@dayly", "unknown name '@dayly'; the names are @hourly, @daily"),
    ("0 0 31 2 *", "never comes"),
    ("0 0 31 4,6,9,11 *", "never comes"),
    ("0 0 30 2 */2", "never comes"),
    ("0 0 */31 2 MON#5", "never comes"),
    ("every 9s", "expected at least 10s, got '9s', at position 6"),
    ("every", "expected a duration such as 90s, 2h, 7d or 1h30m, got '', at position 5"),
    ("every 2 fortnights", "got '2 fortnights', at position 6"),
    ("every 11y", "at position 6"),
    ("at noon", "got 'noon', at position 3"),
    ("at 2027-02-30T08:00", "'2027-02-30T08:00' is not a valid time: day is out of range"),
    ("at 0001-01-01T00:00+14:00", "is out of the years 1970 to 9998, at position 3"),
    ("at 9999-12-31T23:59", "is out of the years 1970 to 9998, at position 3"),
    (f"{','.join('0' for _ in range(600))} * * * *", "expected at most 1000 characters"),
]


@pytest.mark.parametrize(("when", "message"), REFUSED, ids=[when[:30] for when, _ in REFUSED])
def test_a_bad_expression_is_refused_with_its_field_and_position(when: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        timetable(when, BERLIN, ANCHOR)
    assert refused.value.field == "when"
    assert message in str(refused.value)


def test_a_time_that_the_clocks_always_skip_is_refused() -> None:
    # the second Sunday of March, from 02:00 to 02:59: in New York never there since 2007
    with pytest.raises(Invalid, match="never comes"):
        timetable("*/15 2 * 3 SUN#2", NEW_YORK, ANCHOR)


def test_an_unknown_zone_is_refused_with_the_nearest_one(subtests: pytest.Subtests) -> None:
    for zone, hint in [
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("Berlin", "did you mean Europe/Berlin?"),
        ("new york", "did you mean America/New_York?"),
        ("utc", "did you mean UTC?"),
        ("../etc/passwd", "an example is Europe/Berlin"),
        ("localtime", "an example is Europe/Berlin"),  # another one on each machine
        ("", "an example is Europe/Berlin"),
        ("\0", "an example is Europe/Berlin"),
    ]:
        with subtests.test(zone=zone), pytest.raises(Invalid) as refused:
            timetable("@daily", zone, ANCHOR)
        assert refused.value.field == "zone", zone
        assert str(refused.value) == f"zone: unknown time zone {zone!r}; {hint}", zone


def test_a_folder_of_zones_is_no_zone() -> None:
    with pytest.raises(Invalid, match="unknown time zone 'Europe'"):
        timetable("@daily", "Europe", ANCHOR)


# --- words

TEXTS = [
    ("0 * * * *", "At the start of every hour"),
    (
        "*/15 9-17 * * MON-FRI",
        "Every 15th minute from 09:00 through 17:59 on Monday through Friday",
    ),
    ("0 0 L * ?", "At 00:00 on the last day of every month"),
    ("@weekly", "At 00:00 on Sunday"),
    ("0 0 13 * 5", "At 00:00 on the 13th day of month and on Friday"),
    ("30 8-18/2 * * MON-FRI", "Every 2 hours from 08:30 to 18:30 on Monday through Friday"),
    ("0 */5 * 2 *", "Every 5 hours from 00:00 to 20:00 in February"),
    ("5 */6 * * *", "Every 6 hours from 00:05 to 18:05"),
    # either field is enough, and one covers every day
    ("0 0 1-31 * MON", "At 00:00 every day"),
    ("0 0 13 2 0-6", "At 00:00 every day in February"),
]


def test_an_expression_is_told_in_words() -> None:
    for when, text in TEXTS:
        assert timetable(when, BERLIN, ANCHOR).text == f"{text} (Europe/Berlin)", (when, text)


def test_an_interval_and_an_instant_are_told_with_local_times() -> None:
    for when, text in [
        ("every 90m", "Every 1h30m, counted from 2026-01-01 10:30:15 CET (Europe/Berlin)"),
        ("at 2027-07-01T08:00", "Once, at 2027-07-01 08:00 CEST (Europe/Berlin)"),
        ("at 2027-07-01T08:00Z", "Once, at 2027-07-01 10:00 CEST (Europe/Berlin)"),
    ]:
        assert timetable(when, BERLIN, ANCHOR).text == text, when


@given(when=_EXPRESSIONS)
@settings(max_examples=100, deadline=None)
def test_every_expression_has_words(when: str) -> None:
    try:
        table = timetable(when, "UTC", ANCHOR)
    except Invalid:
        return
    assert table.text[:3] in {"At ", "Eve"}
