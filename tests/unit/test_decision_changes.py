"""Ticks of schedules that are run by hand, changed or paused, with any course of the clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard.core.jobs.job import Job
from crawlyard.core.schedules.decision import (
    TickDecision,
    decide,
    foresee,
    release_waiting,
    request_run,
    resume_schedule,
)
from crawlyard.core.schedules.planning import fire_at
from crawlyard.core.schedules.schedule import (
    MISFIRE_HELP,
    OVERLAP_HELP,
    CrawlSchedule,
    Misfire,
    Overlap,
    Tick,
    TickOutcome,
    TickReason,
)
from crawlyard.core.schedules.timetable import timetable
from crawlyard.errors import Invalid
from tests.builders_schedules import a_schedule
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

# --- runs by hand, and the forecast


def test_a_run_that_is_asked_for_leaves_what_waits_unless_it_replaces() -> None:
    for overlap in [Overlap.SKIP, Overlap.QUEUE, Overlap.ALLOW]:
        schedule = planned_one(overlap=overlap, waiting_at=at(0.2))
        _, decision = request_run(schedule, at(0.7), [], "ann")
        assert rows(decision) == [(at(0.7), "ran", "by_user")], overlap
        assert decision.schedule_after.waiting_at == at(0.2), overlap


def test_what_is_foreseen_is_what_is_decided() -> None:
    for misfire in Misfire:
        schedule = planned_one(misfire=misfire, catch_up=2, overlap=Overlap.ALLOW)
        after, rows_ = foresee(schedule, at(5.5), [])
        decision = decide(schedule, at(5.5), [], ALL)
        assert after == decision.schedule_after, misfire
        assert {k: (t.outcome, t.job_id is None) for k, t in rows_.items()} == {
            **{t.due_at: (t.outcome, True) for t in decision.ticks},
            **{r.due_at: (r.outcome, False) for r in decision.runs},
        }, misfire


# --- another time table


# --- pauses


def test_what_was_missed_before_the_pause_is_missed() -> None:
    schedule = planned_one(paused_at=at(2.5), misfire=Misfire.RUN_ALL)
    decision = decide(schedule, at(3), [], ALL)
    assert outcomes(decision) == ["missed", "missed", "skipped"]


def test_resuming_makes_up_for_the_pause_where_all_shall_run() -> None:
    schedule = planned_one(
        paused_at=START, misfire=Misfire.RUN_ALL, catch_up=2, overlap=Overlap.ALLOW, runs_left=9
    )
    paused = decide(schedule, at(4.5), [], ALL)
    older = replace(paused.ticks[0], due_at=at(0))
    other = replace(paused.ticks[0], due_at=at(4.2), reason=TickReason.OVERLAP)

    decision = resume_schedule(
        paused.schedule_after, at(4.5), [other, *reversed(paused.ticks), older]
    )

    assert rows(decision) == [(at(3), "caught_up", "late"), (at(4), "caught_up", "late")]
    assert decision.schedule_after.runs_left == 7
    assert decision.schedule_after.next_at == at(5)
    assert decision.schedule_after.beat == paused.schedule_after.beat + 1


def test_resuming_makes_up_for_this_pause_alone() -> None:
    schedule = planned_one(paused_at=at(0.9), misfire=Misfire.RUN_ALL, overlap=Overlap.ALLOW)
    paused = decide(schedule, at(1.5), [], ALL)
    earlier = replace(paused.ticks[0], due_at=at(0))
    decision = resume_schedule(paused.schedule_after, at(1.5), [earlier, *paused.ticks])
    assert rows(decision) == [(at(1), "caught_up", "late")]


def test_resuming_goes_by_the_overlap_policy() -> None:
    schedule = planned_one(paused_at=START, misfire=Misfire.RUN_ALL, overlap=Overlap.QUEUE)
    paused = decide(schedule, at(3.5), [], ALL)
    decision = resume_schedule(
        paused.schedule_after, at(3.5), paused.ticks, [its_job(schedule, START)]
    )
    assert outcomes(decision) == ["waiting", "skipped", "skipped"]
    assert decision.schedule_after.waiting_at == at(1)


def test_resuming_makes_up_for_no_more_than_the_runs_that_are_left() -> None:
    schedule = planned_one(
        paused_at=START, misfire=Misfire.RUN_ALL, overlap=Overlap.ALLOW, runs_left=1
    )
    paused = decide(schedule, at(3.5), [], ALL)
    decision = resume_schedule(paused.schedule_after, at(3.5), paused.ticks)
    assert rows(decision) == [(at(1), "caught_up", "late")]
    assert decision.schedule_after.next_at is None


# --- records


def test_a_schedule_has_a_name() -> None:
    with pytest.raises(Invalid, match="expected a name"):
        a_schedule(name=" ")


def test_every_policy_says_what_it_does() -> None:
    assert list(OVERLAP_HELP) == list(Overlap)
    assert list(MISFIRE_HELP) == list(Misfire)


# --- any history of time


@dataclass(slots=True)
class ScheduleModel:
    """A store of one schedule, and a clock that can be set."""

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
        """End all jobs, and run the waiting tick."""
        self.jobs.clear()
        self.write(release_waiting(self.schedule, now), now)

    def write(self, decision: TickDecision, now: datetime) -> None:
        """Apply a decision, as a store would."""
        for job in decision.cancels:
            self.jobs.remove(job)
        for run in decision.runs:
            job = its_job(self.schedule, run.due_at)
            self.jobs.append(job)
            self.runs.append(run.due_at)
            self._row(replace(run, job_id=job.id, decided_at=now))
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
    """One step: the clock moves, a scheduler polls, and may crash before it writes."""

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
    instants: list[datetime] = []
    due_at = table.after(START)
    while due_at is not None and fire_at(schedule, due_at) <= until:
        instants.append(due_at)
        due_at = table.after(due_at)
    first, last = schedule.starts_at or START, schedule.ends_at or until
    return [due_at for due_at in instants if first <= due_at <= last]


@given(fields=_SCHEDULES, steps=_STEPS, limit=st.sampled_from([1, 3, 200]))
@settings(max_examples=60, deadline=None)
def test_every_instant_is_decided_once_whatever_time_does(
    fields: dict[str, Any], steps: Sequence[Step], limit: int
) -> None:
    yard = ScheduleModel(planned_one(**fields))
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
