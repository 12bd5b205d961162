"""From what is due to what is written: jobs are made, decided ticks go into the ledger."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.job import DIRECT, Job
from crawlyard.core.jobs.spec_json import spec_of
from crawlyard.core.quantity import counted
from crawlyard.core.schedules.decision import Run, TickDecision, decide, released
from crawlyard.core.schedules.planning import planned
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick, TickReason
from crawlyard.dispatch.base import Dispatcher
from crawlyard.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from crawlyard.services.access.policy import Policy
from crawlyard.services.jobs.making import Making, prepared
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.schedules.backlog import Backlog
from crawlyard.services.schedules.events import BY, cancelled, ticked, told
from crawlyard.services.schedules.failures import Failures
from crawlyard.store.queries import Firing
from crawlyard.store.store import Store

TRIES = 8
"""A change that loses a race is read and tried again; more losses mean a bug."""

_MICROSECOND = timedelta(microseconds=1)

_log = logging.getLogger(__name__)


class TickerOptions(Struct, frozen=True, kw_only=True):
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
        dispatcher: Dispatcher,
        clock: Clock,
        options: TickerOptions,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._dispatcher = dispatcher
        self._clock = clock
        self._options = options
        self._policy = Policy(store)
        self._backlog = Backlog(self._policy, clock, options.backlog)
        self._failures = Failures(store, clock)

    async def job(
        self,
        schedule: CrawlSchedule,
        tick_at: datetime,
        by: str = BY,
        *,
        trusted: bool = True,
        making: Making | None = None,
    ) -> tuple[Job, Event]:
        """Return a new job of a schedule for the instant *tick_at*, not remembered yet.

        Without a grant it may open what was said by one who works on the store's own files,
        unless somebody is asking now who does not: then he is not *trusted*. *making* is shared
        by jobs that are made together.

        Raises:
            Invalid, NotFound, Forbidden: it cannot be submitted.
        """
        making = making or Making.of(self._store, self._clock)
        owner = Actor(id=schedule.owner, trusted=trusted and schedule.trusted)
        if schedule.template_id is None:
            spec, origin = spec_of(schedule.overrides), DIRECT
        else:
            rendered = await making.templates.render(
                owner,
                schedule.template_id,
                schedule.params,
                schedule.overrides,
                schedule.template_version,
            )
            spec, origin = rendered.spec, rendered.origin
        origin = replace(origin, schedule_id=schedule.id, tick_at=tick_at)
        named = replace(spec, name=spec.name or schedule.name)
        return await prepared(making.policy, self._clock, owner, named, origin=origin, by=by)

    async def tried(
        self, schedule: CrawlSchedule, at: datetime, actor: Actor, *, anew: bool = True
    ) -> None:
        """Check that a job of a schedule could be submitted at *at* if *actor* asked for it.

        *anew*: also where its webhooks lead now; at each of its instants it is not waited for
        names to be looked up.

        Raises:
            Invalid, NotFound, Forbidden: it could not.
        """
        job, _ = await self.job(schedule, at, by=actor.id, trusted=actor.trusted)
        if anew:
            await self._jobs.check_receivers(job.spec)

    async def fire_due(self) -> int:
        """Fire the schedules that are due longest, one batch; return how many we were first with.

        None: nothing is due, or another scheduler is at it.
        """
        now = self._clock.wall()
        due = await self._store.ticks.due(now, self._options.batch)
        if not due:
            return 0
        # the end of a job may have gone unseen: nothing fails once more than it may
        on = await self._failures.passed(due)
        active = await self._store.ticks.active([schedule.id for schedule in on])
        most = max(1, self._options.instants // len(due))
        making = Making.of(self._store, self._clock)
        firings = [await self._firing(s, now, active.get(s.id, ()), most, making) for s in on]
        won = await self.write(firings)
        await self._pause_refused(firings)
        return won + len(due) - len(on)

    async def fire(self, schedule_id: str, *, early: bool = False) -> CrawlSchedule:
        """Fire all that is due of one schedule; return it as it is then.

        *early*: also what its jitter delays still.

        Raises:
            Conflict: the schedule keeps changing.
        """
        losses = 0
        while losses < TRIES:
            schedule = await self._store.schedules.get(schedule_id)
            now = self._clock.wall()
            fires_at = schedule.next_at if early else schedule.fire_at
            if fires_at is None or fires_at > now:
                return schedule
            active = await self._store.ticks.active([schedule_id])
            own, most = active.get(schedule_id, ()), self._options.instants
            making = Making.of(self._store, self._clock)
            firing = await self._firing(schedule, now, own, most, making, early=early)
            losses += not await self.write([firing])
        raise keeps_changing(schedule_id)

    async def release(self) -> int:
        """Run ticks whose wait for a job is over; return how many we were first with."""
        waiting = await self._store.ticks.waiting(self._options.batch)
        if not waiting:
            return 0
        now = self._clock.wall()
        making = Making.of(self._store, self._clock)
        firings = [await self.written(s, released(s, now), making) for s in waiting]
        won = await self.write(firings)
        await self._pause_refused(firings)
        return won

    async def after_run(self, schedule_id: str) -> None:
        """Do what follows from the end of a schedule's job: release its tick, or pause it."""
        for _ in range(TRIES):
            try:
                schedule = await self._store.schedules.get(schedule_id)
                if await self._failures.pause_if_failing(schedule) or schedule.waiting_at is None:
                    return
            except NotFound:
                return  # it was deleted
            except Conflict:
                continue
            if not await self._store.ticks.active([schedule_id]):
                decision = released(schedule, self._clock.wall())
                await self.write([await self.written(schedule, decision)])
            return

    async def write(self, firings: Sequence[Firing]) -> int:
        """Write firings, tell the workers of new jobs, and return how many were the first."""
        stamped = [
            replace(f, ticks=tuple(replace(tick, beat=f.after.beat) for tick in f.ticks))
            for f in firings
        ]
        first = await self._store.ticks.fire(stamped)
        won = [firing for firing, wins in zip(firings, first, strict=True) if wins]
        for firing in won:
            for job, _ in firing.jobs:
                self._dispatcher.announce(job.due_at)
        return len(won)

    async def check_room(self, schedule: CrawlSchedule, more: int) -> None:
        """Check that *more* jobs of a schedule may wait.

        Raises:
            QuotaExceeded: as many of its owner's do already.
        """
        await self._policy.check_room(schedule.owner, more)

    async def written(
        self, schedule: CrawlSchedule, decision: TickDecision, making: Making | None = None
    ) -> Firing:
        """Return what is to be written of a decision, with a job for each of its runs."""
        making = making or Making.of(self._store, self._clock)
        now = self._clock.now()
        made: list[tuple[Job, Event]] = []
        ticks: list[Tick] = []
        for run in decision.runs:
            job = await self._made(schedule, run, making)
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
        self,
        schedule: CrawlSchedule,
        now: datetime,
        active: Sequence[Job],
        most: int,
        making: Making,
        *,
        early: bool = False,
    ) -> Firing:
        """Decide about *most* instants of a schedule that is due; return what is to be written.

        One that cannot be decided must not stand in the way of the others: its zone is no
        more, say, or something of its row could not be read.
        """
        if schedule.flaw:
            return self._broken(schedule, schedule.flaw)
        try:
            decision = decide(schedule, now, active, most, early=early)
            if decision.schedule_after is schedule:
                # what was planned is not due: the rules of its zone have changed since
                after = planned(schedule, (schedule.next_at or now) - _MICROSECOND)
                return Firing(after=replace(after, beat=schedule.beat + 1))
        except Invalid as error:
            return self._broken(schedule, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, each round would break of it
            _log.exception("schedule %s cannot be decided", schedule.id)
            return self._broken(schedule, f"{type(error).__name__}: {error}")
        return await self.written(schedule, decision, making)

    def _broken(self, schedule: CrawlSchedule, why: str) -> Firing:
        after = replace(
            schedule,
            next_at=None,
            fire_at=None,
            paused_at=self._clock.wall(),
            paused_by=BY,
            pause_reason=why,
            flaw="",
            beat=schedule.beat + 1,
        )
        event = told(after, EventName.SCHEDULE_PAUSED, self._clock.now(), BY, reason=why)
        return Firing(after=after, events=(event,))

    async def _made(
        self, schedule: CrawlSchedule, run: Run, making: Making
    ) -> "tuple[Job, Event] | _Refusal":
        if not await self._backlog.has_room(schedule.owner):
            most = self._backlog.most(schedule.owner)
            one, many = f"job of {schedule.owner} waits", f"jobs of {schedule.owner} wait"
            return _Refusal(TickReason.QUOTA, f"{counted(most, one, many)} already")
        try:
            job = await self.job(schedule, run.due_at, making=making)
        except (Unavailable, Conflict):
            raise
        except Refused as error:
            return _Refusal(TickReason.REFUSED, str(error))
        except Exception as error:  # noqa: BLE001 - it must not keep the others from running
            _log.exception("schedule %s cannot be made a job of", schedule.id)
            return _Refusal(TickReason.REFUSED, f"{type(error).__name__}: {error}")
        self._backlog.add(schedule.owner)
        return job

    async def _pause_refused(self, fired: Sequence[Firing]) -> None:
        """Pause those whose jobs are refused as often in a row as they may fail."""
        for firing in fired:
            if any(tick.reason is TickReason.REFUSED for tick in firing.ticks):
                await self.after_run(firing.after.id)


class _Refusal(Struct, frozen=True):
    """Why an instant gets no job."""

    reason: TickReason
    detail: str


def keeps_changing(schedule_id: str) -> Conflict:
    """Return what is said after too many races that were lost."""
    return Conflict(f"schedule {schedule_id} keeps changing; try again")
