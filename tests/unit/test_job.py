"""A job: its moves, events and checkpoints."""

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard import (
    LIFECYCLE,
    Event,
    EventName,
    Job,
    Move,
    Priority,
    State,
    StateReason,
)
from crawlyard.core.crawl.page import Outcome, TargetState
from crawlyard.core.jobs.job import DEATHS_ALLOWED, EVENT_OF, ISOLATED_FROM
from crawlyard.core.jobs.retry import RetryPolicy, RetryReason
from crawlyard.errors import IllegalMove
from tests.builders import NOW, a_batch, a_job, a_spec, a_target, done, failed

LATER = NOW + timedelta(seconds=10)
MUCH_LATER = NOW + timedelta(hours=1)


def moved(job: Job, *moves: Move) -> Job:
    for move in moves:
        job, _ = job.apply_move(move, LATER, actor="local")
    return job


def lost(job: Job, *, in_child: bool) -> Job:
    job, _ = moved(job, Move.CLAIM).lose_worker(LATER, actor="worker:w", in_child=in_child)
    return job


def test_a_new_job_waits_for_a_slot_and_says_so() -> None:
    job, event = Job.new("an-id", "eve", a_spec(), NOW)
    assert (job.state, job.state_reason, job.version) == (
        State.PENDING,
        StateReason.WAITING_SLOT,
        1,
    )
    assert job.created_at == job.queued_at == job.due_at == NOW
    assert (job.id, job.owner, job.started_at, job.ended_at) == ("an-id", "eve", None, None)
    assert (event.name, event.subject, event.at, event.actor) == (
        EventName.CREATED,
        "an-id",
        NOW,
        "eve",
    )


def test_a_new_job_is_scheduled_for_later_or_due_now() -> None:
    job, _ = Job.new("an-id", "eve", a_spec(), NOW, due_at=LATER)
    assert (job.state_reason, job.due_at, job.queued_at) == (StateReason.SCHEDULED, LATER, NOW)
    job, _ = Job.new("an-id", "eve", a_spec(), NOW, due_at=NOW - timedelta(days=1))
    assert (job.state_reason, job.due_at) == (StateReason.WAITING_SLOT, NOW)


def test_a_move_increments_the_version_and_creates_an_event() -> None:
    for state, move in [(s, m) for s in State for m in LIFECYCLE[s]]:
        job, event = a_job(state=state, version=7).apply_move(
            move, LATER, actor="eve", detail="since"
        )
        assert (job.state, job.version, job.detail) == (LIFECYCLE[state][move], 8, "since"), (
            state,
            move,
        )
        assert (event.name, event.subject, event.owner, event.at, event.actor) == (
            EVENT_OF[move],
            job.id,
            "local",
            LATER,
            "eve",
        ), (state, move)
        assert event.data == {
            "state": job.state.value,
            "reason": job.state_reason.value,
            "detail": "since",
            "version": 8,
            "name": "",
        }, (state, move)


def test_a_move_without_a_reason_gets_the_usual_one() -> None:
    for move, reason in [
        (Move.COMPLETE, StateReason.EXHAUSTED),
        (Move.FAIL, StateReason.INTERNAL_ERROR),
        (Move.REQUEUE, StateReason.WAITING_SLOT),
        (Move.PAUSE, StateReason.BY_USER),
        (Move.CANCEL, StateReason.BY_USER),
    ]:
        assert moved(a_job(state=State.RUNNING), move).state_reason is reason, move


def test_a_move_keeps_the_reason_that_it_is_given() -> None:
    running = a_job(state=State.RUNNING)
    job, _ = running.apply_move(
        Move.COMPLETE, NOW, actor="worker:w", reason=StateReason.LIMIT_PAGES
    )
    assert job.state_reason is StateReason.LIMIT_PAGES


def test_the_first_claim_is_when_it_started() -> None:
    first, _ = a_job().apply_move(Move.CLAIM, LATER, actor="worker:w")
    again, _ = moved(first, Move.REQUEUE).apply_move(Move.CLAIM, MUCH_LATER, actor="worker:w")
    assert first.started_at == again.started_at == LATER


def test_it_has_ended_only_until_it_goes_on() -> None:
    ended = moved(a_job(), Move.CANCEL)
    assert ended.ended_at == LATER
    assert moved(ended, Move.RESUME).ended_at is None


def test_its_place_in_the_queue_is_kept_by_pause_and_resume() -> None:
    job = moved(a_job(), Move.CLAIM, Move.PAUSE, Move.RESUME)
    assert (job.queued_at, job.due_at) == (NOW, LATER)


def test_an_operator_who_lets_it_go_on_gives_it_all_its_attempts_again() -> None:
    for move in [Move.RESUME, Move.RETRY_FAILED]:
        assert moved(a_job(state=State.FAILED, failures=3), move).failures == 0, move


def test_a_failed_attempt_waits_and_counts() -> None:
    running = a_job(state=State.RUNNING, failures=1)
    job, event = running.fail_attempt(NOW, LATER, actor="worker:w", detail="dns")
    assert (job.state, job.state_reason) == (State.PENDING, StateReason.WAITING_RETRY)
    assert (job.due_at, job.queued_at, job.failures) == (LATER, NOW, 2)
    assert (event.name, event.data["detail"]) == (EventName.REQUEUED, "dns")


def test_a_pause_or_a_stopped_worker_is_no_failure() -> None:
    for move in [Move.PAUSE, Move.REQUEUE]:
        job = moved(a_job(state=State.RUNNING, failures=2, losses=1), move)
        assert (job.failures, job.losses) == (2, 1), move


def test_a_job_whose_worker_died_keeps_its_place_and_runs_alone_from_the_second_loss_on() -> None:
    once = lost(a_job(), in_child=False)
    twice = lost(once, in_child=False)
    for job in (once, twice):
        assert (job.state, job.state_reason) == (State.PENDING, StateReason.WORKER_LOST)
        assert job.queued_at == NOW
    assert [job.isolated for job in (a_job(), once, twice)] == [False, False, True]


def test_a_job_that_killed_a_child_runs_alone_whatever_it_stored_before() -> None:
    assert lost(a_job(losses=1), in_child=True).isolated
    assert lost(a_job(), in_child=True).isolated


def test_deaths_of_workers_with_other_jobs_never_fail_a_job() -> None:
    job = a_job()
    for _ in range(10):
        job = lost(job, in_child=False)
    assert (job.state, job.losses) == (State.PENDING, ISOLATED_FROM)


def test_a_death_among_others_does_not_fail_a_job_that_was_let_go_on_after_many() -> None:
    many = ISOLATED_FROM + DEATHS_ALLOWED
    job = lost(a_job(losses=many), in_child=False)
    assert (job.state, job.losses) == (State.PENDING, many)


def test_three_deaths_in_a_row_alone_in_a_child_fail_a_job() -> None:
    job = lost(a_job(losses=1), in_child=False)
    states = []
    for _ in range(DEATHS_ALLOWED):
        job = lost(job, in_child=True)
        states.append(job.state)

    assert states == [State.PENDING, State.PENDING, State.FAILED]
    assert job.state_reason is StateReason.WORKER_LOST
    assert "died" in job.detail


def test_after_three_deaths_alone_it_is_tried_again_where_its_policy_says_so() -> None:
    policy = RetryPolicy(attempts=2, first_s=3600, jitter=0.5)
    job = lost(a_job(spec=a_spec(retry=policy), losses=1), in_child=False)
    for _ in range(DEATHS_ALLOWED - 1):
        job = lost(job, in_child=True)

    job, event = moved(job, Move.CLAIM).lose_worker(
        LATER, actor="worker:w", in_child=True, chance=1
    )

    assert (job.state, job.state_reason) == (State.PENDING, StateReason.WAITING_RETRY)
    assert (job.due_at, job.failures) == (LATER + timedelta(minutes=30), 1)
    assert (event.name, event.data["attempt"]) == (EventName.REQUEUED, 1)
    assert job.isolated  # the next attempt harms no other job either, and dies three times at most
    for _ in range(DEATHS_ALLOWED):
        job = lost(job, in_child=True)
    assert (job.state, job.state_reason) == (State.FAILED, StateReason.WORKER_LOST)
    assert job.failures == 2


def test_deaths_are_not_worth_a_retry_where_its_policy_names_other_reasons() -> None:
    policy = RetryPolicy(attempts=9, reasons=frozenset({RetryReason.INTERNAL_ERROR}))
    job = a_job(spec=a_spec(retry=policy), losses=ISOLATED_FROM + DEATHS_ALLOWED - 1)
    assert lost(job, in_child=True).state is State.FAILED


def test_the_last_attempt_has_no_wait_after_it() -> None:
    for reason in RetryReason:
        policy = RetryPolicy(attempts=3, reasons=frozenset({reason}), jitter=0.5)
        job = a_job(spec=a_spec(retry=policy), failures=1)

        assert job.retry_wait(reason, chance=0) == 2 * timedelta(seconds=policy.first_s), reason
        assert job.retry_wait(reason, chance=1) == timedelta(seconds=policy.first_s), reason
        assert replace(job, failures=2).retry_wait(reason, chance=0) is None, reason
        assert all(
            job.retry_wait(other, 0) is None for other in RetryReason if other is not reason
        ), reason


def test_the_attempt_that_is_given_up_counts_as_well() -> None:
    assert moved(a_job(state=State.RUNNING, failures=2), Move.FAIL).failures == 3


def test_an_edit_names_what_it_changed() -> None:
    spec = a_spec(priority=Priority.URGENT)
    job, event = a_job(version=3).edit(spec, NOW, actor="eve", changed={"priority": "urgent"})
    assert (job.spec, job.version) == (spec, 4)
    assert (event.name, event.data["changed"], event.data["version"]) == (
        EventName.EDITED,
        {"priority": "urgent"},
        4,
    )


@pytest.mark.parametrize("state", State)
def test_a_job_can_be_edited_until_it_is_cancelled(state: State) -> None:
    job = a_job(state=state)
    if state is not State.CANCELLED:
        assert job.edit(a_spec(), NOW, actor="eve", changed={})[0].state is state
        return
    with pytest.raises(IllegalMove, match="cancelled"):
        job.edit(a_spec(), NOW, actor="eve", changed={})


@settings(max_examples=50, deadline=None)
@given(moves=st.lists(st.sampled_from(Move), max_size=30))
def test_any_walk_keeps_a_job_sound(moves: list[Move]) -> None:
    job, at = a_job(), NOW
    for move in moves:
        before, at = job, at + timedelta(seconds=1)
        try:
            job, event = job.apply_move(move, at, actor="local")
        except IllegalMove:
            assert job is before
            continue
        assert job.version == before.version + 1
        assert (event.data["state"], event.data["version"]) == (job.state, job.version)
        assert (job.ended_at is not None) == job.state.ended
        assert (job.id, job.created_at, job.queued_at) == (before.id, NOW, NOW)
        assert job.started_at is not None or State.RUNNING not in {before.state, job.state}


def test_every_name_says_what_it_is_about() -> None:
    assert {name.kind for name in EventName} == {
        *("job", "run", "page", "template", "schedule", "webhook"),
        *("user", "token", "worker", "host", "settings", "session", "group"),
    }


def test_an_event_of_a_job_or_its_run_names_the_job() -> None:
    job = a_job()
    named = {name: job.event(name, NOW, "x").job_id for name in EventName}
    kinds = {name.kind for name, job_id in named.items() if job_id == job.id}
    assert kinds == {"job", "run", "page"}
    assert {job_id for name, job_id in named.items() if name.kind not in kinds} == {None}


def test_an_event_of_a_job_says_where_the_job_stands_and_is_json() -> None:
    job = a_job(state=State.RUNNING, detail="so far", version=5)
    event = job.event(EventName.NOTED, NOW, "worker:w", note="a crawl-delay is capped")
    assert event == Event(
        name=EventName.NOTED,
        subject=job.id,
        owner="local",
        at=NOW,
        actor="worker:w",
        data={
            "state": "running",
            "reason": job.state_reason.value,
            "detail": "so far",
            "version": 5,
            "name": "",
            "note": "a crawl-delay is capped",
        },
    )

    event = a_job().event(EventName.CREATED, NOW, "local")
    assert json.loads(json.dumps(event.data)) == event.data


def test_a_batch_counts_the_page_records_that_it_brings() -> None:
    targets = [a_target(name) for name in "abcd"]
    again = Outcome(targets[2], TargetState.WAITING)
    skipped = Outcome(targets[3], TargetState.SKIPPED, rule="robots: Disallow: /d")
    batch = a_batch(targets, [done(targets[0]), failed(targets[1]), again, skipped])
    assert batch.pages == 2
