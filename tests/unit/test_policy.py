"""Settings of a yard, and ceilings: what they say, and that reading is a fixed point."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.access.policy import (
    SectionName,
    ceilings_of,
    days_of,
    defaults_of,
    grants_of,
    section_read,
)
from crawlyard.core.access.user import NO_GRANTS, Grants
from crawlyard.core.jobs.limits import LIMIT_NAMES, Limits, clamped
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.errors import Invalid

whole = st.none() | st.integers(1, 1000)
limits = st.builds(
    Limits,
    pages=whole,
    bytes=whole,
    errors=whole,
    duration_s=st.none() | st.floats(1, 9 * 86_400.0),
)


@given(limits, limits, limits)
def test_no_limit_is_above_a_ceiling(asked: Limits, first: Limits, second: Limits) -> None:
    within = clamped(asked, first, second)
    for name in LIMIT_NAMES:
        every = [getattr(each, name) for each in (asked, first, second)]
        known = [value for value in every if value is not None]
        assert getattr(within, name) == (min(known) if known else None)
    assert clamped(within, first, second) == within


def test_what_was_read_reads_the_same_again() -> None:
    cases: list[tuple[SectionName, dict[str, object]]] = [
        (SectionName.GRANTS, {"addresses": "true"}),
        (SectionName.CEILINGS, {"pages": "20k", "bytes": "1GiB", "duration_s": "1h30m"}),
        (SectionName.RETENTION, {"retention_days": 7, "events_days": 0}),
        (SectionName.DEFAULTS, {"delay": "2s", "limits": {"pages": "1k"}, "tags": "a"}),
    ]
    for name, value in cases:
        read = section_read(name, value)

        assert section_read(name, read) == read, name


def test_an_empty_section_grants_nothing_and_limits_nothing() -> None:
    assert grants_of({}) == NO_GRANTS
    assert ceilings_of({}) == Limits()
    assert days_of({}, "retention_days", timedelta(days=3)) == timedelta(days=3)


def test_a_section_says_what_holds() -> None:
    every = {"addresses": True, "private": True, "ignore_robots": True}
    assert grants_of(section_read(SectionName.GRANTS, every)) == Grants()
    assert days_of({"events_days": 0.0}, "events_days", timedelta(days=3)) is None
    assert days_of({"events_days": 0.5}, "events_days", None) == timedelta(hours=12)
    ceilings = ceilings_of(section_read(SectionName.CEILINGS, {"duration_s": "2m"}))
    assert ceilings == Limits(duration_s=120)


def test_defaults_lie_where_nothing_else_is_said() -> None:
    spec = JobSpec(urls=("https://a.example/",), per_host=7, limits=Limits(errors=3))
    value = section_read(SectionName.DEFAULTS, {"per_host": 1, "limits": {"pages": 5}})
    under = defaults_of(value, spec, lambda path: path != "per_host")
    assert (under.per_host, under.limits) == (7, Limits(pages=5, errors=3))


def test_what_is_one_jobs_own_is_no_default(subtests: pytest.Subtests) -> None:
    for field in ["urls", "sitemaps", "name", "webhooks"]:
        value = {field: "a" if field == "name" else ["https://a.example/"]}
        with subtests.test(field=field), pytest.raises(Invalid, match=field):
            section_read(SectionName.DEFAULTS, value)
