"""Retries of a failed job, and its attempts as read from its events."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard import RetryPolicy
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.attempts import TELLING, attempts_of
from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move
from crawlyard.errors import Invalid
from tests.builders import NOW, a_job

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def test_a_job_is_tried_as_often_as_asked_and_once_by_default() -> None:
    assert RetryPolicy().wait(1, chance=0) is None
    policy = RetryPolicy(attempts=3)
    assert policy.wait(2, chance=0) is not None
    assert policy.wait(3, chance=0) is None
    assert policy.wait(4, chance=0) is None


def test_waits_double_up_to_the_cap_unless_the_first_is_beyond_it() -> None:
    policy = RetryPolicy(
        attempts=7,
        first_s=1,
        factor=2,
        jitter=0,
        cap_s=10,
    )
    waits = [policy.wait(failures, chance=0.5) for failures in range(1, 7)]
    assert waits == [SECOND * n for n in (1, 2, 4, 8, 10, 10)]

    policy = RetryPolicy(attempts=4, first_s=(2 * HOUR).total_seconds(), jitter=0)
    assert [policy.wait(failures, chance=0) for failures in (1, 2, 3)] == [2 * HOUR] * 3


def test_there_is_a_second_at_least_between_attempts() -> None:
    with pytest.raises(Invalid, match=r"retry\.first_s: expected at least 1 s between attempts"):
        RetryPolicy(attempts=2, first_s=0.999)
    assert RetryPolicy(attempts=1, first_s=0).wait(1, chance=0) is None


def test_jitter_only_shortens_a_wait_and_no_failure_counts_as_one() -> None:
    policy = RetryPolicy(attempts=2, first_s=100, jitter=0.2)
    assert policy.wait(1, chance=0) == 100 * SECOND
    assert policy.wait(1, chance=0.5) == 90 * SECOND
    assert policy.wait(1, chance=1) == 80 * SECOND
    policy = RetryPolicy(attempts=2, first_s=1, jitter=0)
    assert policy.wait(0, chance=0) == SECOND


def test_a_value_out_of_its_range_is_refused_by_name(subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, Any]] = [
        ("attempts", 0),
        ("attempts", -1),
        ("attempts", 101),
        ("first_s", -1.0),
        ("cap_s", -1.0),
        ("factor", 0.5),
        ("factor", float("nan")),
        ("factor", float("inf")),
        ("jitter", -0.1),
        ("jitter", 1.1),
        ("jitter", float("nan")),
    ]
    for name, value in cases:
        with subtests.test(name=name, value=value), pytest.raises(Invalid) as refused:
            RetryPolicy(**{name: value})
        assert refused.value.field == f"retry.{name}", (name, value)


@settings(max_examples=100, deadline=None)
@given(
    failures=st.integers(0, 99),
    first_s=st.integers(1, 10**6),
    over_s=st.integers(0, 10**9),
    factor=st.floats(1, 1000),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1),
)
def test_a_wait_is_between_the_first_one_and_the_cap(
    failures: int, first_s: int, over_s: int, factor: float, jitter: float, chance: float
) -> None:
    cap_s = first_s + over_s
    policy = RetryPolicy(attempts=100, first_s=first_s, factor=factor, jitter=jitter, cap_s=cap_s)
    wait = policy.wait(failures, chance)
    assert wait is not None
    least = timedelta(seconds=first_s * (1 - jitter))
    assert least - timedelta(microseconds=1) <= wait <= timedelta(seconds=cap_s)


@settings(max_examples=50, deadline=None)
@given(failures=st.integers(1, 98), factor=st.floats(1, 1000))
def test_a_later_wait_is_never_shorter_by_itself(failures: int, factor: float) -> None:
    policy = RetryPolicy(attempts=100, first_s=1, factor=factor, jitter=0)
    earlier, later = policy.wait(failures, 0), policy.wait(failures + 1, 0)
    assert earlier is not None
    assert later is not None
    assert earlier <= later <= timedelta(seconds=policy.cap_s)


def walked(moves: list[int]) -> list[Event]:
    """Return the events of a walk through the lifecycle."""
    job, events = a_job(), []
    for n, choice in enumerate(moves):
        allowed = list(LIFECYCLE[job.state])
        job, event = job.apply_move(
            allowed[choice % len(allowed)], NOW + n * SECOND, actor="worker:w1"
        )
        events.append(event)
    return events


@given(st.lists(st.integers(0, 10), max_size=30))
def test_on_any_walk_there_is_one_attempt_for_each_claim(moves: list[int]) -> None:
    events = walked(moves)

    attempts = attempts_of(events)

    begun = [event.at for event in events if event.name is EventName.STARTED]
    assert [attempt.begun_at for attempt in attempts] == begun
    assert [attempt.number for attempt in attempts] == list(range(1, len(begun) + 1))
    assert all(attempt.ended_at for attempt in attempts[:-1])
    for attempt in attempts:
        assert (attempt.ended_at is None) == (attempt.outcome == "running")
        assert attempt.ended_at is None or attempt.ended_at >= attempt.begun_at
    assert attempts_of(event for event in events if event.name in TELLING) == attempts


def test_a_job_that_was_taken_back_from_a_dead_worker_has_lost_it() -> None:
    job, started = a_job().apply_move(Move.CLAIM, NOW, actor="worker:w1")
    _, lost = job.lose_worker(NOW + SECOND, actor="worker:w2", in_child=False)
    [attempt] = attempts_of([started, lost])
    assert (attempt.worker, attempt.outcome) == ("w1", "worker_lost")
    assert attempt.detail == "its worker died"


def test_what_was_forgotten_is_no_attempt() -> None:
    job, _ = a_job().apply_move(Move.CLAIM, NOW, actor="worker:w1")
    _, ended = job.apply_move(Move.COMPLETE, NOW, actor="worker:w1")
    assert attempts_of([ended]) == []
