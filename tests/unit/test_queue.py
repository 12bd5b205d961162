from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard import Job, Move, Priority, PriorityQueue, State
from crawlyard.core.queue import claim_key, claimable
from tests.builders import NOW, a_job

SECOND = timedelta(seconds=1)

jobs = st.builds(
    a_job,
    id=st.uuids().map(str),
    priority=st.sampled_from(Priority),
    state=st.sampled_from(State),
    turn=st.integers(0, 2),
    queued_at=st.integers(-3, 3).map(lambda s: NOW + s * SECOND),
    due_at=st.integers(-2, 2).map(lambda s: NOW + s * SECOND),
)


def claimed(waiting: list[Job]) -> list[Job]:
    """Claim until nothing is due, as workers do."""
    waiting, order = list(waiting), []
    while (job := PriorityQueue(waiting).next(NOW)) is not None:
        order.append(job)
        waiting[waiting.index(job)] = job.moved(Move.CLAIM, NOW, actor="worker:w")[0]
    return order


def test_the_higher_priority_is_first_whoever_waited_longer() -> None:
    old = a_job(priority=Priority.NORMAL, queued_at=NOW - timedelta(days=1))
    new = a_job(priority=Priority.HIGH)

    assert PriorityQueue([old, new]).next(NOW) is new


def test_of_one_priority_the_oldest_is_first() -> None:
    young, old = a_job(), a_job(queued_at=NOW - SECOND)

    assert PriorityQueue([young, old]).next(NOW) is old


def test_an_owner_whose_turn_is_earlier_is_first() -> None:
    first, second = a_job(turn=0), a_job(turn=1, queued_at=NOW - SECOND)

    assert PriorityQueue([second, first]).next(NOW) is first


def test_a_job_that_is_not_due_yet_lets_others_pass() -> None:
    later = a_job(priority=Priority.URGENT, due_at=NOW + SECOND)
    due = a_job(priority=Priority.LOW)
    queue = PriorityQueue([later, due])

    assert queue.next(NOW) is due
    assert queue.next(NOW + SECOND) is later


def test_nothing_is_next_where_nothing_is_due() -> None:
    assert PriorityQueue([]).next(NOW) is None
    assert PriorityQueue([a_job(due_at=NOW + SECOND)]).next(NOW) is None


@pytest.mark.parametrize("state", State)
def test_only_pending_jobs_are_claimable(state: State) -> None:
    assert claimable(a_job(state=state), NOW) == (state is State.PENDING)


def test_those_that_wait_are_listed_in_the_order_of_their_claim() -> None:
    low, high = a_job(priority=Priority.LOW), a_job(priority=Priority.HIGH)
    later = a_job(priority=Priority.HIGH, queued_at=NOW + SECOND, due_at=NOW + SECOND)
    queue = PriorityQueue([low, later, high, a_job(state=State.RUNNING)])

    assert queue.pending() == [high, later, low]
    assert queue.pending(Priority.HIGH) == [high, later]
    assert queue.pending(Priority.LOW) == [low]
    assert queue.pending(Priority.NORMAL) == []


def test_counts_name_every_priority_the_highest_first() -> None:
    waiting = [a_job(priority=Priority.LOW), a_job(), a_job(), a_job(state=State.RUNNING)]

    assert list(PriorityQueue(waiting).counts().items()) == [
        (Priority.URGENT, 0),
        (Priority.HIGH, 0),
        (Priority.NORMAL, 2),
        (Priority.LOW, 1),
    ]


@settings(max_examples=50, deadline=None)
@given(waiting=st.lists(jobs, max_size=8, unique_by=lambda job: job.id))
def test_jobs_are_claimed_by_priority_then_turn_then_age(waiting: list[Job]) -> None:
    order = claimed(waiting)

    due = [job for job in waiting if job.state is State.PENDING and job.due_at <= NOW]
    assert order == sorted(due, key=lambda j: (-j.spec.priority, j.turn, j.queued_at, j.id))
    assert order == sorted(due, key=claim_key)
