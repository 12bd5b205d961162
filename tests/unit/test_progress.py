from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard import Limits, Progress, State, TimeLeft, Usage
from crawlyard.core.limits import LIMIT_NAMES
from crawlyard.core.progress import Confidence, Pulse, milestones, progress_of, pulse_of

SECOND = timedelta(seconds=1)

amounts = st.integers(0, 10**15)
spans = st.timedeltas(timedelta(0), timedelta(days=3650))
usages = st.builds(
    Usage,
    pages=amounts,
    bytes=amounts,
    duration=spans,
    errors=amounts,
    discovered=amounts,
    done=amounts,
)
few = st.builds(
    Usage,
    pages=st.integers(0, 9),
    bytes=st.integers(0, 9),
    duration=st.integers(0, 9).map(lambda s: s * SECOND),
    errors=st.integers(0, 9),
    discovered=st.integers(0, 9),
    done=st.integers(0, 9),
)
ceilings = st.integers(1, 10**15)
all_limits = st.builds(
    Limits,
    pages=st.none() | ceilings,
    bytes=st.none() | ceilings,
    duration=st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=3650)),
    errors=st.none() | ceilings,
)
rates = st.floats(0, 1e12)
pulses = st.builds(
    Pulse,
    rate=rates,
    spread=rates,
    pages_rate=rates,
    bytes_rate=rates,
    errors_rate=rates,
    growth=rates,
    samples=st.integers(0, 30),
)

STEADY = Pulse(rate=10.0, spread=1.0, pages_rate=10.0, bytes_rate=1000.0, samples=30)


def a_pulse(**changes: float) -> Pulse:
    values = {n: getattr(STEADY, n) for n in Pulse.__struct_fields__}
    return Pulse(**(values | changes))


def running(
    limits: Limits | None = None, usage: Usage | None = None, pulse: Pulse = STEADY
) -> Progress:
    usage = usage or Usage(discovered=300, done=200, pages=200)
    return progress_of(limits or Limits(), usage, pulse, State.RUNNING, "http://a.example/x")


def left(progress: Progress) -> TimeLeft:
    assert progress.time_left is not None, progress.unknown
    return progress.time_left


# --- what has been done


def test_progress_says_how_far_a_job_has_come() -> None:
    usage = Usage(pages=7, bytes=4096, duration=90 * SECOND, errors=2, discovered=20, done=9)

    progress = running(usage=usage)

    assert (progress.done, progress.discovered, progress.failed) == (9, 20, 2)
    assert (progress.pages, progress.bytes, progress.elapsed) == (7, 4096, 90 * SECOND)
    assert (progress.rate, progress.current_url) == (10.0, "http://a.example/x")


@pytest.mark.parametrize("state", [s for s in State if s is not State.RUNNING])
def test_a_job_that_does_not_run_has_neither_rate_nor_time_left(state: State) -> None:
    progress = progress_of(Limits(), Usage(discovered=5), STEADY, state, "http://a.example/x")

    assert (progress.rate, progress.current_url, progress.time_left) == (0.0, "", None)
    assert progress.unknown == f"the job is {state}"


# --- how long it will still take


def test_a_frontier_that_does_not_grow_is_worked_off_at_its_pace() -> None:
    estimate = left(running())

    assert estimate.p50 == 10 * SECOND
    assert 10 * SECOND < estimate.p90 < 11 * SECOND
    assert (estimate.limit, estimate.confidence) == (None, Confidence.HIGH)


def test_new_urls_that_each_page_brings_are_counted_in() -> None:
    estimate = left(running(pulse=a_pulse(growth=0.5, spread=0.0)))

    assert estimate.p50 == 20 * SECOND
    assert estimate.p90 == 40 * SECOND  # each may bring half as many again
    assert estimate.confidence is Confidence.MEDIUM


def test_an_estimate_is_of_low_confidence_while_the_frontier_still_grows() -> None:
    estimate = left(running(pulse=a_pulse(growth=0.95)))

    assert estimate.confidence is Confidence.LOW
    assert estimate.p50 >= 100 * SECOND


def test_there_is_no_estimate_while_each_url_brings_more_than_one_and_no_limit_is_set() -> None:
    progress = running(pulse=a_pulse(growth=3.0))

    assert progress.time_left is None
    assert progress.unknown == "the frontier still grows, and no limit is in sight"


def test_few_samples_are_of_low_confidence() -> None:
    assert left(running(pulse=a_pulse(samples=3))).confidence is Confidence.LOW


def test_an_unsteady_pace_widens_the_range_and_lowers_the_confidence() -> None:
    calm, wild = left(running()), left(running(pulse=a_pulse(spread=12.0)))

    assert wild.p50 == calm.p50
    assert wild.p90 > calm.p90
    assert wild.confidence is Confidence.MEDIUM


def test_without_a_pace_there_is_no_estimate() -> None:
    progress = running(pulse=Pulse())

    assert progress.time_left is None
    assert progress.unknown == "no URL was finished lately"


def test_what_is_through_has_no_time_left() -> None:
    estimate = left(running(usage=Usage(discovered=200, done=200)))

    assert estimate.p50 == estimate.p90 == timedelta(0)


# --- which limit will stop it, and when


def test_the_limit_that_comes_before_the_end_of_the_frontier_is_named() -> None:
    estimate = left(running(Limits(pages=250)))

    assert (estimate.limit, estimate.p50) == ("pages", 5 * SECOND)


def test_a_limit_that_comes_after_the_end_of_the_frontier_is_not_named() -> None:
    assert left(running(Limits(pages=1000))).limit is None


def test_the_nearest_of_several_limits_is_named() -> None:
    usage = Usage(discovered=10**6, done=200, pages=200, bytes=5000)

    estimate = left(running(Limits(pages=1000, bytes=7000, duration=60 * SECOND), usage))

    assert (estimate.limit, estimate.p50) == ("bytes", 2 * SECOND)


def test_a_limit_of_time_stops_it_to_the_second() -> None:
    usage = Usage(discovered=10**6, done=200, pages=200, duration=50 * SECOND)

    estimate = left(running(Limits(duration=60 * SECOND), usage, a_pulse(spread=30.0)))

    assert estimate.limit == "duration"
    assert estimate.p50 == estimate.p90 == 10 * SECOND


def test_a_limit_bounds_a_crawl_whose_frontier_grows() -> None:
    estimate = left(running(Limits(pages=1200), pulse=a_pulse(growth=8.0)))

    assert (estimate.limit, estimate.p50) == ("pages", 100 * SECOND)
    assert estimate.confidence is not Confidence.LOW


def test_a_limit_that_was_passed_stops_it_now() -> None:
    assert left(running(Limits(pages=100))).p50 == timedelta(0)


@settings(max_examples=200, deadline=None)
@given(limits=all_limits, usage=usages, pulse=pulses, state=st.sampled_from(State))
@example(
    Limits(duration=SECOND), Usage(discovered=9), Pulse(rate=5e-324, spread=1.0), State.RUNNING
)
@example(Limits(), Usage(discovered=10**15), Pulse(rate=1e-6), State.RUNNING)
@example(Limits(), Usage(discovered=9), Pulse(rate=1.0, growth=1.0), State.RUNNING)
@example(Limits(pages=9), Usage(pages=9, done=9, discovered=9), STEADY, State.RUNNING)
def test_an_estimate_is_a_range_that_is_never_negative_or_a_reason(
    limits: Limits, usage: Usage, pulse: Pulse, state: State
) -> None:
    progress = progress_of(limits, usage, pulse, state)

    if progress.time_left is None:
        assert progress.unknown
        return
    assert not progress.unknown
    assert timedelta(0) <= progress.time_left.p50 <= progress.time_left.p90
    assert progress.time_left.limit in (None, *LIMIT_NAMES)


# --- the pace


def a_history(*done: int, every: timedelta = SECOND, found: int = 0) -> list[Usage]:
    return [
        Usage(
            done=n,
            pages=n,
            bytes=100 * n,
            errors=n // 10,
            discovered=found * n,
            duration=every * i,
        )
        for i, n in enumerate(done)
    ]


def test_a_pace_is_what_was_done_over_running_time() -> None:
    pulse = pulse_of(a_history(0, 10, 20, 30, found=2))

    assert pulse == Pulse(
        rate=10.0,
        spread=0.0,
        pages_rate=10.0,
        bytes_rate=1000.0,
        errors_rate=1.0,
        growth=2.0,
        fresh=2.0,
        samples=3,
    )


def test_the_spread_of_a_pace_is_that_from_sample_to_sample() -> None:
    pulse = pulse_of(a_history(0, 0, 20, 20, 40))

    assert (pulse.rate, pulse.spread) == (10.0, 10.0)


@pytest.mark.parametrize(
    "history",
    [[], [Usage(done=5)], a_history(0, 5, every=timedelta(0))],
    ids=["nothing", "one sample", "no time"],
)
def test_no_pace_can_be_told_from(history: list[Usage]) -> None:
    assert pulse_of(history) == Pulse()


def test_what_is_retried_is_no_negative_pace() -> None:
    pulse = pulse_of(a_history(20, 10))

    assert (pulse.rate, pulse.pages_rate, pulse.growth) == (0.0, 0.0, 0.0)


@settings(max_examples=50, deadline=None)
@given(history=st.lists(few, max_size=8))
def test_no_pace_is_ever_negative(history: list[Usage]) -> None:
    pulse = pulse_of(history)

    assert all(getattr(pulse, name) >= 0 for name in Pulse.__struct_fields__)


# --- milestones


def passed(
    done: int, discovered: int, told: int = 0, limits: Limits | None = None, **pulse: float
) -> tuple[int, ...]:
    usage = Usage(pages=done, done=done, discovered=discovered, errors=done)
    return milestones(limits or Limits(), usage, a_pulse(**pulse), told)


@pytest.mark.parametrize(
    ("done", "marks"),
    [(0, ()), (24, ()), (25, (25,)), (50, (25, 50)), (99, (25, 50, 75)), (100, ())],
)
def test_each_milestone_that_is_passed_is_told(done: int, marks: tuple[int, ...]) -> None:
    assert passed(done, 100) == marks
    assert passed(done, 10**6, limits=Limits(pages=100)) == marks
    assert passed(done, 100, limits=Limits(pages=1000, errors=1)) == marks


def test_each_milestone_is_told_once() -> None:
    assert passed(80, 100, told=25) == (50, 75)
    assert passed(80, 100, told=75) == ()
    assert passed(30, 100, told=50) == ()


def test_the_time_that_a_job_may_take_is_part_of_its_way() -> None:
    usage, limits = Usage(duration=60 * SECOND, discovered=900), Limits(duration=100 * SECOND)

    assert milestones(limits, usage, STEADY, 0) == (25, 50)


def test_while_links_grow_nobody_can_tell_how_far_it_is() -> None:
    assert passed(90, 100, fresh=0.9) == ()
    assert passed(90, 100, samples=3) == ()
    assert passed(90, 100, limits=Limits(pages=200), fresh=3.0) == (25,)


def test_links_that_are_still_to_be_found_lengthen_the_way() -> None:
    assert passed(40, 80, fresh=0.0) == (25, 50)
    assert passed(40, 80, fresh=0.5) == (25,)


def test_links_that_stopped_growing_are_seen_long_before_the_pace_forgets_them() -> None:
    growing = [Usage(duration=n * SECOND, done=n, discovered=1 + 10 * n) for n in range(20)]
    last = growing[-1]
    still = [
        replace(last, duration=last.duration + n * SECOND, done=last.done + n) for n in range(1, 5)
    ]

    pulse = pulse_of(growing + still)

    assert pulse.growth > 8
    assert pulse.fresh == 0
