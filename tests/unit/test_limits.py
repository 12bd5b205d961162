from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard import Decision, Limits, ResourceLimiter, StateReason, Usage
from crawlyard.core.jobs.limits import (
    LIMIT_NAMES,
    LIMITS,
    USAGE_NAMES,
    breach,
    reason_of,
)
from crawlyard.errors import Invalid

SECOND = timedelta(seconds=1)

counts = st.integers(0, 5)
spans = st.integers(0, 5)
usages = st.builds(Usage, pages=counts, bytes=counts, duration_s=spans, errors=counts)
ceilings = st.integers(1, 5)
all_limits = st.builds(
    Limits,
    pages=st.none() | ceilings,
    bytes=st.none() | ceilings,
    duration_s=st.none() | ceilings,
    errors=st.none() | ceilings,
)


def a_limit(name: str, ceiling: int) -> Limits:
    return Limits(**{name: ceiling})


def used(*names: str, amount: int) -> Usage:
    return Usage(**dict.fromkeys(names, amount))


# --- what a job may use


@pytest.mark.parametrize("name", LIMIT_NAMES)
@pytest.mark.parametrize("ceiling", [0, -1])
def test_a_ceiling_that_lets_nothing_through_is_refused_by_name(name: str, ceiling: int) -> None:
    with pytest.raises(
        Invalid, match=rf"limits\.{name}: expected more than 0( s)?, got "
    ) as refused:
        a_limit(name, ceiling)
    assert refused.value.field == f"limits.{name}"


def test_without_a_ceiling_there_is_no_breach_and_of_two_the_first_is_named() -> None:
    assert breach(Limits(), Usage(pages=10**9, bytes=10**15, errors=10**9)) is None
    assert breach(Limits(errors=1, bytes=1), Usage(errors=1, bytes=1)) == "bytes"


def test_a_limit_that_ends_a_job_is_its_reason() -> None:
    assert [reason_of(word) for word in LIMITS] == [
        StateReason.LIMIT_PAGES,
        StateReason.LIMIT_BYTES,
        StateReason.LIMIT_DURATION,
        StateReason.LIMIT_ERRORS,
        StateReason.LIMIT_RENDER,
    ]


@settings(max_examples=50, deadline=None)
@given(limits=all_limits, usage=usages)
def test_there_is_a_breach_if_and_only_if_a_field_is_used_up(limits: Limits, usage: Usage) -> None:
    used_up = [
        word
        for word, name in LIMITS.items()
        if (ceiling := getattr(limits, name)) is not None and getattr(usage, name) >= ceiling
    ]
    assert breach(limits, usage) == (used_up[0] if used_up else None)


# --- what it has used


def test_usages_add_up_field_by_field() -> None:
    first = used(*USAGE_NAMES, amount=1)
    assert first.plus(first) == used(*USAGE_NAMES, amount=2)
    assert first.plus(Usage()) == first


def test_what_waits_is_what_was_discovered_and_is_not_done() -> None:
    assert Usage(discovered=5, done=3).waiting == 2
    assert Usage(discovered=3, done=5).waiting == 0


# --- whether one more fetch may begin


def test_a_fetch_may_begin_while_no_limit_is_near() -> None:
    assert ResourceLimiter().decide(Usage(pages=10**6), in_flight=10**3) == Decision(allowed=True)


def test_a_limit_that_is_used_up_ends_the_job_with_its_reason() -> None:
    limiter = ResourceLimiter(Limits(pages=500, errors=3))
    decision = limiter.decide(Usage(pages=12, errors=3))
    assert not decision.allowed
    assert (decision.limit, decision.used_up) == ("errors", True)
    assert decision.detail == "the limit of 3 errors was reached"


def test_the_last_pages_in_flight_hold_up_further_ones_without_ending_the_job() -> None:
    limiter = ResourceLimiter(Limits(pages=10))
    decision = limiter.decide(Usage(pages=8), in_flight=2)
    assert not decision.allowed
    assert (decision.limit, decision.used_up) == ("pages", False)
    assert decision.detail == "the last pages of 10 are in flight: 2"


def test_a_limit_that_was_passed_says_by_how_much() -> None:
    limiter = ResourceLimiter(Limits(bytes=1000, duration_s=1))
    usage = Usage(bytes=1234, duration_s=1.5)
    assert limiter.describe("bytes", usage) == (
        "the limit of 1,000 bytes was reached and passed by 234 bytes"
    )
    assert limiter.describe("duration", usage) == (
        "the limit of 1.0 s was reached and passed by 0.5 s"
    )


@settings(max_examples=50, deadline=None)
@given(ceiling=st.integers(1, 8), answers=st.lists(st.booleans(), max_size=40))
def test_recorded_and_in_flight_never_exceed_the_limit_of_pages(
    ceiling: int, answers: list[bool]
) -> None:
    limiter = ResourceLimiter(Limits(pages=ceiling))
    pages = in_flight = 0
    for answered in answers:  # one fetch ends, with an answer or without; then as many begin
        while limiter.decide(Usage(pages=pages), in_flight).allowed:
            in_flight += 1
        assert pages + in_flight == ceiling
        if in_flight:
            in_flight -= 1
            pages += answered

    assert pages <= ceiling
