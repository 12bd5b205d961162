"""The claim queue: priorities and order."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard import Job, Move, Priority, PriorityQueue, State
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.queue import (
    QueueEntry,
    claim_key,
    levels_risen,
    may_preempt,
    takes,
    turn_of_new,
    turn_of_returned,
    yields,
)
from crawlyard.errors import Invalid
from tests.builders import NOW, a_job, a_spec

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
        waiting[waiting.index(job)] = job.apply_move(Move.CLAIM, NOW, actor="worker:w")[0]
    return order


def test_a_job_that_is_not_due_yet_lets_others_pass() -> None:
    later = a_job(priority=Priority.URGENT, due_at=NOW + SECOND)
    due = a_job(priority=Priority.LOW)
    queue = PriorityQueue([later, due])
    assert queue.next(NOW) is due
    assert queue.next(NOW + SECOND) is later


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
    assert order == sorted(due, key=lambda j: (-j.level.rank, j.turn, j.queued_at, j.id))
    assert order == sorted(due, key=claim_key)


def test_a_job_that_has_aged_is_before_one_of_its_priority() -> None:
    fresh, old = a_job(priority=Priority.NORMAL), a_job(priority=Priority.LOW, aged=2)
    assert old.level is Priority.HIGH
    assert PriorityQueue([fresh, old]).next(NOW) is old


def test_a_new_job_is_behind_its_owners_last_and_not_before_what_is_served() -> None:
    for line, turn in [
        (QueueEntry(), 0),
        (QueueEntry(head=3), 3),
        (QueueEntry(served=5), 5),
        (QueueEntry(head=3, served=5), 5),
        (QueueEntry(head=6, served=5), 6),
        (QueueEntry(head=3, served=5, last=3), 5),
        (QueueEntry(head=3, served=5, last=5), 6),
        (QueueEntry(head=3, last=9), 10),
    ]:
        assert turn_of_new(line) == turn, line


def test_a_job_that_comes_back_is_where_it_was_unless_turns_began_anew() -> None:
    for line, turn in [
        (QueueEntry(), 4),
        (QueueEntry(head=5), 4),
        (QueueEntry(head=3, served=9), 3),
        (QueueEntry(head=0, last=8), 4),
        (QueueEntry(head=0, last=1), 2),
        (QueueEntry(head=2, last=0), 2),
    ]:
        assert turn_of_returned(4, line) == turn, line


def test_a_job_rises_with_time_and_never_to_what_is_urgent() -> None:
    for priority, steps, levels in [
        (Priority.LOW, -1, 0),
        (Priority.LOW, 0.9, 0),
        (Priority.LOW, 1, 1),
        (Priority.LOW, 2, 2),
        (Priority.LOW, 50, 2),
        (Priority.NORMAL, 1.5, 1),
        (Priority.NORMAL, 50, 1),
        (Priority.HIGH, 50, 0),
        (Priority.URGENT, 50, 0),
    ]:
        assert levels_risen(priority, NOW, NOW + steps * SECOND, SECOND) == levels, (
            priority,
            steps,
        )


def test_a_worker_takes_what_it_has_the_tags_and_the_level_for() -> None:
    job = a_job(spec=a_spec(worker_tags=("eu", "gpu"), priority=Priority.HIGH))
    tags = frozenset({"eu", "gpu", "large"})

    assert takes(Asker("w", tags), job)
    assert takes(Asker("w", tags, Priority.HIGH), job)
    assert not takes(Asker("w", tags, Priority.URGENT), job)
    assert not takes(Asker("w", frozenset({"eu"})), job)
    assert not takes(Asker("w"), job)
    assert takes(Asker("w", least=Priority.URGENT, only=job.id), job)
    assert not takes(Asker("w", tags, only="another"), job)


def test_only_urgent_jobs_preempt_and_only_low_ones_yield() -> None:
    for priority in Priority:
        job = a_job(priority=priority)
        running = job.apply_move(Move.CLAIM, NOW, actor="worker:w")[0]
        assert may_preempt(job, NOW + SECOND, SECOND) is (priority is Priority.URGENT), priority
        assert yields(running) is (priority is Priority.LOW), priority
        assert not yields(job), priority


def test_an_urgent_job_waits_from_when_it_could_have_begun() -> None:
    job = a_job(priority=Priority.URGENT, due_at=NOW + SECOND)
    assert not may_preempt(job, NOW + 1.9 * SECOND, SECOND)
    assert may_preempt(job, NOW + 2 * SECOND, SECOND)


def test_a_low_job_that_has_aged_does_not_yield() -> None:
    assert not yields(a_job(priority=Priority.LOW, aged=1, state=State.RUNNING))


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    before=st.integers(0, 30),
)
def test_owners_that_wait_together_are_served_alike(counts: list[int], before: int) -> None:
    waiting = [
        a_job(owner=f"o{owner}", turn=turn, queued_at=NOW + owner * SECOND)
        for owner, count in enumerate(counts)
        for turn in range(before, before + count)
    ]
    served = [job.owner for job in claimed(waiting)]
    for n in range(len(served)):
        still_waiting = [o for o in range(len(counts)) if served[:n].count(f"o{o}") < counts[o]]
        counts_served = [served[:n].count(f"o{owner}") for owner in still_waiting]
        assert max(counts_served, default=0) - min(counts_served, default=0) <= 1


def test_priorities_are_words_in_the_order_of_their_ranks() -> None:
    mixed = [Priority.HIGH, Priority.LOW, Priority.URGENT, Priority.NORMAL]

    assert sorted(mixed) == [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.URGENT]
    assert (max(mixed), min(mixed)) == (Priority.URGENT, Priority.LOW)
    assert Priority.HIGH >= Priority.HIGH > Priority.LOW <= Priority.LOW < Priority.NORMAL
    assert (
        [Priority.from_rank(p.rank) for p in mixed] == mixed == ["high", "low", "urgent", "normal"]
    )
    with pytest.raises(TypeError):
        sorted([Priority.LOW, "high"])


def test_a_priority_is_found_by_the_word_that_it_is_shown_as() -> None:
    for priority in Priority:
        assert Priority.of(str(priority)) is priority, priority
        assert Priority.of(str(priority).upper()) is priority, priority


def test_another_word_is_refused_with_the_four_that_there_are(subtests: pytest.Subtests) -> None:
    for word in ["", "3", "very high", "__class__"]:
        with (
            subtests.test(word=word),
            pytest.raises(Invalid, match="urgent, high, normal, low") as refused,
        ):
            Priority.of(word)
        assert refused.value.field == "priority", word
