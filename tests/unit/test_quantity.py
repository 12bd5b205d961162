"""Parsing and formatting of quantities."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.cli.render.job_display import ceiling
from crawlyard.core import quantity
from crawlyard.core.jobs.limits import Limits, ResourceLimiter, Usage
from crawlyard.core.jobs.waiting import Surroundings, pending_waits
from crawlyard.core.quantity import count_noun
from tests.builders import NOW, a_job
from tests.builders_serve import a_report
from tests.unit.test_cli_output import job_out


def test_a_duration_is_read_in_units_or_bare_seconds() -> None:
    for text, seconds in [
        ("90s", 90),
        ("2h", 7200),
        ("7d", 604_800),
        ("1w", 604_800),
        ("1h30m", 5400),
        ("1d2h3m4s", 93_784),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("0", 0),
        ("0.5", 0.5),
        (" 2H ", 7200),
    ]:
        assert quantity.duration(text) == timedelta(seconds=seconds), text


def test_what_is_no_duration_is_refused_with_its_text(subtests: pytest.Subtests) -> None:
    for text in [
        "",
        "h",
        "-1s",
        "1 h 2",
        "1m1h",
        "1h1h",
        "2y",
        "1e9",
        "1h30",
        "٣s",
        "inf",
        "nan",
        "1,5s",
    ]:
        with (
            subtests.test(text=text),
            pytest.raises(ValueError, match="expected a duration such as 90s") as error,
        ):
            quantity.duration(text)
        assert repr(text) in str(error.value), text


def test_a_duration_beyond_ten_years_is_refused(subtests: pytest.Subtests) -> None:
    for text in ["9999999d", "9" * 400]:
        with subtests.test(text=text), pytest.raises(ValueError, match="at most 3650d"):
            quantity.duration(text)


@given(st.integers(0, 3650 * 86_400_000))
def test_a_duration_is_read_as_it_is_written(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert quantity.duration(quantity.duration_text(length)) == length


def test_a_size_is_read_in_powers_of_1000_or_1024() -> None:
    for text, amount in [
        ("500MB", 500_000_000),
        ("1GiB", 2**30),
        ("10k", 10_000),
        ("10KB", 10_000),
        ("10KiB", 10_240),
        ("1.5 mb", 1_500_000),
        ("812", 812),
        ("812B", 812),
        ("2T", 2_000_000_000_000),
        ("9007199254740993", 9_007_199_254_740_993),
    ]:
        assert quantity.size(text) == amount, text


def test_what_is_no_size_is_refused_with_its_text(subtests: pytest.Subtests) -> None:
    for text in ["", "MB", "-1", "1iB", "1 PB", "1e3", "0x10", "1MBB"]:
        with (
            subtests.test(text=text),
            pytest.raises(ValueError, match="expected a size such as 500MB") as error,
        ):
            quantity.size(text)
        assert repr(text) in str(error.value), text


def test_sizes_and_seconds_have_bounds_and_no_needless_fraction() -> None:
    with pytest.raises(ValueError, match="at most 9223372036854775807 bytes"):
        quantity.size("99999999TB")
    assert str(quantity.seconds(timedelta(seconds=90))) == "90"
    assert str(quantity.seconds(timedelta(milliseconds=1500))) == "1.5"


@given(st.integers(0, 2**63 - 1))
def test_a_size_is_read_as_it_is_written(amount: int) -> None:
    assert quantity.size(quantity.size_text(amount)) == amount


def test_a_count_is_read_with_thousands_set_apart() -> None:
    for text, number in [
        ("500", 500),
        ("20_000", 20_000),
        ("20,000", 20_000),
        ("20k", 20_000),
        ("1M", 10**6),
    ]:
        assert quantity.count(text) == number, text


def test_what_is_no_count_is_refused_with_its_text(subtests: pytest.Subtests) -> None:
    for text in ["", "-1", "1.5", "ten", "1_0", "1e3", "²"]:
        with (
            subtests.test(text=text),
            pytest.raises(ValueError, match="expected a whole number such as 500") as error,
        ):
            quantity.count(text)
        assert repr(text) in str(error.value), text


@given(st.integers(0, 36_500 * 86_400_000_000))
def test_seconds_are_exact_to_the_microsecond_for_a_hundred_years(microseconds: int) -> None:
    length = timedelta(microseconds=microseconds)
    assert timedelta(seconds=quantity.seconds(length)) == length


SOURCE = Path(__file__).parents[2] / "src" / "crawlyard"
_NOUNS = (
    "attempts|cores|entries|errors|failures|instants|jobs|lines|pages|processes|records|rounds|rows|"
    "schedules|sitemaps|slots|tables|templates|ticks|tries|URLs|webhooks|workers"
)
PLURAL = re.compile(rf"(?<!than )(?<!these )\{{[a-z][^{{}}]*\}} (?:[a-z]+ )?(?:{_NOUNS})\b")
"""A value that is no constant, and a plural behind it."""


def test_a_count_of_one_is_singular_and_every_other_plural() -> None:
    assert [count_noun(n, "page") for n in (0, 1, 2, 1000)] == [
        "0 pages",
        "1 page",
        "2 pages",
        "1,000 pages",
    ]
    assert count_noun(1, "retry", "retries") == "1 retry"
    assert count_noun(2, "job goes", "jobs go") == "2 jobs go"


def test_a_job_waits_for_one_job_before_it_and_for_the_one_slot() -> None:
    job = a_job(due_at=NOW)
    busy = a_report(slots=1, running=("other",))
    waits = pending_waits(
        job, NOW, None, 1, is_held=False, among=Surroundings(workers=(busy,), counted=100)
    )
    assert [wait.detail for wait in waits] == [
        "every slot is taken (1 slot of 1 worker)",
        "1 job is ahead of it",
    ]


def test_a_limit_of_one_is_singular() -> None:
    limiter = ResourceLimiter(Limits(pages=1, errors=1))
    assert limiter.describe("pages", Usage(pages=1)) == "the limit of 1 page was reached"
    assert limiter.describe("errors", Usage(errors=2)) == (
        "the limit of 1 error was reached and passed by 1 error"
    )
    out = job_out(limits=Limits(pages=1, errors=1))
    assert [ceiling(out.spec.limits, name) for name in ("pages", "errors")] == ["1 page", "1 error"]


def test_no_message_puts_a_plural_behind_a_number_that_may_be_one() -> None:
    for suffix in ["py", "js"]:
        findings = [
            f"{file.relative_to(SOURCE)}: {match[0]}"
            for file in SOURCE.rglob(f"*.{suffix}")
            for match in PLURAL.finditer(file.read_text("utf-8"))
        ]
        assert findings == [], suffix
