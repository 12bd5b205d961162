from datetime import timedelta

import pytest

from crawlyard import Limits, ProgressTracker, State, Usage
from crawlyard.core.jobs.pulse import Pulse, Workload
from crawlyard.messaging.memory_bus import MemoryBus
from crawlyard.services.workers.progress import SAMPLES
from tests.builders import a_job, a_spec
from tests.clock import FakeClock

SECOND = timedelta(seconds=1)


def a_tracker() -> ProgressTracker:
    return ProgressTracker(MemoryBus(FakeClock()))


def at(seconds: float, done: int) -> Usage:
    return Usage(done=done, pages=done, discovered=1000, duration_s=seconds)


def test_the_pace_and_the_backlog_are_those_between_looks() -> None:
    tracker = a_tracker()
    tracker.observe("a", at(0, 0))
    pulse = tracker.observe("a", at(2, 10))
    assert (pulse.rate, pulse.samples) == (5.0, 1)
    tracker.observe("a", at(0, 0), Workload(hold_s=9.0))
    assert tracker.observe("a", at(2, 10), Workload(hold_s=7.0)).workload.hold_s == 7.0


def test_many_looks_within_a_second_are_one_sample() -> None:
    tracker = a_tracker()
    for look in range(300):
        pulse = tracker.observe("a", at(look / 100, look))
    assert pulse.rate == pytest.approx(100.0)
    assert pulse.samples <= 4


def test_the_pace_is_that_of_the_last_half_minute() -> None:
    tracker = a_tracker()
    for second in range(50):
        tracker.observe("a", at(second, 0))
    for second in range(SAMPLES):
        pulse = tracker.observe("a", at(50 + second, 3 * (second + 1)))
    assert (pulse.rate, pulse.spread, pulse.samples) == (3.0, 0.0, SAMPLES)


def test_a_long_crawl_is_looked_at_for_longer_but_its_rate_is_that_of_half_a_minute() -> None:
    tracker = a_tracker()
    for second in range(900):
        pulse = tracker.observe("a", at(second, second + 9 * max(0, second - 840)))
    assert sum(pulse.active_s) == pytest.approx(300, rel=0.15)
    assert pulse.rate == pytest.approx(10.0)
    assert pulse.samples == SAMPLES


def test_the_pace_from_before_a_hold_is_still_known_after_it() -> None:
    tracker = a_tracker()
    for second in range(40):
        tracker.observe("a", at(second, 10 * second))
    for second in range(40, 200):
        pulse = tracker.observe("a", at(second, 390), Workload(held_s=second - 39.0))
    assert sum(pulse.done) / sum(pulse.active_s) == pytest.approx(10)


def test_jobs_have_paces_of_their_own() -> None:
    tracker = a_tracker()
    for second in range(3):
        fast = tracker.observe("a", at(second, 10 * second))
        slow = tracker.observe("b", at(second, second))
    assert (fast.rate, slow.rate) == (10.0, 1.0)


def test_the_history_of_a_job_that_no_longer_runs_here_is_forgotten() -> None:
    tracker = a_tracker()
    tracker.observe("a", at(0, 0))
    tracker.forget("a")
    tracker.forget("never seen")
    assert tracker.observe("a", at(1, 10)) == Pulse()


async def test_progress_is_published_for_whoever_looks() -> None:
    tracker = a_tracker()
    job = a_job(spec=a_spec(limits=Limits(pages=50)), state=State.RUNNING)
    assert await tracker.latest(job.id) is None

    published = await tracker.publish(
        job, at(10, 40), Pulse(rate=4.0, pages_rate=4.0, samples=9), "https://example.com/x"
    )

    assert await tracker.latest(job.id) == published
    assert (published.done, published.discovered, published.current_url) == (
        40,
        1000,
        "https://example.com/x",
    )
    assert published.eta is not None
    assert published.eta.limit == "pages"
    assert published.eta.p50_s == pytest.approx(2.5)
