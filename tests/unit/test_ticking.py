"""What becomes of due instants: by the policies, and once each whatever time does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard.core.job import Job, Origin
from crawlyard.core.planning import fire_at, never_due, planned
from crawlyard.core.schedule import (
    MISFIRE_HELP,
    OVERLAP_HELP,
    CrawlSchedule,
    Misfire,
    Overlap,
    Tick,
    TickOutcome,
    TickReason,
)
from crawlyard.core.ticking import (
    Decision,
    Run,
    asked_for,
    decide,
    foreseen,
    released,
    resumed,
)
from crawlyard.core.timetable import timetable
from crawlyard.errors import Invalid
from tests.builders import a_job
from tests.builders_schedules import a_schedule

START = datetime(2027, 3, 27, 0, 30, tzinfo=UTC)  # a day before the clocks of Berlin go forward
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ALL = 1000


def planned_one(**fields: Any) -> CrawlSchedule:
    """Return an hourly schedule that was created at `START`."""
    defaults: dict[str, Any] = {"created_at": START, "next_at": None, "fire_at": None}
    return planned(a_schedule(**(defaults | fields)), START)


def at(hours: float) -> datetime:
    """Return the instant that many hours after midnight of the day of `START`."""
    return START.replace(minute=0) + hours * HOUR


def its_job(schedule: CrawlSchedule, due_at: datetime | None = None, **fields: Any) -> Job:
    """Return an active job of *schedule*."""
    return a_job(origin=Origin(schedule_id=schedule.id, tick_at=due_at), **fields)


def rows(decision: Decision) -> list[tuple[datetime, str, str]]:
    """Return instants with outcome and reason, jobs included, in order."""
    every: list[Tick | Run] = [*decision.ticks, *decision.runs]
    return sorted((each.due_at, each.outcome.value, each.reason.value) for each in every)


def outcomes(decision: Decision) -> list[str]:
    """Return the outcomes alone, in the order of the instants."""
    return [outcome for _, outcome, _ in rows(decision)]


# --- planning


def test_a_schedule_is_due_next_at_the_first_instant_after_now() -> None:
    schedule = planned_one()

    assert (schedule.next_at, schedule.fire_at) == (at(1), at(1))


@pytest.mark.parametrize(
    ("fields", "next_at"),
    [
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
    ],
)
def test_a_plan_keeps_to_start_end_and_runs(
    fields: dict[str, Any], next_at: datetime | None
) -> None:
    assert planned_one(**fields).next_at == next_at


def test_a_plan_refuses_what_is_no_timetable() -> None:
    with pytest.raises(Invalid, match="minute 61"):
        planned_one(when="61 * * * *")


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

    assert before == Decision(schedule_after=schedule)
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


@pytest.mark.parametrize(
    ("misfire", "now", "found"),
    [
        (Misfire.RUN_ONCE, at(4.5), ["missed", "missed", "missed", "caught_up"]),
        (Misfire.RUN_ONCE, at(4), ["missed", "missed", "missed", "ran"]),
        (Misfire.RUN_ALL, at(4.5), ["missed", "missed", "caught_up", "caught_up"]),
        (Misfire.RUN_ALL, at(4), ["missed", "caught_up", "caught_up", "ran"]),
        (Misfire.SKIP, at(4.5), ["missed", "missed", "missed", "missed"]),
        (Misfire.SKIP, at(4), ["missed", "missed", "missed", "ran"]),
    ],
)
def test_late_ticks_go_by_the_misfire_policy(
    misfire: Misfire, now: datetime, found: list[str]
) -> None:
    schedule = planned_one(misfire=misfire, catch_up=2, overlap=Overlap.ALLOW)

    decision = decide(schedule, now, [], ALL)

    assert outcomes(decision) == found
    assert all(t.detail for t in decision.ticks if t.outcome is TickOutcome.MISSED)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("misfire", Misfire)
def test_many_ticks_are_decided_alike_however_few_at_a_time(misfire: Misfire, limit: int) -> None:
    schedule = planned_one(misfire=misfire, catch_up=3, overlap=Overlap.ALLOW)
    now = at(30.5)
    parts: list[Decision] = []
    while schedule.fire_at is not None and schedule.fire_at <= now:
        parts.append(decide(schedule, now, [], limit))
        schedule = parts[-1].schedule_after

    found = [row for part in parts for row in rows(part)]

    whole = decide(planned_one(misfire=misfire, catch_up=3, overlap=Overlap.ALLOW), now, [], ALL)
    assert found == rows(whole)
    assert [due_at for due_at, _, _ in found] == [at(n) for n in range(1, 31)]
    assert all(len(rows(part)) <= limit for part in parts)


# --- overlap


def test_skip_runs_nothing_beside_an_active_job_and_names_it() -> None:
    schedule = planned_one(overlap=Overlap.SKIP)
    job = its_job(schedule, at(0))

    decision = decide(schedule, at(1), [job], ALL)

    assert rows(decision) == [(at(1), "skipped", "overlap")]
    assert decision.ticks[0].detail == f"job {job.id} was pending"
    assert not decision.cancels


def test_allow_runs_beside_an_active_job() -> None:
    schedule = planned_one(overlap=Overlap.ALLOW)

    decision = decide(schedule, at(1), [its_job(schedule, at(0))], ALL)

    assert rows(decision) == [(at(1), "ran", "on_time")]
    assert not decision.cancels


def test_queue_lets_one_tick_wait_and_skips_the_next() -> None:
    schedule = planned_one(overlap=Overlap.QUEUE)
    job = its_job(schedule, at(0))

    first = decide(schedule, at(1), [job], ALL)
    second = decide(first.schedule_after, at(2), [job], ALL)

    assert rows(first) == [(at(1), "waiting", "overlap")]
    assert first.schedule_after.waiting_at == at(1)
    assert rows(second) == [(at(2), "skipped", "overlap")]
    assert second.schedule_after.waiting_at == at(1)
    assert job.id in second.ticks[0].detail
    assert "2027-03-27T01:00:00Z waits" in second.ticks[0].detail


def test_a_waiting_tick_runs_when_the_job_before_has_ended() -> None:
    schedule = planned_one(overlap=Overlap.QUEUE, waiting_at=at(0), runs_left=2)

    decision = released(schedule, at(0.7))

    assert rows(decision) == [(at(0), "ran", "overlap")]
    after = decision.schedule_after
    assert (after.waiting_at, after.runs_left, after.next_at) == (None, 1, at(1))
    assert after.beat == schedule.beat + 1


def test_a_waiting_tick_has_its_turn_before_one_that_is_due() -> None:
    schedule = planned_one(overlap=Overlap.QUEUE, waiting_at=at(0))

    decision = decide(schedule, at(1), [], ALL)

    assert rows(decision) == [(at(0), "ran", "overlap"), (at(1), "waiting", "overlap")]
    assert decision.schedule_after.waiting_at == at(1)


def test_nothing_is_released_where_nothing_waits() -> None:
    schedule = planned_one(overlap=Overlap.QUEUE)

    assert released(schedule, at(1)).schedule_after is schedule


def test_a_paused_schedule_releases_no_waiting_tick() -> None:
    schedule = planned_one(
        overlap=Overlap.QUEUE, waiting_at=at(0), paused_at=START, pause_reason="site is down"
    )

    decision = released(schedule, at(1))

    assert rows(decision) == [(at(0), "skipped", "paused")]
    assert decision.ticks[0].detail == "site is down"
    assert decision.schedule_after.waiting_at is None


def test_a_waiting_tick_finds_no_runs_left() -> None:
    schedule = planned_one(overlap=Overlap.QUEUE, waiting_at=at(0), runs_left=0)

    decision = released(schedule, at(1))

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


@pytest.mark.parametrize(
    ("overlap", "found"),
    [
        (Overlap.SKIP, ["caught_up", "skipped", "skipped"]),
        (Overlap.QUEUE, ["caught_up", "waiting", "skipped"]),
        (Overlap.CANCEL_PREVIOUS, ["replaced", "replaced", "caught_up"]),
        (Overlap.ALLOW, ["caught_up", "caught_up", "caught_up"]),
    ],
)
def test_several_runs_at_once_go_by_the_overlap_policy(overlap: Overlap, found: list[str]) -> None:
    schedule = planned_one(overlap=overlap, misfire=Misfire.RUN_ALL, runs_left=10)

    decision = decide(schedule, at(3.5), [], ALL)

    assert outcomes(decision) == found
    assert decision.schedule_after.runs_left == 10 - found.count("caught_up")
    assert not decision.cancels


# --- runs that are left, and the end


def test_runs_are_counted_and_the_last_one_ends_the_schedule() -> None:
    schedule = planned_one(overlap=Overlap.ALLOW, misfire=Misfire.RUN_ALL, runs_left=2)

    decision = decide(schedule, at(5.5), [], ALL)

    assert rows(decision) == [(at(1), "caught_up", "late"), (at(2), "caught_up", "late")]
    after = decision.schedule_after
    assert (after.runs_left, after.next_at, after.fire_at) == (0, None, None)
    assert (decision.next_at, decision.fire_at) == (at(3), at(3))


def test_a_tick_that_does_not_run_is_not_counted() -> None:
    schedule = planned_one(runs_left=1)

    decision = decide(schedule, at(1), [its_job(schedule, at(0))], ALL)

    assert (decision.schedule_after.runs_left, decision.schedule_after.next_at) == (1, at(2))


def test_no_instant_comes_after_the_end_date() -> None:
    schedule = planned_one(ends_at=at(2), overlap=Overlap.ALLOW, misfire=Misfire.RUN_ALL)

    decision = decide(schedule, at(9), [], ALL)

    assert [due_at for due_at, _, _ in rows(decision)] == [at(1), at(2)]
    assert decision.schedule_after.next_at is None


def test_a_refused_run_says_why_and_is_given_back() -> None:
    schedule = planned_one(overlap=Overlap.ALLOW, misfire=Misfire.RUN_ALL, runs_left=1)
    decision = decide(schedule, at(2.5), [], ALL)

    without = decision.refused(decision.runs[0], TickReason.QUOTA, "10 jobs wait", at(2.5))

    assert rows(without) == [(at(1), "skipped", "quota")]
    assert without.ticks[0].detail == "10 jobs wait"
    assert without.ticks[0].job_id is None
    after = without.schedule_after
    assert (after.runs_left, after.next_at, after.fire_at) == (1, at(2), at(2))


def test_a_refused_run_cancels_nothing() -> None:
    schedule = planned_one(overlap=Overlap.CANCEL_PREVIOUS)
    decision = decide(schedule, at(1), [its_job(schedule, at(0))], ALL)

    without = decision.refused(decision.runs[0], TickReason.REFUSED, "no", at(1))

    assert rows(without) == [(at(1), "skipped", "refused")]
    assert not without.cancels
    assert without.schedule_after.runs_left is None


def test_of_two_runs_one_may_be_refused() -> None:
    schedule = planned_one(overlap=Overlap.ALLOW, misfire=Misfire.RUN_ALL)
    decision = decide(schedule, at(2.5), [], ALL)

    without = decision.refused(decision.runs[1], TickReason.REFUSED, "no", at(2.5))

    assert rows(without) == [(at(1), "caught_up", "late"), (at(2), "skipped", "refused")]


def test_a_tick_that_waited_still_does_when_the_run_it_made_room_for_is_refused() -> None:
    schedule = planned_one(overlap=Overlap.CANCEL_PREVIOUS, waiting_at=at(0.5))
    decision = decide(schedule, at(1), [its_job(schedule, at(0))], ALL)

    without = decision.refused(decision.runs[0], TickReason.REFUSED, "no", at(1))

    assert rows(without) == [(at(1), "skipped", "refused")]
    assert without.schedule_after.waiting_at == at(0.5)


def test_of_a_job_that_was_submitted_again_the_row_is_the_first_ones() -> None:
    schedule = planned_one(overlap=Overlap.CANCEL_PREVIOUS)
    again = its_job(schedule, at(0), retry_of="the first")

    decision = decide(schedule, at(1), [again], ALL)

    assert decision.cancels == (again,)
    assert rows(decision) == [(at(1), "ran", "on_time")]


# --- what somebody asks for, and what is foreseen


def test_a_run_that_is_asked_for_replaces_as_a_tick_does_and_is_not_counted() -> None:
    schedule = planned_one(overlap=Overlap.CANCEL_PREVIOUS, waiting_at=at(0.2), runs_left=3)
    job = its_job(schedule, at(0))

    run, decision = asked_for(schedule, at(0.7), [job], "ann")

    assert (run.reason, run.detail) == (TickReason.BY_USER, "asked for by ann")
    assert rows(decision) == [
        (at(0), "replaced", "overlap"),
        (at(0.2), "replaced", "overlap"),
        (at(0.7), "ran", "by_user"),
    ]
    assert decision.cancels == (job,)
    after = decision.schedule_after
    assert (after.runs_left, after.waiting_at, after.next_at) == (3, None, at(1))
    assert after.beat == schedule.beat + 1


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE, Overlap.ALLOW])
def test_a_run_that_is_asked_for_leaves_what_waits_unless_it_replaces(overlap: Overlap) -> None:
    schedule = planned_one(overlap=overlap, waiting_at=at(0.2))

    _, decision = asked_for(schedule, at(0.7), [], "ann")

    assert rows(decision) == [(at(0.7), "ran", "by_user")]
    assert decision.schedule_after.waiting_at == at(0.2)


@pytest.mark.parametrize("misfire", Misfire)
def test_what_is_foreseen_is_what_is_decided(misfire: Misfire) -> None:
    schedule = planned_one(misfire=misfire, catch_up=2, overlap=Overlap.ALLOW)

    after, rows_ = foreseen(schedule, at(5.5), [])

    decision = decide(schedule, at(5.5), [], ALL)
    assert after == decision.schedule_after
    assert {k: (t.outcome, t.job_id is None) for k, t in rows_.items()} == {
        **{t.due_at: (t.outcome, True) for t in decision.ticks},
        **{r.due_at: (r.outcome, False) for r in decision.runs},
    }


# --- another time table


def test_before_another_time_table_holds_no_jitter_is_waited_for() -> None:
    schedule = planned_one(id="nightly", jitter=timedelta(minutes=30))

    decision = decide(schedule, at(1), [], ALL, early=True)

    assert fire_at(schedule, at(1)) > at(1)
    assert rows(decision) == [(at(1), "ran", "on_time")]
    assert decision.schedule_after.next_at == at(2)


def test_what_was_decided_is_not_planned_again_by_a_clock_that_went_back() -> None:
    schedule = decide(planned_one(), at(5), [], ALL).schedule_after

    again = planned(replace(schedule, when="*/30 * * * *"), at(2))

    assert schedule.decided_to == at(5)
    assert again.next_at == at(5.5)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"runs_left": 0}, "runs_left"),
        ({"ends_at": at(0.1)}, "ends_at"),
        ({"when": "at 2027-03-28T00:00", "starts_at": at(999)}, "starts_at"),
        ({"starts_at": at(5.1), "ends_at": at(5.2)}, "ends_at"),
        ({"when": "at 2020-01-01T00:00", "ends_at": at(0.1)}, "when"),
    ],
)
def test_where_nothing_is_to_come_the_cause_is_named(fields: dict[str, Any], field: str) -> None:
    schedule = planned_one(**fields)

    assert schedule.next_at is None
    assert never_due(schedule, START).field == field


# --- pauses


def test_a_paused_schedule_skips_its_ticks_and_says_why() -> None:
    schedule = planned_one(paused_at=START, pause_reason="site is down", misfire=Misfire.RUN_ALL)

    decision = decide(schedule, at(3.5), [], ALL)

    assert rows(decision) == [(at(n), "skipped", "paused") for n in (1, 2, 3)]
    assert {tick.detail for tick in decision.ticks} == {"site is down"}
    assert decision.schedule_after.next_at == at(4)


def test_what_was_missed_before_the_pause_is_missed() -> None:
    schedule = planned_one(paused_at=at(2.5), misfire=Misfire.RUN_ALL)

    decision = decide(schedule, at(3), [], ALL)

    assert outcomes(decision) == ["missed", "missed", "skipped"]


@pytest.mark.parametrize("misfire", [Misfire.SKIP, Misfire.RUN_ONCE])
def test_a_resumed_schedule_fires_nothing_of_the_past(misfire: Misfire) -> None:
    schedule = planned_one(paused_at=START, paused_by="ann", pause_reason="why", misfire=misfire)
    paused = decide(schedule, at(3.5), [], ALL)

    decision = resumed(paused.schedule_after, at(3.5), paused.ticks)

    after = decision.schedule_after
    assert rows(decision) == []
    assert (after.paused_at, after.paused_by, after.pause_reason) == (None, "", "")
    assert (after.next_at, after.beat) == (at(4), paused.schedule_after.beat + 1)


def test_resuming_makes_up_for_the_pause_where_all_shall_run() -> None:
    schedule = planned_one(
        paused_at=START, misfire=Misfire.RUN_ALL, catch_up=2, overlap=Overlap.ALLOW, runs_left=9
    )
    paused = decide(schedule, at(4.5), [], ALL)
    older = replace(paused.ticks[0], due_at=at(0))
    other = replace(paused.ticks[0], due_at=at(4.2), reason=TickReason.OVERLAP)

    decision = resumed(paused.schedule_after, at(4.5), [other, *reversed(paused.ticks), older])

    assert rows(decision) == [(at(3), "caught_up", "late"), (at(4), "caught_up", "late")]
    assert decision.schedule_after.runs_left == 7
    assert decision.schedule_after.next_at == at(5)
    assert decision.schedule_after.beat == paused.schedule_after.beat + 1


def test_resuming_makes_up_for_this_pause_alone() -> None:
    schedule = planned_one(paused_at=at(0.9), misfire=Misfire.RUN_ALL, overlap=Overlap.ALLOW)
    paused = decide(schedule, at(1.5), [], ALL)
    earlier = replace(paused.ticks[0], due_at=at(0))

    decision = resumed(paused.schedule_after, at(1.5), [earlier, *paused.ticks])

    assert rows(decision) == [(at(1), "caught_up", "late")]


def test_resuming_goes_by_the_overlap_policy() -> None:
    schedule = planned_one(paused_at=START, misfire=Misfire.RUN_ALL, overlap=Overlap.QUEUE)
    paused = decide(schedule, at(3.5), [], ALL)

    decision = resumed(paused.schedule_after, at(3.5), paused.ticks, [its_job(schedule, START)])

    assert outcomes(decision) == ["waiting", "skipped", "skipped"]
    assert decision.schedule_after.waiting_at == at(1)


def test_resuming_makes_up_for_no_more_than_the_runs_that_are_left() -> None:
    schedule = planned_one(
        paused_at=START, misfire=Misfire.RUN_ALL, overlap=Overlap.ALLOW, runs_left=1
    )
    paused = decide(schedule, at(3.5), [], ALL)

    decision = resumed(paused.schedule_after, at(3.5), paused.ticks)

    assert rows(decision) == [(at(1), "caught_up", "late")]
    assert decision.schedule_after.next_at is None


# --- records


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": " "}, "name"),
        ({"grace": timedelta(seconds=-1)}, "grace"),
        ({"grace": timedelta(days=32)}, "grace"),
        ({"jitter": timedelta(days=2)}, "jitter"),
        ({"catch_up": 0}, "catch_up"),
        ({"catch_up": 1001}, "catch_up"),
        ({"runs_left": -1}, "runs_left"),
        ({"pause_after": 0}, "pause_after"),
        ({"starts_at": at(2), "ends_at": at(1)}, "ends_at"),
        ({"ends_at": datetime(2027, 1, 1)}, "ends_at"),  # noqa: DTZ001 - what is refused
        ({"starts_at": datetime(1969, 12, 31, tzinfo=UTC)}, "starts_at"),
        ({"ends_at": datetime(9999, 1, 1, tzinfo=UTC)}, "ends_at"),
        ({"pause_after": 1001}, "pause_after"),
        ({"runs_left": True}, "runs_left"),
        ({"template_version": 0}, "template_version"),
        ({"overlap": "skip"}, "overlap"),
        ({"jitter": None}, "jitter"),
    ],
)
def test_a_schedule_refuses_what_is_out_of_range(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(Invalid) as refused:
        a_schedule(**fields)

    assert refused.value.field == name


def test_every_policy_says_what_it_does() -> None:
    assert list(OVERLAP_HELP) == list(Overlap)
    assert list(MISFIRE_HELP) == list(Misfire)


# --- any history of time


@dataclass(slots=True)
class Yard:
    """A store of one schedule, and a clock that goes wherever it is told."""

    schedule: CrawlSchedule
    rows: dict[datetime, Tick] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    runs: list[datetime] = field(default_factory=list)
    latest: datetime = START

    def fire(self, now: datetime, limit: int, crashes: int) -> None:
        """Decide until nothing is due; the first *crashes* decisions are lost before the write."""
        self.latest = max(self.latest, now)
        while self.schedule.fire_at is not None and self.schedule.fire_at <= now:
            decision = decide(self.schedule, now, list(self.jobs), limit)
            if crashes:
                crashes -= 1
                assert decision == decide(self.schedule, now, list(self.jobs), limit)
                continue
            self.write(decision, now)

    def end(self, now: datetime) -> None:
        """End all jobs, and let the tick that waits have its turn."""
        self.jobs.clear()
        self.write(released(self.schedule, now), now)

    def write(self, decision: Decision, now: datetime) -> None:
        """Store a decision, as a store would."""
        for job in decision.cancels:
            self.jobs.remove(job)
        for run in decision.runs:
            job = its_job(self.schedule, run.due_at)
            self.jobs.append(job)
            self.runs.append(run.due_at)
            self._row(run.tick(self.schedule.id, job.id, now))
        for tick in decision.ticks:
            self._row(tick)
        self.schedule = decision.schedule_after

    def _row(self, tick: Tick) -> None:
        before = self.rows.get(tick.due_at)
        if before is not None:
            again = before.outcome is TickOutcome.WAITING and before.job_id is None
            assert again or (tick.outcome, tick.job_id) == (TickOutcome.REPLACED, before.job_id)
        self.rows[tick.due_at] = tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Time goes on, or back, and a scheduler looks; perhaps it dies before it writes."""

    by: timedelta
    crashes: int
    jobs_end: bool


_STEPS = st.lists(
    st.builds(
        Step,
        by=st.sampled_from([timedelta(hours=-1), HOUR, timedelta(weeks=3), timedelta(days=1)])
        | st.timedeltas(timedelta(minutes=-90), timedelta(hours=6)),
        crashes=st.integers(0, 2),
        jobs_end=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)

_SCHEDULES = st.fixed_dictionaries(
    {
        "when": st.sampled_from(
            ["0 * * * *", "30 2 * * *", "*/20 1-3 * * *", "every 7h", "at 2027-03-28T02:30"]
        ),
        "zone": st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
        "overlap": st.sampled_from(Overlap),
        "misfire": st.sampled_from(Misfire),
        "grace": st.sampled_from([timedelta(0), MINUTE, 2 * HOUR]),
        "jitter": st.sampled_from([timedelta(0), timedelta(minutes=15)]),
        "catch_up": st.integers(1, 4),
        "runs_left": st.none() | st.integers(1, 8),
        "starts_at": st.none() | st.just(at(9)),
        "ends_at": st.none() | st.just(at(60)),
    }
)


def due_instants(schedule: CrawlSchedule, until: datetime) -> list[datetime]:
    """Return all instants of a schedule that have fired at *until*."""
    table = timetable(schedule.when, schedule.zone, schedule.anchor)
    found: list[datetime] = []
    due_at = table.after(START)
    while due_at is not None and fire_at(schedule, due_at) <= until:
        found.append(due_at)
        due_at = table.after(due_at)
    first, last = schedule.starts_at or START, schedule.ends_at or until
    return [due_at for due_at in found if first <= due_at <= last]


@given(fields=_SCHEDULES, steps=_STEPS, limit=st.sampled_from([1, 3, 200]))
@settings(max_examples=150, deadline=None)
def test_every_instant_is_decided_once_whatever_time_does(
    fields: dict[str, Any], steps: Sequence[Step], limit: int
) -> None:
    yard = Yard(planned_one(**fields))
    now = START

    for step in steps:
        now += step.by
        yard.fire(now, limit, step.crashes)
        if step.jobs_end:
            yard.end(now)

    due = due_instants(yard.schedule, yard.latest)
    if yard.schedule.runs_left == 0:
        due = [due_at for due_at in due if due_at <= max(yard.rows)]
    assert sorted(yard.rows) == due
    assert len(yard.runs) == len(set(yard.runs))
    if fields["runs_left"] is not None:
        assert yard.schedule.runs_left == fields["runs_left"] - len(yard.runs)
    if fields["overlap"] is not Overlap.ALLOW:
        assert len(yard.jobs) <= 1
    if fields["misfire"] is Misfire.SKIP:
        assert all(row.outcome is not TickOutcome.CAUGHT_UP for row in yard.rows.values())
