"""Decisions about due ticks: which run, which are skipped, and why.

A scheduler reads a schedule, calls `decide`, creates a job for each run, and writes everything in
one transaction. Until that commits, nothing has happened: the next decision starts from the same
stored schedule, so a crash in between neither loses nor repeats a run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from sys import maxsize

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.jobs.job import Job
from crawlyard.core.schedules.planning import find_next_due, fire_at
from crawlyard.core.schedules.schedule import (
    CrawlSchedule,
    Misfire,
    Overlap,
    Tick,
    TickOutcome,
    TickReason,
)


class TickDecision(Struct, frozen=True, kw_only=True):
    """Changes to write for one schedule, in one transaction."""

    ticks: tuple[Tick, ...] = ()  # of ticks without a run, and of replaced jobs
    runs: tuple[Tick, ...] = ()  # runs to submit, which get the ids of their jobs; earliest first
    cancels: tuple[Job, ...] = ()  # jobs to cancel, to make room for the runs
    schedule_after: CrawlSchedule  # its `beat` is one higher; the same object if nothing is decided
    next_at: datetime | None = None  # of `schedule_after`, even if no runs are left
    fire_at: datetime | None = None  # of `schedule_after`, even if no runs are left
    waited_at: datetime | None = None  # the due time of a waiting tick that was replaced

    def without_run(
        self, run: Tick, reason: TickReason, detail: str, now: datetime
    ) -> "TickDecision":
        """Return the decision without *run*, whose job could not be submitted; its row says why.

        It does not use up one of the remaining runs. If it was the only run to submit, the jobs
        that were to make room continue, and the tick that was waiting still waits.
        """
        after = self.schedule_after
        if after.runs_left is not None:
            runs_left = after.runs_left + 1
            after = replace(after, runs_left=runs_left, next_at=self.next_at, fire_at=self.fire_at)
        skipped = replace(
            run, outcome=TickOutcome.SKIPPED, reason=reason, detail=detail, decided_at=now
        )
        runs = tuple(other for other in self.runs if other != run)
        if runs:
            return replace(self, ticks=(*self.ticks, skipped), runs=runs, schedule_after=after)
        jobs = frozenset(job.id for job in self.cancels)
        other_ticks = (t for t in self.ticks if t.job_id not in jobs and t.due_at != self.waited_at)
        if self.waited_at is not None:
            after = replace(after, waiting_at=self.waited_at)
        return replace(
            self,
            ticks=(*other_ticks, skipped),
            runs=(),
            cancels=(),
            schedule_after=after,
            waited_at=None,
        )


def decide(
    schedule: CrawlSchedule,
    now: datetime,
    active: Sequence[Job],
    limit: int,
    *,
    early: bool = False,
) -> TickDecision:
    """Return the decision about the ticks that are due at *now*: the earliest *limit* of them.

    *active* holds the schedule's jobs that have not ended, oldest first. While ``fire_at`` of the
    schedule after is not in the future, there is more to decide. With *early*, jitter is ignored.

    - Paused: skipped.
    - On time, within its grace: runs, subject to the overlap policy.
    - Late: missed or caught up by the misfire policy; if caught up, subject to the overlap policy.

    A run that is decided here counts as active for later ticks. So if several ticks are caught up
    at once, `Overlap.SKIP` runs the first, `QUEUE` the first and then the second, `CANCEL_PREVIOUS`
    the last, and only `ALLOW` all of them. A waiting tick runs before any other once nothing is
    active.
    """
    max_caught_up = schedule.catch_up if schedule.misfire is Misfire.RUN_ALL else 1
    # enough to find the last *max_caught_up*
    due = list(islice(_due_ticks(schedule, now, early=early), limit + max_caught_up))
    late = sum(fires_at < now - schedule.grace for _, fires_at in due)
    first_caught_up = _first_caught_up(schedule, len(due), late)
    draft = _DecisionDraft(schedule, active, now)
    if due:
        draft.run_waiting()
    decided_to = None
    for index, (due_at, fires_at) in enumerate(due[:limit]):
        if draft.runs_left == 0:
            break
        decided_to = due_at
        was_active = schedule.paused_at is None or (index < late and fires_at < schedule.paused_at)
        if not was_active:
            draft.add_row(due_at, TickOutcome.SKIPPED, TickReason.PAUSED, schedule.pause_reason)
        elif index >= late:
            draft.run(draft.make_row(due_at, TickOutcome.RAN, TickReason.ON_TIME))
        elif index >= first_caught_up and schedule.paused_at is None:
            draft.run(draft.make_row(due_at, TickOutcome.CAUGHT_UP, TickReason.LATE))
        else:
            draft.add_row(
                due_at, TickOutcome.MISSED, TickReason.NO_SCHEDULER, _misfire_detail(schedule)
            )
    return draft.decision(decided_to)


def foresee(
    schedule: CrawlSchedule, now: datetime, active: Sequence[Job]
) -> tuple[CrawlSchedule, Mapping[datetime, Tick]]:
    """Return the schedule and the rows as they will be once all that is due at *now* is decided.

    The job id of rows with a run is empty, not ``None``, because the job does not exist yet.
    """
    decision = decide(schedule, now, active, maxsize >> 1)
    rows = {run.due_at: replace(run, job_id="") for run in decision.runs}
    return decision.schedule_after, rows | {tick.due_at: tick for tick in decision.ticks}


def request_run(
    schedule: CrawlSchedule, at: datetime, active: Sequence[Job], user_id: str
) -> tuple[Tick, TickDecision]:
    """Return the run that a user requests now, at *at*, and the decision that makes room for it.

    It does not use up one of the remaining runs.
    """
    draft = _DecisionDraft(schedule, active, at)
    run = draft.make_row(at, TickOutcome.RAN, TickReason.BY_USER, f"by {user_id}")
    if schedule.overlap is Overlap.CANCEL_PREVIOUS:
        draft.make_room(run)
    draft.runs.append(run)
    return run, draft.decision(None)


def release_waiting(schedule: CrawlSchedule, now: datetime) -> TickDecision:
    """Return the decision about the waiting tick, now that no job of the schedule is active."""
    draft = _DecisionDraft(schedule, (), now)
    draft.run_waiting()
    return draft.decision(None)


def resume_schedule(
    schedule: CrawlSchedule, now: datetime, skipped: Iterable[Tick] = (), active: Sequence[Job] = ()
) -> TickDecision:
    """Return the decision that resumes a paused schedule, with its next `beat`.

    No past tick fires, except with `Misfire.RUN_ALL`: of *skipped*, its rows since
    `paused_at`, the latest `catch_up` ones that were skipped because of the pause run, subject to
    the overlap policy. Decide due ticks first: those still due would count as not paused.
    """
    instants: list[datetime] = []
    if schedule.misfire is Misfire.RUN_ALL and schedule.paused_at is not None:
        since = schedule.paused_at
        paused_ticks = (t.due_at for t in skipped if t.reason is TickReason.PAUSED)
        since_pause = sorted(due_at for due_at in paused_ticks if due_at >= since)
        instants = since_pause[-schedule.catch_up :]
    resumed = replace(
        schedule,
        paused_at=None,
        paused_by="",
        pause_reason="",
        fresh_beat=schedule.beat + 1,
    )
    draft = _DecisionDraft(resumed, active, now)
    for due_at in instants:
        if draft.runs_left == 0:
            break
        draft.run(draft.make_row(due_at, TickOutcome.CAUGHT_UP, TickReason.LATE))
    decision = draft.decision(None)
    if decision.schedule_after is resumed:
        return replace(decision, schedule_after=replace(resumed, beat=resumed.beat + 1))
    return decision


class _DecisionDraft(Struct):
    """A decision in progress: active jobs and the waiting tick, updated tick by tick."""

    schedule: CrawlSchedule
    active: Sequence[Job]
    now: datetime
    runs_left: int | None = None
    waiting_at: datetime | None = None
    waited_at: datetime | None = None
    ticks: list[Tick] = field(default_factory=list)
    runs: list[Tick] = field(default_factory=list)
    cancels: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs_left, self.waiting_at = self.schedule.runs_left, self.schedule.waiting_at

    def make_row(
        self,
        due_at: datetime,
        outcome: TickOutcome,
        reason: TickReason,
        detail: str = "",
        job_id: str | None = None,
    ) -> Tick:
        """Return the row of a tick in the ledger."""
        return Tick(
            schedule_id=self.schedule.id,
            due_at=due_at,
            outcome=outcome,
            reason=reason,
            detail=detail,
            job_id=job_id,
            decided_at=self.now,
        )

    def add_row(
        self,
        due_at: datetime,
        outcome: TickOutcome,
        reason: TickReason,
        detail: str,
        job_id: str | None = None,
    ) -> None:
        """Add a row to the ledger for a tick that does not run now."""
        self.ticks.append(self.make_row(due_at, outcome, reason, detail, job_id))

    def run(self, run: Tick) -> None:
        """Apply the overlap policy to a run."""
        obstacle, policy = self._find_overlap(), self.schedule.overlap
        if not obstacle or policy is Overlap.ALLOW:
            self._start(run)
        elif policy is Overlap.CANCEL_PREVIOUS:
            self.make_room(run)
            self._start(run)
        elif policy is Overlap.QUEUE and self.waiting_at is None:
            self.waiting_at = run.due_at
            self.add_row(run.due_at, TickOutcome.WAITING, TickReason.OVERLAP, obstacle)
        else:
            if policy is Overlap.QUEUE and self.waiting_at is not None:
                obstacle = f"{obstacle}, and the tick of {_instant_text(self.waiting_at)} waits"
            self.add_row(run.due_at, TickOutcome.SKIPPED, TickReason.OVERLAP, obstacle)

    def make_room(self, run: Tick) -> None:
        """Cancel active jobs; runs and ticks that have not started never start."""
        why = f"for the tick of {_instant_text(run.due_at)}"
        for job in self.active:
            self.cancels.append(job)
            # if the job of a tick was submitted again, the row belongs to the first one
            if job.origin.tick_at is not None and job.retry_of is None:
                self._note_replaced(job.origin.tick_at, f"cancelled {why}", job.id)
        for other in self.runs:
            self._note_replaced(other.due_at, f"never began, {why}")
            if self.runs_left is not None:
                self.runs_left += 1
        if self.waiting_at is not None:
            self._note_replaced(self.waiting_at, f"never began, {why}")
            self.waited_at = self.waiting_at
        self.active, self.runs, self.waiting_at = (), [], None

    def run_waiting(self) -> None:
        """Run the waiting tick if nothing is active."""
        if self.waiting_at is None or self.active:
            return
        due_at, self.waiting_at = self.waiting_at, None
        if self.schedule.paused_at is not None:
            detail = self.schedule.pause_reason
            self.add_row(due_at, TickOutcome.SKIPPED, TickReason.PAUSED, detail)
        elif self.runs_left == 0:
            detail = "the schedule has no runs left"
            self.add_row(due_at, TickOutcome.SKIPPED, TickReason.NO_RUNS, detail)
        else:
            detail = "it waited for the job before"
            self._start(self.make_row(due_at, TickOutcome.RAN, TickReason.OVERLAP, detail))

    def decision(self, decided_to: datetime | None) -> TickDecision:
        """Return the decision; *decided_to* is the last tick that it covers, if any was due."""
        before = self.schedule
        if not self.ticks and not self.runs:
            return TickDecision(schedule_after=before)
        next_at, next_fire_at = before.next_at, before.fire_at
        if decided_to is not None:
            next_at, next_fire_at = find_next_due(before, decided_to)
        has_ended = self.runs_left == 0
        after = replace(
            before,
            runs_left=self.runs_left,
            waiting_at=self.waiting_at,
            decided_to=before.decided_to if decided_to is None else decided_to,
            next_at=None if has_ended else next_at,
            fire_at=None if has_ended else next_fire_at,
            beat=before.beat + 1,
        )
        return TickDecision(
            ticks=tuple(self.ticks),
            runs=tuple(self.runs),
            cancels=tuple(self.cancels),
            schedule_after=after,
            next_at=next_at,
            fire_at=next_fire_at,
            waited_at=self.waited_at,
        )

    def _find_overlap(self) -> str:
        """Return the reason that prevents a run; empty if there is none."""
        if self.active:
            return f"job {self.active[0].id} was {self.active[0].state}"
        return (
            f"the tick of {_instant_text(self.runs[-1].due_at)} ran at the same moment"
            if self.runs
            else ""
        )

    def _start(self, run: Tick) -> None:
        self.runs.append(run)
        if self.runs_left is not None:
            self.runs_left -= 1

    def _note_replaced(self, due_at: datetime, detail: str, job_id: str | None = None) -> None:
        self.add_row(due_at, TickOutcome.REPLACED, TickReason.OVERLAP, detail, job_id)


def _due_ticks(
    schedule: CrawlSchedule, now: datetime, *, early: bool
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the ticks that are due at *now* and not decided yet, each with its `fire_at`.

    With *early*, also those that are only delayed by their jitter.
    """
    due_at = schedule.next_at
    fires_at = None if due_at is None else fire_at(schedule, due_at)
    while due_at is not None and fires_at is not None and (due_at if early else fires_at) <= now:
        yield due_at, fires_at
        due_at, fires_at = find_next_due(schedule, due_at)


def _first_caught_up(schedule: CrawlSchedule, due: int, late: int) -> int:
    """Return the index of the first tick that may be caught up.

    Of the *due* ticks, the first *late* ones are late.
    """
    return {
        Misfire.SKIP: late,
        Misfire.RUN_ONCE: due - 1,
        Misfire.RUN_ALL: late - schedule.catch_up,
    }[schedule.misfire]


def _misfire_detail(schedule: CrawlSchedule) -> str:
    """Return why the misfire policy dropped a tick."""
    if schedule.paused_at is not None:
        return "late runs are dropped while the schedule is paused"
    return {
        Misfire.SKIP: "late runs are dropped",
        Misfire.RUN_ONCE: "only the latest missed run is started",
        Misfire.RUN_ALL: f"only the latest {schedule.catch_up} missed runs are started",
    }[schedule.misfire]


def _instant_text(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
