"""Due instants of schedules, and decisions on ticks: late, overlapping, or the last."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.schedules.decision import (
    TickDecision,
    decide,
    release_waiting,
)
from crawlyard.core.schedules.planning import fire_at
from crawlyard.core.schedules.schedule import (
    Misfire,
    Overlap,
    TickOutcome,
    TickReason,
)
from crawlyard.errors import Invalid
from tests.unit.decision_rig import (
    ALL,
    HOUR,
    MINUTE,
    START,
    at,
    its_job,
    outcomes,
    planned_one,
    rows,
)

# --- planning


def test_a_plan_is_due_at_the_first_instant_after_now_and_refuses_no_timetable() -> None:
    schedule = planned_one()
    assert (schedule.next_at, schedule.fire_at) == (at(1), at(1))
    with pytest.raises(Invalid, match="minute 61"):
        planned_one(when="61 * * * *")


def test_a_plan_keeps_to_start_end_and_runs() -> None:
    cases: list[tuple[dict[str, Any], datetime | None]] = [
        ({"starts_at": at(5)}, at(5)),  # at that very instant
        ({"starts_at": at(5) + MINUTE}, at(6)),
        ({"starts_at": at(-5)}, at(1)),
        ({"ends_at": at(1)}, at(1)),
        ({"ends_at": at(1) - MINUTE}, None),
        ({"runs_left": 1}, at(1)),
        ({"runs_left": 0}, None),
        ({"paused_at": at(0)}, at(1)),  # its ticks are skipped, and say so
        ({"when": "every 2h", "starts_at": at(5) + MINUTE}, at(5) + MINUTE),
        ({"when": "every 2h"}, START + 2 * HOUR),
        ({"when": "at 2027-03-27T00:00"}, None),
    ]
    for fields, next_at in cases:
        assert planned_one(**fields).next_at == next_at, fields


# --- jitter


def test_jitter_delays_each_tick_by_its_own_share_always_the_same() -> None:
    schedule = planned_one(id="nightly", jitter=timedelta(minutes=10))

    delays = [fire_at(schedule, at(n)) - at(n) for n in range(1, 101)]

    assert delays == [fire_at(schedule, at(n)) - at(n) for n in range(1, 101)]
    assert len(set(delays)) == 100
    assert all(timedelta(0) <= delay <= timedelta(minutes=10) for delay in delays)
    assert max(delays) > timedelta(minutes=9)
    assert min(delays) < timedelta(minutes=1)


def test_jitter_spreads_schedules_that_are_due_together() -> None:
    schedules = [planned_one(id=f"s{n}", jitter=MINUTE * 10) for n in range(200)]
    thirds = [(fire_at(s, at(1)) - at(1)) * 3 // (MINUTE * 10) for s in schedules]
    assert all(40 < thirds.count(third) < 95 for third in range(3))


def test_jitter_is_not_moved_by_the_zone_that_an_instant_is_written_in() -> None:
    schedule = planned_one(jitter=HOUR)
    elsewhere = at(1).astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert fire_at(schedule, elsewhere) == fire_at(schedule, at(1))


@given(n=st.integers(0, 10_000), jitter_s=st.integers(0, 86_400))
def test_jitter_never_reaches_the_following_tick(n: int, jitter_s: int) -> None:
    schedule = planned_one(jitter=timedelta(seconds=jitter_s), when="* * * * *")
    due_at = START + n * MINUTE
    assert due_at <= fire_at(schedule, due_at) < due_at + MINUTE


def test_a_tick_is_decided_once_its_jitter_has_passed() -> None:
    schedule = planned_one(jitter=timedelta(minutes=30), grace=timedelta(0))
    fires = fire_at(schedule, at(1))
    assert schedule.fire_at == fires

    before = decide(schedule, fires - timedelta(microseconds=1), [], ALL)
    then = decide(schedule, fires, [], ALL)

    assert before == TickDecision(schedule_after=schedule)
    assert rows(then) == [(at(1), "ran", "on_time")]
    assert then.schedule_after.fire_at == fire_at(schedule, at(2))


# --- in time and late


def test_a_tick_runs_in_time_until_its_grace_is_over() -> None:
    schedule = planned_one(grace=MINUTE, misfire=Misfire.SKIP)

    in_time = decide(schedule, at(1) + MINUTE, [], ALL)
    late = decide(schedule, at(1) + MINUTE + timedelta(microseconds=1), [], ALL)

    assert rows(in_time) == [(at(1), "ran", "on_time")]
    assert rows(late) == [(at(1), "missed", "no_scheduler")]
    assert [d.schedule_after.next_at for d in (in_time, late)] == [at(2), at(2)]
    assert in_time.schedule_after.beat == schedule.beat + 1


def test_late_ticks_go_by_the_misfire_policy() -> None:
    for misfire, now, ticks in [
        (Misfire.RUN_ONCE, at(4.5), ["missed", "missed", "missed", "caught_up"]),
        (Misfire.RUN_ONCE, at(4), ["missed", "missed", "missed", "ran"]),
        (Misfire.RUN_ALL, at(4.5), ["missed", "missed", "caught_up", "caught_up"]),
        (Misfire.RUN_ALL, at(4), ["missed", "caught_up", "caught_up", "ran"]),
        (Misfire.SKIP, at(4.5), ["missed", "missed", "missed", "missed"]),
        (Misfire.SKIP, at(4), ["missed", "missed", "missed", "ran"]),
    ]:
        schedule = planned_one(misfire=misfire, catch_up=2, overlap=Overlap.ALLOW)
        decision = decide(schedule, now, [], ALL)
        assert outcomes(decision) == ticks, (misfire, now)
        assert all(t.detail for t in decision.ticks if t.outcome is TickOutcome.MISSED), (
            misfire,
            now,
        )


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("misfire", Misfire)
def test_many_ticks_are_decided_alike_however_few_at_a_time(misfire: Misfire, limit: int) -> None:
    schedule = planned_one(misfire=misfire, catch_up=3, overlap=Overlap.ALLOW)
    now = at(30.5)
    parts: list[TickDecision] = []
    while schedule.fire_at is not None and schedule.fire_at <= now:
        parts.append(decide(schedule, now, [], limit))
        schedule = parts[-1].schedule_after

    decided = [row for part in parts for row in rows(part)]

    whole = decide(planned_one(misfire=misfire, catch_up=3, overlap=Overlap.ALLOW), now, [], ALL)
    assert decided == rows(whole)
    assert [due_at for due_at, _, _ in decided] == [at(n) for n in range(1, 31)]
    assert all(len(rows(part)) <= limit for part in parts)


# --- overlap


def test_a_waiting_tick_has_its_turn_before_one_that_is_due() -> None:
    schedule = planned_one(overlap=Overlap.QUEUE, waiting_at=at(0))
    decision = decide(schedule, at(1), [], ALL)
    assert rows(decision) == [(at(0), "ran", "overlap"), (at(1), "waiting", "overlap")]
    assert decision.schedule_after.waiting_at == at(1)


def test_nothing_is_released_where_nothing_waits() -> None:
    schedule = planned_one(overlap=Overlap.QUEUE)
    assert release_waiting(schedule, at(1)).schedule_after is schedule


def test_a_paused_schedule_releases_no_waiting_tick() -> None:
    schedule = planned_one(
        overlap=Overlap.QUEUE, waiting_at=at(0), paused_at=START, pause_reason="site is down"
    )
    decision = release_waiting(schedule, at(1))
    assert rows(decision) == [(at(0), "skipped", "paused")]
    assert decision.ticks[0].detail == "site is down"
    assert decision.schedule_after.waiting_at is None


def test_a_waiting_tick_finds_no_runs_left() -> None:
    schedule = planned_one(overlap=Overlap.QUEUE, waiting_at=at(0), runs_left=0)
    decision = release_waiting(schedule, at(1))
    assert rows(decision) == [(at(0), "skipped", "no_runs")]
    assert decision.schedule_after.runs_left == 0


def test_cancel_previous_replaces_what_is_active() -> None:
    schedule = planned_one(overlap=Overlap.CANCEL_PREVIOUS)
    jobs = [its_job(schedule, at(0)), its_job(schedule, None)]

    decision = decide(schedule, at(1), jobs, ALL)

    assert rows(decision) == [(at(0), "replaced", "overlap"), (at(1), "ran", "on_time")]
    assert decision.cancels == tuple(jobs)
    assert decision.ticks[0].job_id == jobs[0].id
    assert decision.ticks[0].detail == "cancelled for the tick of 2027-03-27T01:00:00Z"


def test_cancel_previous_replaces_a_tick_that_waits_since_the_policy_was_another() -> None:
    schedule = planned_one(overlap=Overlap.CANCEL_PREVIOUS, waiting_at=at(0.5))
    decision = decide(schedule, at(1), [its_job(schedule, at(0))], ALL)
    assert outcomes(decision) == ["replaced", "replaced", "ran"]
    assert decision.schedule_after.waiting_at is None


def test_several_runs_at_once_go_by_the_overlap_policy() -> None:
    for overlap, decisions in [
        (Overlap.SKIP, ["caught_up", "skipped", "skipped"]),
        (Overlap.QUEUE, ["caught_up", "waiting", "skipped"]),
        (Overlap.CANCEL_PREVIOUS, ["replaced", "replaced", "caught_up"]),
        (Overlap.ALLOW, ["caught_up", "caught_up", "caught_up"]),
    ]:
        schedule = planned_one(overlap=overlap, misfire=Misfire.RUN_ALL, runs_left=10)
        decision = decide(schedule, at(3.5), [], ALL)
        assert outcomes(decision) == decisions, overlap
        assert decision.schedule_after.runs_left == 10 - decisions.count("caught_up"), overlap
        assert not decision.cancels, overlap


# --- runs that are left, and the end


def test_runs_are_counted_and_the_last_one_ends_the_schedule() -> None:
    schedule = planned_one(overlap=Overlap.ALLOW, misfire=Misfire.RUN_ALL, runs_left=2)
    decision = decide(schedule, at(5.5), [], ALL)
    assert rows(decision) == [(at(1), "caught_up", "late"), (at(2), "caught_up", "late")]
    after = decision.schedule_after
    assert (after.runs_left, after.next_at, after.fire_at) == (0, None, None)
    assert (decision.next_at, decision.fire_at) == (at(3), at(3))


def test_a_refused_run_says_why_and_is_given_back() -> None:
    schedule = planned_one(overlap=Overlap.ALLOW, misfire=Misfire.RUN_ALL, runs_left=1)
    decision = decide(schedule, at(2.5), [], ALL)

    without = decision.without_run(decision.runs[0], TickReason.QUOTA, "10 jobs wait", at(2.5))

    assert rows(without) == [(at(1), "skipped", "quota")]
    assert without.ticks[0].detail == "10 jobs wait"
    assert without.ticks[0].job_id is None
    after = without.schedule_after
    assert (after.runs_left, after.next_at, after.fire_at) == (1, at(2), at(2))


def test_of_two_runs_one_may_be_refused() -> None:
    schedule = planned_one(overlap=Overlap.ALLOW, misfire=Misfire.RUN_ALL)
    decision = decide(schedule, at(2.5), [], ALL)
    without = decision.without_run(decision.runs[1], TickReason.REFUSED, "no", at(2.5))
    assert rows(without) == [(at(1), "caught_up", "late"), (at(2), "skipped", "refused")]


def test_a_tick_that_waited_still_does_when_the_run_it_made_room_for_is_refused() -> None:
    schedule = planned_one(overlap=Overlap.CANCEL_PREVIOUS, waiting_at=at(0.5))
    decision = decide(schedule, at(1), [its_job(schedule, at(0))], ALL)
    without = decision.without_run(decision.runs[0], TickReason.REFUSED, "no", at(1))
    assert rows(without) == [(at(1), "skipped", "refused")]
    assert without.schedule_after.waiting_at == at(0.5)
