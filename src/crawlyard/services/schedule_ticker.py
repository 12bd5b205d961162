"""From what is due to what is written: jobs are made, decided ticks go into the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from crawlyard.clock import Clock
from crawlyard.core.event import Event, EventName
from crawlyard.core.form import spec_of
from crawlyard.core.job import DIRECT, Job
from crawlyard.core.lifecycle import Move, State, StateReason
from crawlyard.core.schedule import CrawlSchedule, Tick, TickOutcome, TickReason
from crawlyard.core.ticking import Decision, Run, decide, failures_in_a_row, planned, released
from crawlyard.core.user import Actor
from crawlyard.dispatch.base import Dispatcher
from crawlyard.errors import Conflict, Invalid, NotFound, Refused
from crawlyard.services.jobs import JobManager
from crawlyard.services.templates import TemplateManager
from crawlyard.store.base import Firing, Store

BY = "scheduler"
"""Who acts where no user does."""

TRIES = 8
"""A change that loses a race is read and tried again; more losses mean a bug."""

_MICROSECOND = timedelta(microseconds=1)
_RECOUNT_S = 10.0  # a count reads all jobs of an owner


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerOptions:
    """How much is done at once, and how much may wait."""

    backlog: int = 10_000  # pending jobs of one owner above which his ticks are skipped
    batch: int = 200  # schedules in one transaction
    instants: int = 500  # of all of them, about; others wait while they are written


class Ticker:
    """Fires schedules. Whoever else does so at the same time, each instant is fired once."""

    def __init__(
        self,
        store: Store,
        jobs: JobManager,
        templates: TemplateManager,
        dispatcher: Dispatcher,
        clock: Clock,
        options: TickerOptions,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._templates = templates
        self._dispatcher = dispatcher
        self._clock = clock
        self._options = options
        self._backlog = Backlog(store, clock, options.backlog)

    async def job(
        self, schedule: CrawlSchedule, tick_at: datetime, by: str = BY
    ) -> tuple[Job, Event]:
        """Return a new job of a schedule for the instant *tick_at*, not remembered yet.

        Raises:
            Invalid, NotFound, Forbidden: it cannot be submitted.
        """
        owner = Actor(id=schedule.owner)
        if schedule.template_id is None:
            spec, origin = spec_of(schedule.overrides), DIRECT
        else:
            rendered = await self._templates.render(
                owner,
                schedule.template_id,
                schedule.params,
                schedule.overrides,
                schedule.template_version,
            )
            spec, origin = rendered.spec, rendered.origin
        origin = replace(origin, schedule_id=schedule.id, tick_at=tick_at)
        return self._jobs.prepared(
            owner, replace(spec, name=spec.name or schedule.name), origin=origin, by=by
        )

    async def fire_due(self) -> int:
        """Fire the schedules that are due longest, one batch; return how many we were first with.

        None: nothing is due, or another scheduler is at it.
        """
        now = self._clock.wall()
        due = await self._store.ticks.due(now, self._options.batch)
        if not due:
            return 0
        # the end of a job may have gone unseen: nothing fails once more than it may
        on = [s for s in due if not await self._is_to_be_paused(s)]
        active = await self._store.ticks.active([schedule.id for schedule in on])
        most = max(1, self._options.instants // len(due))
        firings = [await self._firing(s, now, active.get(s.id, ()), most) for s in on]
        won = await self.write(firings)
        await self._pause_failing(firings)
        return won + len(due) - len(on)

    async def fire(self, schedule_id: str) -> None:
        """Fire all that is due of one schedule."""
        while True:
            schedule = await self._store.schedules.get(schedule_id)
            now = self._clock.wall()
            if schedule.fire_at is None or schedule.fire_at > now:
                return
            active = await self._store.ticks.active([schedule_id])
            own = active.get(schedule_id, ())
            firing = await self._firing(schedule, now, own, self._options.instants)
            await self.write([firing])

    async def release(self) -> int:
        """Run ticks whose wait for a job is over; return how many we were first with."""
        waiting = await self._store.ticks.waiting(self._options.batch)
        if not waiting:
            return 0
        now = self._clock.wall()
        firings = [await self.written(s, released(s, now)) for s in waiting]
        won = await self.write(firings)
        await self._pause_failing(firings)
        return won

    async def after_run(self, schedule_id: str) -> None:
        """Do what follows from the end of a schedule's job: release its tick, or pause it."""
        for _ in range(TRIES):
            try:
                schedule = await self._store.schedules.get(schedule_id)
                if await self._pause_if_failing(schedule) or schedule.waiting_at is None:
                    return
            except NotFound:
                return  # it was deleted
            except Conflict:
                continue
            if not await self._store.ticks.active([schedule_id]):
                decision = released(schedule, self._clock.wall())
                await self.write([await self.written(schedule, decision)])
            return

    async def backfill(self, schedule_id: str, instants: Sequence[datetime], by: str) -> list[Tick]:
        """Submit a job for each of *instants* that has none and waits for none; return the rows.

        Raises:
            Invalid, NotFound, Forbidden: as for `job`.
            Conflict: the schedule keeps changing.
        """
        done: list[Tick] = []
        for start in range(0, len(instants), self._options.batch):
            portion = instants[start : start + self._options.batch]
            for _ in range(TRIES):
                firing = await self._backfilling(schedule_id, portion, by)
                if not firing.ticks or await self.write([firing]):
                    done += firing.ticks
                    break
            else:
                raise Conflict(f"schedule {schedule_id} keeps changing; try again")
        return done

    async def write(self, firings: Sequence[Firing]) -> int:
        """Write firings, tell the workers of new jobs, and return how many were the first."""
        first = await self._store.ticks.fire(firings)
        won = [firing for firing, wins in zip(firings, first, strict=True) if wins]
        for firing in won:
            for job, _ in firing.jobs:
                self._dispatcher.announce(job.due_at)
        return len(won)

    async def written(self, schedule: CrawlSchedule, decision: Decision) -> Firing:
        """Return what is to be written of a decision, with a job for each of its runs."""
        now = self._clock.now()
        made: list[tuple[Job, Event]] = []
        ticks: list[Tick] = []
        for run in decision.runs:
            job = await self._made(schedule, run)
            if isinstance(job, _Refusal):
                decision = decision.refused(run, job.reason, job.detail, now)
            else:
                made.append(job)
                ticks.append(run.tick(schedule.id, job[0].id, now))
        ticks += [replace(tick, decided_at=now) for tick in decision.ticks]
        ticks.sort(key=lambda tick: tick.due_at)
        after = decision.schedule_after
        events = [ticked(schedule, tick, BY) for tick in ticks]
        if after.next_at is None and schedule.next_at is not None:
            events.append(told(after, EventName.SCHEDULE_ENDED, now, BY))
        return Firing(
            after=after,
            ticks=tuple(ticks),
            jobs=tuple(made),
            moved=tuple(cancelled(job, now, BY) for job in decision.cancels),
            events=tuple(events),
        )

    async def _firing(
        self, schedule: CrawlSchedule, now: datetime, active: Sequence[Job], most: int
    ) -> Firing:
        """Decide about *most* instants of a schedule that is due; return what is to be written."""
        try:
            decision = decide(schedule, now, active, most)
        except Invalid as error:
            # its zone is no more, say: it must not stand in the way of the others
            return self._broken(schedule, str(error))
        if decision.schedule_after is schedule:
            # what was planned is not due: the rules of its zone have changed since
            after = planned(schedule, (schedule.next_at or now) - _MICROSECOND)
            return Firing(after=replace(after, beat=schedule.beat + 1))
        return await self.written(schedule, decision)

    def _broken(self, schedule: CrawlSchedule, why: str) -> Firing:
        after = replace(
            schedule,
            next_at=None,
            fire_at=None,
            paused_at=self._clock.wall(),
            paused_by=BY,
            pause_reason=why,
            beat=schedule.beat + 1,
        )
        event = told(after, EventName.SCHEDULE_PAUSED, self._clock.now(), BY, reason=why)
        return Firing(after=after, events=(event,))

    async def _backfilling(self, schedule_id: str, instants: Sequence[datetime], by: str) -> Firing:
        schedule = await self._store.schedules.get(schedule_id)
        until = instants[-1] + _MICROSECOND
        known = await self._store.ticks.ticks_between(schedule_id, instants[0], until)
        made: list[tuple[Job, Event]] = []
        ticks: list[Tick] = []
        for at in instants:
            if at not in known or is_open(known[at]):
                job, created = await self.job(schedule, at, by)
                made.append((job, created))
                ticks.append(backfilled(schedule, at, self._clock.now(), job.id))
        return Firing(
            after=replace(schedule, beat=schedule.beat + 1),
            ticks=tuple(ticks),
            jobs=tuple(made),
            events=tuple(ticked(schedule, tick, by) for tick in ticks),
        )

    async def _made(self, schedule: CrawlSchedule, run: Run) -> "tuple[Job, Event] | _Refusal":
        if not await self._backlog.has_room(schedule.owner):
            most = f"{self._options.backlog:,} jobs of {schedule.owner} wait already"
            return _Refusal(TickReason.QUOTA, most)
        try:
            job = await self.job(schedule, run.due_at)
        except Refused as error:
            return _Refusal(TickReason.REFUSED, str(error))
        self._backlog.add(schedule.owner)
        return job

    async def _pause_failing(self, fired: Sequence[Firing]) -> None:
        """Pause those whose jobs are refused as often in a row as they may fail."""
        for firing in fired:
            if any(tick.reason is TickReason.REFUSED for tick in firing.ticks):
                await self.after_run(firing.after.id)

    async def _is_to_be_paused(self, schedule: CrawlSchedule) -> bool:
        """Pause a schedule that is due if its last jobs all failed; tell whether it did."""
        try:
            return await self._pause_if_failing(schedule)
        except Conflict:
            return True  # whoever changed it was faster: it is due no more, or is looked at again

    async def _pause_if_failing(self, schedule: CrawlSchedule) -> bool:
        """Pause a schedule whose last jobs all failed; tell whether that was done.

        Raises:
            Conflict: it has changed meanwhile.
        """
        most = schedule.pause_after
        if most is None or schedule.paused_at is not None:
            return False
        ends = await self._store.ticks.last_ends(schedule.id, schedule.updated_at, most)
        failures = failures_in_a_row(ends)
        if failures < most:
            return False
        now = self._clock.now()
        why = f"{failures} runs in a row have failed"
        paused = replace(
            schedule,
            paused_at=self._clock.wall(),
            paused_by=BY,
            pause_reason=why,
            version=schedule.version + 1,
            beat=schedule.beat + 1,
            updated_at=now,
        )
        event = told(paused, EventName.SCHEDULE_PAUSED, now, BY, reason=why)
        await self._store.schedules.save(paused, event)
        return True


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why an instant gets no job."""

    reason: TickReason
    detail: str


class Backlog:
    """How many more jobs each owner may have waiting; counted now and then, not each time."""

    def __init__(self, store: Store, clock: Clock, most: int) -> None:
        self._store = store
        self._clock = clock
        self._most = most
        self._waiting: dict[str, tuple[float, int]] = {}  # counted when, and what was added since

    async def has_room(self, owner: str) -> bool:
        """Tell whether one more job of *owner* may wait; good to some seconds."""
        now = self._clock.monotonic()
        counted_at, waiting = self._waiting.get(owner, (-_RECOUNT_S, 0))
        if now - counted_at >= _RECOUNT_S:
            counts = await self._store.jobs.counts(owner)
            waiting = sum(n for (state, _), n in counts.items() if state is State.PENDING)
            self._waiting[owner] = (now, waiting)
        return waiting < self._most

    def add(self, owner: str) -> None:
        """Count one more."""
        counted_at, waiting = self._waiting[owner]
        self._waiting[owner] = (counted_at, waiting + 1)


def told(
    schedule: CrawlSchedule, name: EventName, now: datetime, actor: str, **data: object
) -> Event:
    """Return an event about a schedule."""
    return Event(
        name=name,
        subject=schedule.id,
        owner=schedule.owner,
        at=now,
        actor=actor,
        data={"name": schedule.name, "version": schedule.version, **data},
    )


def ticked(schedule: CrawlSchedule, tick: Tick, actor: str) -> Event:
    """Return the event that tells of a tick."""
    return told(
        schedule,
        EventName.SCHEDULE_TICKED,
        tick.decided_at,
        actor,
        due_at=tick.due_at.isoformat(),
        outcome=tick.outcome.value,
        reason=tick.reason.value,
        detail=tick.detail,
        job_id=tick.job_id,
    )


def backfilled(
    schedule: CrawlSchedule, at: datetime, now: datetime, job_id: str | None = None
) -> Tick:
    """Return the row of an instant that is made up for because somebody asked for it."""
    return Tick(
        schedule_id=schedule.id,
        due_at=at,
        outcome=TickOutcome.CAUGHT_UP,
        reason=TickReason.BACKFILL,
        job_id=job_id,
        decided_at=now,
    )


def is_open(tick: Tick) -> bool:
    """Tell whether a tick neither has a job nor waits for one."""
    return tick.job_id is None and tick.outcome is not TickOutcome.WAITING


def cancelled(job: Job, now: datetime, by: str) -> tuple[Job, Event]:
    """Return a job that makes room for the next of its schedule, and the event that tells of it."""
    return job.moved(Move.CANCEL, now, actor=by, reason=StateReason.BY_SCHEDULE)
