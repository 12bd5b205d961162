"""Attempts, as the events of a job tell of them."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.attempts import TELLING, attempts_of
from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move
from tests.builders import NOW, a_job

SECOND = timedelta(seconds=1)


def walked(moves: list[int]) -> list[Event]:
    """Return the events of a walk through the lifecycle."""
    job, events = a_job(), []
    for n, choice in enumerate(moves):
        allowed = list(LIFECYCLE[job.state])
        job, event = job.moved(allowed[choice % len(allowed)], NOW + n * SECOND, actor="worker:w1")
        events.append(event)
    return events


@given(st.lists(st.integers(0, 10), max_size=30))
def test_on_any_walk_there_is_one_attempt_for_each_claim(moves: list[int]) -> None:
    events = walked(moves)

    found = attempts_of(events)

    begun = [event.at for event in events if event.name is EventName.STARTED]
    assert [attempt.begun_at for attempt in found] == begun
    assert [attempt.number for attempt in found] == list(range(1, len(begun) + 1))
    assert all(attempt.ended_at for attempt in found[:-1])
    for attempt in found:
        assert (attempt.ended_at is None) == (attempt.outcome == "running")
        assert attempt.ended_at is None or attempt.ended_at >= attempt.begun_at
    assert attempts_of(event for event in events if event.name in TELLING) == found


def test_a_job_that_was_taken_back_from_a_dead_worker_has_lost_it() -> None:
    job, started = a_job().moved(Move.CLAIM, NOW, actor="worker:w1")
    _, lost = job.lost(NOW + SECOND, actor="worker:w2", in_child=False)
    [attempt] = attempts_of([started, lost])
    assert (attempt.worker, attempt.outcome) == ("w1", "worker_lost")
    assert attempt.detail == "its worker died"


def test_what_was_forgotten_is_no_attempt() -> None:
    job, _ = a_job().moved(Move.CLAIM, NOW, actor="worker:w1")
    _, ended = job.moved(Move.COMPLETE, NOW, actor="worker:w1")
    assert attempts_of([ended]) == []
