from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard import LIFECYCLE, Move, State, StateReason
from crawlyard.core.jobs.job import EVENT_OF
from crawlyard.core.jobs.lifecycle import ENDED, after
from crawlyard.errors import IllegalMove, Refused

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


def test_every_state_has_a_row_and_at_least_one_way_out() -> None:
    assert set(LIFECYCLE) == set(State)
    assert all(LIFECYCLE.values())


@pytest.mark.parametrize(("state", "move"), ALL)
def test_a_move_leads_where_the_table_says_or_nowhere(state: State, move: Move) -> None:
    if move in LIFECYCLE[state]:
        assert after(state, move) is LIFECYCLE[state][move]
        return

    with pytest.raises(IllegalMove) as refused:
        after(state, move)

    assert refused.value.allowed == tuple(LIFECYCLE[state])
    assert str(refused.value) == f"cannot {move.replace('_', ' ')} a job that is {state}"


def test_an_illegal_move_is_refused_for_good() -> None:
    assert issubclass(IllegalMove, Refused)


def test_every_state_can_be_reached_from_pending() -> None:
    reached, todo = {State.PENDING}, [State.PENDING]
    while todo:
        new = set(LIFECYCLE[todo.pop()].values()) - reached
        reached |= new
        todo += new
    assert reached == set(State)


def test_a_job_can_be_pending_again_after_every_state() -> None:
    back = {state for state, moves in LIFECYCLE.items() if State.PENDING in moves.values()}
    assert back == set(State)


def test_a_pending_job_stays_pending_only_by_the_end_of_a_wait() -> None:
    staying = [move for move, to in LIFECYCLE[State.PENDING].items() if to is State.PENDING]
    assert staying == [Move.RETRY_NOW]


def test_only_a_claim_makes_a_job_run() -> None:
    into = [(state, move) for state, move in ALL if LIFECYCLE[state].get(move) is State.RUNNING]
    assert into == [(State.PENDING, Move.CLAIM)]


def test_only_completed_failed_and_cancelled_jobs_have_ended() -> None:
    ended = {state for state in State if state.ended}
    assert ended == ENDED == {State.COMPLETED, State.FAILED, State.CANCELLED}


def test_an_ended_job_moves_only_back_into_the_queue() -> None:
    assert {LIFECYCLE[state][move] for state in ENDED for move in LIFECYCLE[state]} == {
        State.PENDING
    }


def test_each_move_has_an_event_of_its_own() -> None:
    assert set(EVENT_OF) == set(Move)
    assert Counter(EVENT_OF.values()).most_common(1)[0][1] == 1


def test_every_limit_has_its_reason() -> None:
    limits = {reason for reason in StateReason if reason.startswith("limit_")}
    assert limits == {"limit_pages", "limit_bytes", "limit_duration", "limit_errors"}


@settings(max_examples=50, deadline=None)
@given(moves=st.lists(st.sampled_from(Move), max_size=30))
def test_any_walk_of_moves_stays_in_the_table(moves: list[Move]) -> None:
    state = State.PENDING
    for move in moves:
        before = state
        try:
            state = after(state, move)
        except IllegalMove:
            assert move not in LIFECYCLE[before]
        else:
            assert (move, state) in LIFECYCLE[before].items()
