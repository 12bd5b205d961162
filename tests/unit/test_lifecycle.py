"""The moves between states, and when a pause ends."""

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard import LIFECYCLE, Move, State, StateReason
from crawlyard.core.jobs.job import EVENT_OF
from crawlyard.core.jobs.lifecycle import (
    ENDED,
    STATE_WORDS,
    PausingStep,
    after,
    due_step,
    ends_at,
    notice,
)
from crawlyard.core.jobs.limits import LIMITS
from crawlyard.errors import IllegalMove
from tests.builders import NOW

ALL = [(state, move) for state in State for move in Move]


def test_the_states_are_these_six_words() -> None:
    assert [str(state) for state in State] == [
        "pending",
        "running",
        "paused",
        "completed",
        "failed",
        "cancelled",
    ]


def test_every_state_has_a_way_out_and_back_to_pending_and_only_a_claim_runs_a_job() -> None:
    assert set(LIFECYCLE) == set(State)
    assert all(LIFECYCLE.values())
    back = {state for state, moves in LIFECYCLE.items() if State.PENDING in moves.values()}
    assert back == set(State)
    staying = [move for move, to in LIFECYCLE[State.PENDING].items() if to is State.PENDING]
    assert staying == [Move.RETRY_NOW]
    into = [(state, move) for state, move in ALL if LIFECYCLE[state].get(move) is State.RUNNING]
    assert into == [(State.PENDING, Move.CLAIM)]


@pytest.mark.parametrize(("state", "move"), ALL)
def test_a_move_leads_where_the_table_says_or_nowhere(state: State, move: Move) -> None:
    if move in LIFECYCLE[state]:
        assert after(state, move) is LIFECYCLE[state][move]
        return

    with pytest.raises(IllegalMove) as refused:
        after(state, move)

    assert refused.value.allowed == tuple(LIFECYCLE[state])
    assert (
        str(refused.value) == f"cannot {move.replace('_', ' ')} a job that is {STATE_WORDS[state]}"
    )


def test_every_state_can_be_reached_from_pending() -> None:
    reached, todo = {State.PENDING}, [State.PENDING]
    while todo:
        new = set(LIFECYCLE[todo.pop()].values()) - reached
        reached |= new
        todo += new
    assert reached == set(State)


def test_ended_states_events_of_moves_and_reasons_of_limits_are_complete() -> None:
    ended = {state for state in State if state.ended}
    assert ended == ENDED == {State.COMPLETED, State.FAILED, State.CANCELLED}
    assert set(EVENT_OF) == set(Move)
    assert Counter(EVENT_OF.values()).most_common(1)[0][1] == 1
    limits = {reason for reason in StateReason if reason.startswith("limit_")}
    assert limits == {f"limit_{word}" for word in LIMITS}


def test_an_ended_job_moves_only_back_into_the_queue() -> None:
    assert {LIFECYCLE[state][move] for state in ENDED for move in LIFECYCLE[state]} == {
        State.PENDING
    }


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEK = 7 * DAY


def step(days: float, *warned: float, ttl: timedelta = WEEK) -> PausingStep | None:
    """Return the step that is due *days* after a pause began."""
    return due_step(NOW, [NOW + DAY * w for w in warned], ttl, NOW + DAY * days)


def test_it_is_warned_of_at_half_of_its_time_and_a_day_before_its_end() -> None:
    for days, warned, due in [
        (3.4, (), None),
        (3.5, (), PausingStep.WARN),
        (5.9, (3.5,), None),
        (6, (3.5,), PausingStep.WARN),
        (6.9, (3.5, 6), None),
        (7, (3.5, 6), PausingStep.CANCEL),
        (8, (3.5, 6), PausingStep.CANCEL),
        (6.5, (), PausingStep.WARN),  # no sweep at half of its time: one warning is enough
        (7.4, (6.5,), None),
        (7.5, (6.5,), PausingStep.CANCEL),
        (30, (), PausingStep.WARN),  # no sweep for a month
        (30, (3.5,), PausingStep.WARN),
        (30.9, (30,), None),
        (31, (30,), PausingStep.CANCEL),
    ]:
        assert step(days, *warned) is due, (days, warned)


def test_the_last_warning_comes_a_seventh_before_the_end_where_that_is_less_than_a_day() -> None:
    assert notice(WEEK * 5) == notice(WEEK) == DAY
    assert notice(7 * HOUR) == HOUR


@given(
    ttl=st.timedeltas(min_value=timedelta(seconds=7), max_value=timedelta(days=400)),
    looks=st.lists(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=900))),
)
def test_owners_are_warned_in_time_at_any_sweep_interval(
    ttl: timedelta, looks: list[timedelta]
) -> None:
    warned: list[datetime] = []
    told_end = NOW
    for look in sorted(looks):
        due = due_step(NOW, warned, ttl, NOW + look)
        if due is PausingStep.WARN:
            warned.append(NOW + look)
            told_end = ends_at(NOW, ttl, NOW + look)
        if due is PausingStep.CANCEL:
            assert look >= ttl
            assert NOW + look >= told_end >= warned[-1] + notice(ttl)
            break
    assert len(warned) <= 2
