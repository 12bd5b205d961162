"""Progress of a job, and its estimated time left."""

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard import Eta, Limits, Progress, State, Usage
from crawlyard.core.jobs.limits import LIMITS
from crawlyard.core.jobs.progress import Confidence, milestones, progress_of
from crawlyard.core.jobs.pulse import ProxyUse, Pulse, Sample, Workload, pulse_of, sample_of

SECOND = timedelta(seconds=1)

amounts = st.integers(0, 10**15)
spans = st.floats(0, 3650 * 86_400.0)
usages = st.builds(
    Usage,
    pages=amounts,
    bytes=amounts,
    duration_s=spans,
    errors=amounts,
    discovered=amounts,
    done=amounts,
)
ceilings = st.integers(1, 10**15)
all_limits = st.builds(
    Limits,
    pages=st.none() | ceilings,
    bytes=st.none() | ceilings,
    duration_s=st.none() | st.floats(1e-6, 3650 * 86_400.0),
    errors=st.none() | ceilings,
)
rates = st.floats(0, 1e12)
seconds = st.floats(0, 1e9)
workloads = st.builds(
    Workload,
    retries=amounts,
    failed=amounts,
    failed_s=seconds,
    busy_s=seconds,
    least_s=seconds,
    hold_s=seconds,
    holds=st.integers(0, 1000),
    held_s=seconds,
    lane_waiting=amounts,
    lane_rate=rates,
    barren=amounts,
)
pulses = st.builds(
    Pulse,
    rate=rates,
    spread=rates,
    pages_rate=rates,
    bytes_rate=rates,
    errors_rate=rates,
    samples=st.integers(0, 30),
    done=st.tuples(amounts, amounts),
    found=st.tuples(amounts, amounts),
    active_s=st.tuples(seconds, seconds),
    busy=rates,
    quiet=amounts,
    workload=workloads,
)
samples = st.builds(
    Sample,
    at_s=st.floats(0, 9),
    held_s=st.floats(0, 9),
    busy_s=st.floats(0, 9),
    done=st.integers(0, 9),
    discovered=st.integers(0, 9),
    pages=st.integers(0, 9),
    bytes=st.integers(0, 9),
    errors=st.integers(0, 9),
)


def a_crawl(
    seconds: int,
    done: Callable[[float], float],
    discovered: Callable[[float], float],
    *,
    workload: Workload | None = None,
) -> tuple[Usage, Pulse]:
    """Return a crawl's state after *seconds*; *discovered* maps URLs done to URLs discovered."""
    workload = workload or Workload()

    def usage(at_s: int) -> Usage:
        n = int(done(at_s))
        return Usage(
            done=n,
            pages=n,
            bytes=1000 * n,
            discovered=max(n, int(discovered(n))),
            duration_s=at_s,
        )

    first = max(0, seconds - 30)
    return usage(seconds), pulse_of(
        samples_of([usage(at_s) for at_s in range(seconds + 1)], workload)[first:], workload
    )


def samples_of(usages: Sequence[Usage], workload: Workload) -> list[Sample]:
    samples: list[Sample] = []
    for usage in usages:
        samples.append(sample_of(usage, workload, samples[-1] if samples else None))
    return samples


def steady(seconds: int, discovered: int = 1000, **workload: Any) -> tuple[Usage, Pulse]:
    """Return a crawl at ten URLs a second that has known all its URLs from the beginning."""
    load = Workload(**workload)
    return a_crawl(seconds, lambda at_s: 10 * at_s, lambda _: discovered, workload=load)


def running(stands: tuple[Usage, Pulse], limits: Limits | None = None) -> Progress:
    usage, pulse = stands
    return progress_of(limits or Limits(), usage, pulse, State.RUNNING, "http://a.example/x")


def eta(stands: tuple[Usage, Pulse], limits: Limits | None = None) -> Eta:
    progress = running(stands, limits)
    assert progress.eta is not None, progress.eta_unknown
    return progress.eta


def width(estimate: Eta) -> float:
    """Return the width of a range, relative to its middle."""
    return (estimate.p90_s - estimate.p10_s) / estimate.p50_s


# --- what has been done


def test_progress_says_how_far_a_job_has_come() -> None:
    usage = Usage(
        pages=7,
        bytes=4096,
        duration_s=90,
        errors=2,
        discovered=20,
        done=9,
    )
    progress = running((usage, Pulse(rate=10.0)))
    assert (progress.done, progress.discovered, progress.failed) == (9, 20, 2)
    assert (progress.pages, progress.bytes, progress.elapsed_s) == (7, 4096, 90.0)
    assert (progress.rate, progress.current_url) == (10.0, "http://a.example/x")


def test_a_job_that_does_not_run_has_neither_rate_nor_time_left() -> None:
    usage, pulse = steady(40)
    for state in State:
        if state is State.RUNNING:
            continue

        progress = progress_of(Limits(), usage, pulse, state, "http://a.example/x")

        assert (progress.rate, progress.current_url, progress.eta) == (0.0, "", None)
        assert progress.eta_unknown == f"the job is {state}"


# --- until the frontier runs out


def test_a_steady_crawl_ends_when_its_queue_is_worked_off_and_its_range_narrows() -> None:
    estimate = eta(steady(40))
    assert estimate.p10_s < 60 < estimate.p90_s
    assert estimate.p50_s == pytest.approx(60, rel=0.05)
    assert width(estimate) < 0.5
    assert (estimate.limit, estimate.confidence) == (None, Confidence.HIGH)

    early, late = eta(steady(3)), eta(steady(60))
    assert width(early) > 2 * width(late)
    assert early.p10_s < 97 < early.p90_s

    estimate = eta(steady(100))
    assert (estimate.p10_s, estimate.p50_s) == (0.0, 0.0)
    assert estimate.p90_s <= 1.0


def test_the_range_is_wide_when_one_url_is_done_and_unknown_before() -> None:
    usage = Usage(duration_s=1, done=1, pages=1, discovered=11)
    estimate = eta((usage, pulse_of([sample_of(usage, Workload())])))
    assert estimate.p90_s > 5 * estimate.p10_s
    assert estimate.confidence is Confidence.LOW
    progress = running((Usage(discovered=1), Pulse()))
    assert progress.eta is None
    assert progress.eta_unknown == "estimating… (no URL finished yet)"


def test_links_that_all_came_at_the_start_are_not_taken_for_growth() -> None:
    """Half a minute of pace still has the start in it: that is no reason to expect more."""
    burst = a_crawl(20, lambda at_s: 5 * at_s, lambda n: 1 if n < 5 else 1000)
    estimate = eta(burst)
    assert estimate.p10_s < 180 < estimate.p90_s
    assert estimate.p50_s == pytest.approx(180, rel=0.1)


def test_discovery_that_decays_is_expected_to_go_on_decaying() -> None:
    def discovered(n: float) -> float:
        return 1000 * (1 - math.exp(-n / 200))

    halfway = a_crawl(25, lambda at_s: 10 * at_s, discovered)

    assert halfway[0].waiting < 500  # of the 750 that there will be
    estimate = eta(halfway)
    assert estimate.p10_s < 75 < estimate.p90_s
    assert estimate.p50_s == pytest.approx(75, rel=0.25)


def test_a_frontier_that_grows_without_end_has_a_wide_range_not_a_reason() -> None:
    tree = a_crawl(30, lambda at_s: 10 * at_s, lambda n: 3 * n + 1)
    estimate = eta(tree)
    assert estimate.p10_s >= tree[0].waiting / 10 - 10
    assert estimate.p90_s > 3 * estimate.p10_s
    assert estimate.confidence is Confidence.LOW


def test_urls_at_the_maximum_depth_bring_no_more() -> None:
    usage, pulse = a_crawl(30, lambda at_s: 10 * at_s, lambda n: 3 * n + 1)
    last = replace(pulse, workload=Workload(barren=usage.waiting))
    estimate = eta((usage, last))
    assert estimate.p50_s == pytest.approx(usage.waiting / 10, rel=0.05)
    assert estimate.confidence is Confidence.HIGH


def test_a_pace_that_falls_is_expected_to_fall_further() -> None:
    slowing = a_crawl(60, lambda at_s: 100 * math.sqrt(at_s), lambda _: 1000)
    rate = slowing[1].rate
    now = slowing[0].waiting / rate
    estimate = eta(slowing)
    assert estimate.p50_s > now
    assert estimate.p10_s < 40 < estimate.p90_s  # 100² seconds · 10⁻², less the 60


def test_an_unsteady_pace_and_a_standstill_widen_the_range() -> None:
    wild = a_crawl(40, lambda at_s: 10 * (at_s - at_s % 8), lambda _: 1000)
    assert width(eta(wild)) > 1.2 * width(eta(steady(40)))
    stuck = a_crawl(60, lambda at_s: min(200, 10 * at_s), lambda _: 1000)
    estimate = eta(stuck)
    assert estimate.p90_s > 4 * estimate.p10_s
    assert estimate.confidence is Confidence.LOW


# --- hosts that wait, retries


def test_a_slow_host_outlasts_the_others_unless_it_only_waits_for_room() -> None:
    estimate = eta(steady(40, lane_waiting=500, lane_rate=2.0))
    assert estimate.p50_s == pytest.approx(250, rel=0.05)
    assert estimate.p10_s > 200
    estimate = eta(steady(40, lane_waiting=500, lane_rate=2.0, lane_full=False))
    assert estimate.p50_s == pytest.approx(60, rel=0.05)
    assert estimate.p90_s > 250


def test_no_job_ends_before_its_delays_and_waits_are_over() -> None:
    estimate = eta(steady(99, least_s=300.0))
    assert estimate.p10_s == pytest.approx(300, abs=1)
    assert 300 <= estimate.p50_s <= estimate.p90_s < 330


def test_a_hold_of_all_hosts_is_added_to_the_time_and_changes_no_pace() -> None:
    usage, _ = steady(40)
    history = [Sample(at_s=at_s, done=10 * at_s, discovered=1000) for at_s in range(10, 41)]
    history[-1] = replace(history[-1], at_s=70.0, held_s=30.0)
    workload = Workload(hold_s=20.0, holds=1, held_s=30.0)
    paused = replace(usage, duration_s=70), pulse_of(history, workload)

    estimate = eta(paused)

    assert 60 < estimate.p10_s <= 80  # a minute of work, a third of one to wait
    assert estimate.p90_s > 110  # and perhaps another hold or two


def using(rests_s: float) -> ProxyUse:
    return ProxyUse(proxy="socks5://a.test:1080", connections=1, failures=1, rests_s=rests_s)


def test_what_makes_a_crawl_slow_is_said_in_a_sentence() -> None:
    quick, all_at_once = steady(40), steady(99, discovered=1000)
    growing = a_crawl(40, lambda at_s: at_s, lambda at_s: 20 * at_s)
    for stands, sentence in [
        (quick, ""),
        (all_at_once, ""),
        (steady(40, proxies=(using(0.0), using(7.5))), ""),
        (
            steady(40, proxies=(using(9.0), using(7.5))),
            "no proxy can be used, for another 8 seconds",
        ),
        (steady(40, hold_s=19.2, holds=1), "every host asked for a pause, for another 20 seconds"),
        (steady(40, failed=100, retries=5), "20% of the requests fail and are repeated"),
        (steady(40, failed=99, retries=5), ""),
        (steady(40, least_s=300.0), "Slowed by the delay between requests"),
        (steady(40, least_s=20.0), ""),
        (steady(40, lane_waiting=500, lane_rate=2.0), "500 of 600 in the queue are there"),
        (steady(40, lane_waiting=500, lane_rate=9.0), ""),
        (growing, "Rough estimate: still finding URLs"),
    ]:
        remark = running(stands).remark
        assert (sentence in remark) if sentence else remark == "", remark
    usage, pulse = steady(40, hold_s=19.2)
    assert progress_of(Limits(), usage, pulse, State.PAUSED).remark == ""


def test_urls_that_are_tried_again_take_longer_than_the_rest() -> None:
    plain = eta(steady(90))
    usage, pulse = steady(90, retries=20, failed=20, failed_s=600.0, busy_s=900.0)
    again = eta((usage, replace(pulse, busy=10.0)))
    assert again.p50_s > plain.p50_s + 20  # twenty times half a minute, ten at once
    assert again.p90_s > again.p50_s + 20


# --- which limit will stop it, and when


def test_the_limit_that_comes_first_is_named() -> None:
    estimate = eta(steady(40), Limits(pages=450))
    assert estimate.limit == "pages"
    assert estimate.p50_s == pytest.approx(5, rel=0.05)
    assert estimate.p10_s <= 5 <= estimate.p90_s < 8

    assert eta(steady(40), Limits(pages=2000)).limit is None

    limits = Limits(pages=900, bytes=420_000, duration_s=60)
    estimate = eta(steady(40, 10**6), limits)
    assert estimate.limit == "bytes"
    assert estimate.p50_s == pytest.approx(2, rel=0.05)


def test_a_limit_of_time_is_exact_from_the_start_and_a_passed_one_stops_now() -> None:
    wild = a_crawl(40, lambda at_s: 10 * (at_s - at_s % 8), lambda _: 10**6)
    estimate = eta(wild, Limits(duration_s=60))
    assert (estimate.limit, estimate.p50_s) == ("duration", 20.0)
    assert estimate.p10_s > 19
    assert estimate.p90_s <= 21
    estimate = eta((Usage(discovered=1), Pulse()), Limits(duration_s=60))
    assert (estimate.limit, estimate.p50_s) == ("duration", 60.0)
    assert eta(steady(40), Limits(pages=100)).p50_s == 0.0


def test_a_limit_bounds_a_crawl_whose_frontier_grows() -> None:
    tree = a_crawl(30, lambda at_s: 10 * at_s, lambda n: 8 * n + 1)
    estimate = eta(tree, Limits(pages=1000))
    assert estimate.limit == "pages"
    assert estimate.p10_s < 70 < estimate.p90_s
    assert estimate.confidence is not Confidence.LOW


@settings(max_examples=300, deadline=None)
@given(limits=all_limits, usage=usages, pulse=pulses, state=st.sampled_from(State))
@example(
    Limits(duration_s=1),
    Usage(discovered=9, done=1),
    Pulse(rate=5e-324),
    State.RUNNING,
)
@example(Limits(), Usage(discovered=10**15, done=1), Pulse(rate=1e-6), State.RUNNING)
@example(Limits(pages=9), Usage(pages=9, done=9, discovered=9), Pulse(rate=1.0), State.RUNNING)
def test_an_estimate_is_a_range_that_is_never_negative_or_a_reason(
    limits: Limits, usage: Usage, pulse: Pulse, state: State
) -> None:
    progress = progress_of(limits, usage, pulse, state)

    if progress.eta is None:
        assert progress.eta_unknown
        return
    estimate = progress.eta
    assert not progress.eta_unknown
    assert 0 <= estimate.p10_s <= estimate.p50_s <= estimate.p90_s < math.inf
    assert estimate.limit in (None, *LIMITS)


# --- the pace


def a_history(*done: int, every_s: float = 1.0, discovered: int = 0) -> list[Sample]:
    return [
        Sample(
            at_s=every_s * i,
            done=n,
            pages=n,
            bytes=100 * n,
            errors=n // 10,
            discovered=discovered * n,
            busy_s=4 * every_s * i,
            found_at=n,
        )
        for i, n in enumerate(done)
    ]


def test_a_pace_is_what_was_done_over_running_time() -> None:
    pulse = pulse_of(a_history(0, 10, 20, 30, 40, discovered=2))
    assert pulse == Pulse(
        rate=10.0,
        spread=0.0,
        pages_rate=10.0,
        bytes_rate=1000.0,
        errors_rate=1.0,
        samples=4,
        done=(20, 20),
        found=(40, 40),
        active_s=(2.0, 2.0),
        busy=4.0,
    )


def test_a_pace_has_a_spread_and_is_never_negative() -> None:
    pulse = pulse_of(a_history(0, 0, 20, 20, 40))
    assert (pulse.rate, pulse.spread) == (10.0, 10.0)
    for history in ([], [Sample(at_s=1.0, done=5)], a_history(0, 5, every_s=0.0)):
        assert pulse_of(history) == Pulse(), history
    pulse = pulse_of(a_history(20, 10))
    assert (pulse.rate, pulse.pages_rate, pulse.done) == (0.0, 0.0, (0, 0))


def test_time_in_which_everything_is_held_back_is_no_pace() -> None:
    history = a_history(0, 10, 20, 20, 20)
    with_holds = [replace(sample, held_s=max(0.0, sample.at_s - 2)) for sample in history]
    pulse = pulse_of(with_holds)
    assert (pulse.rate, pulse.active_s, pulse.spread) == (5.0, (2.0, 0.0), 0.0)


def test_links_that_stopped_growing_are_seen_at_once() -> None:
    growing = [Usage(duration_s=n, done=n, discovered=1 + 10 * n) for n in range(20)]
    last = growing[-1]
    still = [replace(last, duration_s=(19 + n), done=19 + n) for n in range(1, 5)]
    assert pulse_of(samples_of(growing, Workload())).quiet == 0
    assert pulse_of(samples_of(growing + still, Workload())).quiet == 4


def test_a_lull_between_two_discoveries_is_remembered() -> None:
    lists = [Usage(duration_s=n, done=10 * n, discovered=1 + 100 * (n // 5)) for n in range(20)]
    pulse = pulse_of(samples_of(lists, Workload()))
    assert (pulse.quiet, pulse.lull) == (40, 40)


@settings(max_examples=50, deadline=None)
@given(history=st.lists(samples, max_size=8))
def test_no_pace_is_ever_negative(history: list[Sample]) -> None:
    pulse = pulse_of(history)
    for name in ("rate", "spread", "pages_rate", "bytes_rate", "errors_rate", "busy", "quiet"):
        assert getattr(pulse, name) >= 0
    assert min(*pulse.done, *pulse.found, *pulse.active_s) >= 0


# --- milestones


def passed(stands: tuple[Usage, Pulse], previous: int = 0, **limits: Any) -> tuple[int, ...]:
    return milestones(Limits(**limits), *stands, previous)


def test_each_passed_milestone_is_reported_once() -> None:
    for seconds, marks in [(24, ()), (26, (25,)), (51, (25, 50)), (99, (25, 50, 75)), (100, ())]:
        assert passed(steady(seconds)) == marks, seconds
        assert passed(steady(seconds, 10**6), pages=1000) == marks, seconds
        assert passed(steady(seconds), pages=10_000, errors=1) == marks, seconds
    assert passed(steady(80), previous=25) == (50, 75)
    assert passed(steady(80), previous=75) == ()
    assert passed(steady(30), previous=50) == ()


def test_the_time_that_a_job_may_take_is_part_of_its_way() -> None:
    usage, limits = (
        Usage(duration_s=60, discovered=900),
        Limits(duration_s=100),
    )
    assert milestones(limits, usage, Pulse(), 0) == (25, 50)


def test_progress_is_unknown_while_links_grow() -> None:
    tree = a_crawl(30, lambda at_s: 10 * at_s, lambda n: 1.1 * n + 1)
    assert passed(tree) == ()
    assert passed(tree, pages=600) == (25, 50)
    assert milestones(Limits(), Usage(done=9, discovered=10, duration_s=1), Pulse(), 0) == ()


def test_links_that_are_still_to_be_found_lengthen_the_way() -> None:
    grows = a_crawl(40, lambda at_s: 10 * at_s, lambda n: 400 + n / 2)
    assert passed(steady(40, 600)) == (25, 50)
    assert passed(grows) == (25,)
