"""What becomes of each instant at which a schedule is due: decided here, written elsewhere.

A scheduler reads a schedule, asks `decide`, makes a job of each `Run`, and writes all of
it in one transaction. Until that is written, nothing has happened: whoever decides next
starts from the same stored schedule, so that a crash in between loses and doubles nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.schedule import CrawlSchedule, Misfire, Overlap, Tick, TickOutcome, TickReason
from crawlyard.core.timetable import timetable

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An instant for which a job is to be submitted now, and what its row is to say."""

    due_at: datetime
    outcome: TickOutcome  # RAN or CAUGHT_UP
    reason: TickReason
    detail: str = ""

    def tick(self, schedule_id: str, job_id: str, now: datetime) -> Tick:
        """Return its row of the ledger, once it has its job."""
        return Tick(
            schedule_id=schedule_id,
            due_at=self.due_at,
            outcome=self.outcome,
            reason=self.reason,
            detail=self.detail,
            job_id=job_id,
            decided_at=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be written of one schedule, in one transaction."""

    ticks: tuple[Tick, ...] = ()  # of instants without a run; and of jobs that are replaced
    runs: tuple[Run, ...] = ()  # the earliest first
    cancels: tuple[Job, ...] = ()  # make room for the runs
    schedule_after: CrawlSchedule  # one beat on; the very one that was given if nothing is decided
    next_at: datetime | None = None  # as it would be with runs left
    fire_at: datetime | None = None  # as it would be with runs left

    def refused(self, run: Run, reason: TickReason, detail: str, now: datetime) -> "Decision":
        """Return the decision without *run*, whose job could not be submitted: its row says why.

        It does not count as one of the runs that are left, and if it was the only one
        to be submitted, the jobs that had to make room go on.
        """
        after = self.schedule_after
        if after.runs_left is not None:
            left = after.runs_left + 1
            after = replace(after, runs_left=left, next_at=self.next_at, fire_at=self.fire_at)
        skipped = Tick(
            schedule_id=after.id,
            due_at=run.due_at,
            outcome=TickOutcome.SKIPPED,
            reason=reason,
            detail=detail,
            decided_at=now,
        )
        runs = tuple(other for other in self.runs if other != run)
        spared = frozenset(job.id for job in self.cancels) if not runs else frozenset()
        return replace(
            self,
            ticks=(*(tick for tick in self.ticks if tick.job_id not in spared), skipped),
            runs=runs,
            cancels=self.cancels if runs else (),
            schedule_after=after,
        )


def fire_at(schedule: CrawlSchedule, due_at: datetime) -> datetime:
    """Return when a scheduler is to act on the tick of *due_at*: then, or later by its jitter.

    The delay is a hash of the schedule's id and the instant: the same whoever asks,
    another one for each tick, at most `CrawlSchedule.jitter`, and never up to the tick
    that follows.
    """
    if not schedule.jitter:
        return due_at
    following = timetable(schedule.when, schedule.zone, schedule.anchor).after(due_at)
    most = schedule.jitter if following is None else min(schedule.jitter, following - due_at)
    key = f"{schedule.id} {due_at.astimezone(UTC).isoformat()}"
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    return due_at + timedelta(microseconds=(most // _MICROSECOND) * number // 2**64)


def planned(schedule: CrawlSchedule, now: datetime) -> CrawlSchedule:
    """Return *schedule* with the first instant after *now* as the next at which it is due.

    There is none before `starts_at`, after `ends_at` (at that instant there is), or
    without runs left. For a new or an edited schedule; instants up to *now* that have
    not been decided yet are passed over: decide them first.

    Raises:
        Invalid: of ``when`` or ``zone``.
    """
    next_at, then = _plan(schedule, now)
    if schedule.runs_left == 0:
        next_at = then = None
    return replace(schedule, next_at=next_at, fire_at=then)


def decide(schedule: CrawlSchedule, now: datetime, active: Sequence[Job], limit: int) -> Decision:
    """Return what becomes of the instants that are due at *now*: the earliest *limit* of them.

    *active*: its jobs that have not ended, the oldest first. While ``fire_at`` of
    the schedule after has come as well, there is more to decide.

    - Paused: skipped.
    - In time, by its grace: runs by the overlap policy.
    - Late: by the misfire policy missed, or caught up, which then runs by the overlap policy.

    A run that is decided here counts as active for the ticks behind it. So of several
    that are caught up at once, `Overlap.SKIP` runs the first, `QUEUE` the first and, after
    it, the second, `CANCEL_PREVIOUS` the last, and only `ALLOW` all. A tick that waits runs
    before any other if nothing is active any more.
    """
    late_before = now - schedule.grace
    most = schedule.catch_up if schedule.misfire is Misfire.RUN_ALL else 1
    due = list(islice(_due(schedule, now), limit + most))  # enough to know the last *most*
    late = sum(fires < late_before for _, fires in due)
    made_up_from = {
        Misfire.SKIP: late,
        Misfire.RUN_ONCE: len(due) - 1,
        Misfire.RUN_ALL: late - schedule.catch_up,
    }[schedule.misfire]
    deciding = _Deciding(schedule, active, now)
    if due:
        deciding.release()
    upto = None
    for index, (due_at, fires) in enumerate(due[:limit]):
        if deciding.runs_left == 0:
            break
        upto = due_at
        was_on = schedule.paused_at is None or (index < late and fires < schedule.paused_at)
        if not was_on:
            deciding.note(due_at, TickOutcome.SKIPPED, TickReason.PAUSED, schedule.pause_reason)
        elif index >= late:
            deciding.run(Run(due_at=due_at, outcome=TickOutcome.RAN, reason=TickReason.ON_TIME))
        elif index >= made_up_from and schedule.paused_at is None:
            deciding.run(Run(due_at=due_at, outcome=TickOutcome.CAUGHT_UP, reason=TickReason.LATE))
        else:
            deciding.note(due_at, TickOutcome.MISSED, TickReason.NO_SCHEDULER, _missed(schedule))
    return deciding.decision(upto)


def released(schedule: CrawlSchedule, now: datetime) -> Decision:
    """Return what becomes of the tick that waits, now that no job of the schedule is active."""
    deciding = _Deciding(schedule, (), now)
    deciding.release()
    return deciding.decision(None)


def resumed(
    schedule: CrawlSchedule, now: datetime, skipped: Iterable[Tick] = (), active: Sequence[Job] = ()
) -> Decision:
    """Return the decision that switches a paused schedule on, one beat later.

    Nothing of the past fires, but with `Misfire.RUN_ALL`: of *skipped*, its rows since
    `paused_at`, the latest `catch_up` that were skipped for the pause run by the overlap
    policy. Decide what is due first: what still is would count as not paused.
    """
    instants: list[datetime] = []
    if schedule.misfire is Misfire.RUN_ALL and schedule.paused_at is not None:
        since = schedule.paused_at
        for_pause = (t.due_at for t in skipped if t.reason is TickReason.PAUSED)
        instants = sorted(due_at for due_at in for_pause if due_at >= since)[-schedule.catch_up :]
    on = replace(schedule, paused_at=None, paused_by="", pause_reason="")
    deciding = _Deciding(on, active, now)
    for due_at in instants:
        if deciding.runs_left == 0:
            break
        late = Run(due_at=due_at, outcome=TickOutcome.CAUGHT_UP, reason=TickReason.LATE)
        deciding.run(late)
    decision = deciding.decision(None)
    if decision.schedule_after is on:
        return replace(decision, schedule_after=replace(on, beat=on.beat + 1))
    return decision


def failures_in_a_row(ends: Iterable[State]) -> int:
    """Return how many of the last jobs failed, one after the other.

    *ends*: how they ended, the latest first. A cancelled one tells nothing of the
    site: it neither counts nor ends the row.
    """
    count = 0
    for end in ends:
        if end is State.FAILED:
            count += 1
        elif end is not State.CANCELLED:
            break
    return count


@dataclass(slots=True)
class _Deciding:
    """A decision while it is made: what is active and what waits, tick after tick."""

    schedule: CrawlSchedule
    active: Sequence[Job]
    now: datetime
    runs_left: int | None = field(init=False)
    waiting_at: datetime | None = field(init=False)
    ticks: list[Tick] = field(init=False, default_factory=list)
    runs: list[Run] = field(init=False, default_factory=list)
    cancels: list[Job] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.runs_left, self.waiting_at = self.schedule.runs_left, self.schedule.waiting_at

    def note(
        self,
        due_at: datetime,
        outcome: TickOutcome,
        reason: TickReason,
        detail: str,
        job_id: str | None = None,
    ) -> None:
        """Write a row of the ledger for an instant that does not run now."""
        self.ticks.append(
            Tick(
                schedule_id=self.schedule.id,
                due_at=due_at,
                outcome=outcome,
                reason=reason,
                detail=detail,
                job_id=job_id,
                decided_at=self.now,
            )
        )

    def run(self, run: Run) -> None:
        """Do as the overlap policy says."""
        busy, policy = self._busy(), self.schedule.overlap
        if not busy or policy is Overlap.ALLOW:
            self._start(run)
        elif policy is Overlap.CANCEL_PREVIOUS:
            self._make_room(run)
            self._start(run)
        elif policy is Overlap.QUEUE and self.waiting_at is None:
            self.waiting_at = run.due_at
            self.note(run.due_at, TickOutcome.WAITING, TickReason.OVERLAP, busy)
        else:
            if policy is Overlap.QUEUE and self.waiting_at is not None:
                busy = f"{busy}, and the tick of {_said(self.waiting_at)} waits"
            self.note(run.due_at, TickOutcome.SKIPPED, TickReason.OVERLAP, busy)

    def release(self) -> None:
        """Let the tick that waits have its turn, if nothing is active."""
        if self.waiting_at is None or self.active:
            return
        due_at, self.waiting_at = self.waiting_at, None
        if self.schedule.paused_at is not None:
            detail = self.schedule.pause_reason
            self.note(due_at, TickOutcome.SKIPPED, TickReason.PAUSED, detail)
        elif self.runs_left == 0:
            detail = "the schedule has no runs left"
            self.note(due_at, TickOutcome.SKIPPED, TickReason.REFUSED, detail)
        else:
            detail = "it waited for the job before"
            run = Run(
                due_at=due_at, outcome=TickOutcome.RAN, reason=TickReason.OVERLAP, detail=detail
            )
            self._start(run)

    def decision(self, upto: datetime | None) -> Decision:
        """Return what was decided, of instants up to *upto* if any came."""
        before = self.schedule
        if not self.ticks and not self.runs:
            return Decision(schedule_after=before)
        next_at, then = before.next_at, before.fire_at
        if upto is not None:
            next_at, then = _plan(before, upto)
        ended = self.runs_left == 0
        after = replace(
            before,
            runs_left=self.runs_left,
            waiting_at=self.waiting_at,
            next_at=None if ended else next_at,
            fire_at=None if ended else then,
            beat=before.beat + 1,
        )
        return Decision(
            ticks=tuple(self.ticks),
            runs=tuple(self.runs),
            cancels=tuple(self.cancels),
            schedule_after=after,
            next_at=next_at,
            fire_at=then,
        )

    def _busy(self) -> str:
        """Return what stands in the way of a run, nothing if nothing does."""
        if self.active:
            return f"job {self.active[0].id} was {self.active[0].state}"
        return (
            f"the tick of {_said(self.runs[-1].due_at)} ran at the same moment" if self.runs else ""
        )

    def _start(self, run: Run) -> None:
        self.runs.append(run)
        if self.runs_left is not None:
            self.runs_left -= 1

    def _make_room(self, run: Run) -> None:
        """Cancel what is active; what is to run or waits never begins."""
        why = f"for the tick of {_said(run.due_at)}"
        for job in self.active:
            self.cancels.append(job)
            if job.origin.tick_at is not None:
                self._replaced(job.origin.tick_at, f"cancelled {why}", job.id)
        for other in self.runs:
            self._replaced(other.due_at, f"never began, {why}")
            if self.runs_left is not None:
                self.runs_left += 1
        if self.waiting_at is not None:
            self._replaced(self.waiting_at, f"never began, {why}")
        self.active, self.runs, self.waiting_at = (), [], None

    def _replaced(self, due_at: datetime, detail: str, job_id: str | None = None) -> None:
        self.note(due_at, TickOutcome.REPLACED, TickReason.OVERLAP, detail, job_id)


def _due(schedule: CrawlSchedule, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the instants that are due at *now* and not decided yet, each with its `fire_at`."""
    due_at = schedule.next_at
    fires = None if due_at is None else fire_at(schedule, due_at)
    while due_at is not None and fires is not None and fires <= now:
        yield due_at, fires
        due_at, fires = _plan(schedule, due_at)


def _plan(schedule: CrawlSchedule, instant: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the first instant after *instant* at which it is due, and its `fire_at`."""
    start = instant
    if schedule.starts_at is not None:
        start = max(start, schedule.starts_at - _MICROSECOND)
    due_at = timetable(schedule.when, schedule.zone, schedule.anchor).after(start)
    if due_at is None or (schedule.ends_at is not None and due_at > schedule.ends_at):
        return None, None
    return due_at, fire_at(schedule, due_at)


def _missed(schedule: CrawlSchedule) -> str:
    """Return why the misfire policy let a tick go."""
    if schedule.paused_at is not None:
        return "nothing late runs while the schedule is paused"
    return {
        Misfire.SKIP: "what is late stays missed",
        Misfire.RUN_ONCE: "of the late ones only the latest can run",
        Misfire.RUN_ALL: f"only the latest {schedule.catch_up} are made up for",
    }[schedule.misfire]


def _said(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
