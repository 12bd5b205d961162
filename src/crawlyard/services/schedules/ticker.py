"""Ticker: fires due schedules, submits their jobs and writes ticks to the ledger."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.endpoints.endpoint import reply
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.job import DIRECT, Job
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.spec_json import spec_of
from crawlyard.core.quantity import count_noun
from crawlyard.core.schedules.decision import (
    TickDecision,
    decide,
    release_waiting,
    request_run,
    resume_schedule,
)
from crawlyard.core.schedules.planning import plan_next
from crawlyard.core.schedules.schedule import (
    BY_ITSELF,
    CrawlSchedule,
    Misfire,
    Overlap,
    Tick,
    TickReason,
    event_for,
    tick_event,
)
from crawlyard.errors import Conflict, IllegalMove, Invalid, NotFound, Refused, Unavailable
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.services.access.policy import Policy
from crawlyard.services.jobs.submission import Submission, Submitter, prepare_job
from crawlyard.services.templates.rendering import render_template
from crawlyard.store.queries import Firing
from crawlyard.store.store import Store

TRIES = 8
"""Attempts per change: after a lost race it is reread and retried; more losses mean a bug."""

_RECOUNT_S = 10.0  # a count reads all jobs of an owner
_MICROSECOND = timedelta(microseconds=1)

_log = logging.getLogger(__name__)


class _ReadOnce:
    """A part of the store whose `get` reads each row once."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self._rows: dict[tuple[Any, ...], Any] = {}

    async def get(self, *key: Any) -> Any:
        """Return a row, or raise `NotFound`, as on the first read."""
        if key not in self._rows:
            try:
                self._rows[key] = await self._part.get(*key)
            except NotFound as error:
                self._rows[key] = error
        row = self._rows[key]
        if isinstance(row, NotFound):
            raise row
        return row


def read_once(store: Store) -> Store:
    """Return *store* with the settings, users and templates of a batch of new jobs read once.

    A thousand schedules of one template that fire in the same second read the template once,
    not a thousand times.
    """
    return store.with_parts(
        settings=_ReadOnce(store.settings),
        users=_ReadOnce(store.users),
        templates=_ReadOnce(store.templates),
    )


class TickerOptions(Struct, frozen=True, kw_only=True):
    """Limits on how much is done at once, and on how many jobs may wait."""

    backlog: int = 10_000  # pending jobs of one owner at which their ticks are skipped
    batch: int = 200  # schedules in one transaction
    instants: int = 500  # in one transaction, roughly; other writers wait meanwhile


class Ticker:
    """Fires schedules; each instant is fired once, however many tickers run concurrently."""

    def __init__(
        self,
        store: Store,
        submitter: Submitter,
        dispatcher: Dispatcher,
        clock: Clock,
        options: TickerOptions,
    ) -> None:
        self.store = store
        self._submitter = submitter
        self._dispatcher = dispatcher
        self.clock = clock
        self._options = options
        self._policy = Policy(store)
        self._backlog = _Backlog(self._policy, clock, options.backlog)
        self._failures = _Failures(store, clock)

    async def job(
        self,
        schedule: CrawlSchedule,
        tick_at: datetime,
        by: str = BY_ITSELF,
        *,
        trusted: bool = True,
        reads: Store | None = None,
    ) -> tuple[Job, Event]:
        """Return a new job of a schedule for the instant *tick_at*; it is not stored yet.

        The job needs no grants if what it crawls was set by someone with access to the store's own
        files, unless the caller lacks that access: then *trusted* is false. Jobs that are made
        together share *reads*, of `read_once`.

        Raises:
            Invalid, NotFound, Forbidden: the job cannot be submitted.
        """
        reads = reads or self.store
        owner = Actor(id=schedule.owner, trusted=trusted and schedule.trusted)
        if schedule.template_id is None:
            spec, origin = spec_of(schedule.overrides), DIRECT
        else:
            rendered = await render_template(
                reads,
                owner,
                schedule.template_id,
                schedule.params,
                schedule.overrides,
                schedule.template_version,
            )
            spec, origin = rendered.spec, rendered.origin
        origin = replace(origin, schedule_id=schedule.id, tick_at=tick_at)
        if spec.since is None:
            spec = replace(spec, since=await self.store.ticks.base(schedule.id, spec.full_every))
        named = replace(spec, name=spec.name or schedule.name)
        return await prepare_job(
            Policy(reads), self.clock, owner, Submission(spec=named, origin=origin), by=by
        )

    async def check_submit(
        self, schedule: CrawlSchedule, at: datetime, actor: Actor, *, anew: bool = True
    ) -> None:
        """Check that a job of a schedule could be submitted at *at* on behalf of *actor*.

        With *anew*, the host names of its webhooks are looked up and checked as well. Ticks
        skip that, so as not to wait for DNS.

        Raises:
            Invalid, NotFound, Forbidden: the job could not be submitted.
        """
        job, _ = await self.job(schedule, at, by=actor.id, trusted=actor.trusted)
        if anew:
            await self._submitter.check_receivers(job.spec)

    async def fire_due(self) -> int:
        """Fire one batch of due schedules, the longest due first; return how many this call fired.

        Schedules that are paused for their failures count. 0: nothing is due, or another
        scheduler is firing it.
        """
        now = self.clock.wall()
        due = await self.store.ticks.find_due(now, self._options.batch)
        if not due:
            return 0
        # the end of a job may have been missed: check the failure limit before each run
        on = await self._failures.pause_failing(due)
        active = await self.store.ticks.active([schedule.id for schedule in on])
        most = max(1, self._options.instants // len(due))
        reads = read_once(self.store)
        firings = [await self._firing(s, now, active.get(s.id, ()), most, reads) for s in on]
        won = await self.write(firings)
        await self._pause_refused(firings)
        return won + len(due) - len(on)

    async def fire(self, schedule_id: str, *, early: bool = False) -> CrawlSchedule:
        """Fire everything that is due of one schedule; return the resulting schedule.

        With *early*, also fire instants that jitter still delays.

        Raises:
            Conflict: the schedule keeps changing.
        """
        losses = 0
        while losses < TRIES:
            schedule = await self.store.schedules.get(schedule_id)
            now = self.clock.wall()
            fires_at = schedule.next_at if early else schedule.fire_at
            if fires_at is None or fires_at > now:
                return schedule
            active = await self.store.ticks.active([schedule_id])
            own, most = active.get(schedule_id, ()), self._options.instants
            reads = read_once(self.store)
            firing = await self._firing(schedule, now, own, most, reads, early=early)
            losses += not await self.write([firing])
        raise keeps_changing(schedule_id)

    async def release(self) -> int:
        """Run waiting ticks whose previous job has ended; return how many this call won."""
        waiting = await self.store.ticks.waiting(self._options.batch)
        if not waiting:
            return 0
        now = self.clock.wall()
        reads = read_once(self.store)
        firings = [await self.build_firing(s, release_waiting(s, now), reads) for s in waiting]
        won = await self.write(firings)
        await self._pause_refused(firings)
        return won

    async def after_run(self, schedule_id: str) -> None:
        """React to the end of a schedule's job: pause the schedule, or release its waiting tick."""
        for _ in range(TRIES):
            try:
                schedule = await self.store.schedules.get(schedule_id)
                if await self._failures.pause_if_failing(schedule) or schedule.waiting_at is None:
                    return
            except NotFound:
                return  # it was deleted
            except Conflict:
                continue
            if not await self.store.ticks.active([schedule_id]):
                decision = release_waiting(schedule, self.clock.wall())
                await self.write([await self.build_firing(schedule, decision)])
            return

    async def write(self, firings: Sequence[Firing]) -> int:
        """Write firings and announce their jobs to workers; return how many won their race."""
        first = await self.store.ticks.fire(firings)
        won = [firing for firing, wins in zip(firings, first, strict=True) if wins]
        for firing in won:
            for job, _ in firing.jobs:
                self._dispatcher.announce(job.due_at)
        return len(won)

    async def check_room(self, schedule: CrawlSchedule, more: int) -> None:
        """Check that *more* jobs of a schedule may wait.

        Raises:
            QuotaExceeded: they would exceed the owner's quota.
        """
        await self._policy.check_room(schedule.owner, more)

    async def build_firing(
        self, schedule: CrawlSchedule, decision: TickDecision, reads: Store | None = None
    ) -> Firing:
        """Return what to write for a decision, with a job for each of its runs."""
        reads = reads or read_once(self.store)
        now = self.clock.now()
        jobs: list[tuple[Job, Event]] = []
        ticks: list[Tick] = []
        for run in decision.runs:
            job = await self._new_job(schedule, run, reads, jobs)
            if isinstance(job, _Refusal):
                decision = decision.without_run(run, job.reason, job.detail, now)
            else:
                jobs.append(job)
                ticks.append(replace(run, job_id=job[0].id))
        ticks = [replace(tick, decided_at=now) for tick in (*ticks, *decision.ticks)]
        ticks.sort(key=lambda tick: tick.due_at)
        after = decision.schedule_after
        events = [tick_event(schedule, tick, BY_ITSELF) for tick in ticks]
        if after.next_at is None and schedule.next_at is not None:
            events.append(event_for(after, EventName.SCHEDULE_ENDED, now, BY_ITSELF))
        return Firing(
            after=after,
            ticks=tuple(ticks),
            jobs=tuple(jobs),
            moved=cancel_jobs(decision.cancels, now, BY_ITSELF),
            events=tuple(events),
        )

    async def run_now(self, schedule: CrawlSchedule, by: str) -> str | None:
        """Submit a job of a schedule now; return its id, ``None`` if another change was faster.

        If there is a job with its unique key, the id of that is returned, and nothing is written.
        `runs_left` stays as it is, and so do other ticks, unless `cancel_previous` replaces them.

        Raises:
            Invalid, NotFound, Forbidden, QuotaExceeded: the job cannot be submitted.
            IllegalMove: another of its jobs has not ended, and the overlap policy allows one
                at a time.
        """
        active = (await self.store.ticks.active([schedule.id])).get(schedule.id, ())
        if active and schedule.overlap in {Overlap.SKIP, Overlap.QUEUE}:
            raise IllegalMove(
                f"job {active[0].id} of schedule {schedule.name} has not ended; cancel it first"
            )
        firing = await self._request(schedule, active, by)
        job, _ = firing.jobs[0]
        existing = await self.existing(job)
        reply().unchanged = existing is not None
        if existing is None and not await self.write([firing]):
            return None
        return existing or job.id

    async def _request(self, schedule: CrawlSchedule, active: Sequence[Job], by: str) -> Firing:
        now, at = self.clock.now(), self.clock.wall()
        # the instants of timetables are whole seconds, so this one cannot clash with them
        while at.microsecond == 0 or await self.store.ticks.ticks_between(
            schedule.id, at, at + _MICROSECOND
        ):
            at += _MICROSECOND
        await self.check_room(schedule, 1)
        run, decision = request_run(schedule, at, active, by)
        job, created = await self.job(schedule, at, by=by)
        decided = (*decision.ticks, replace(run, job_id=job.id))
        ticks = tuple(replace(tick, decided_at=now) for tick in decided)
        return Firing(
            after=decision.schedule_after,
            ticks=ticks,
            jobs=((job, created),),
            moved=cancel_jobs(decision.cancels, now, by),
            events=tuple(tick_event(schedule, tick, by) for tick in ticks),
        )

    async def resume(self, schedule: CrawlSchedule, by: str) -> CrawlSchedule | None:
        """Resume a schedule; return it, ``None`` if another change was faster.

        Nothing changes if it is active. It continues with its next instant; skipped ticks run
        only if its misfire policy is `run_all`.
        """
        if schedule.paused_at is None:
            reply().unchanged = True
            return schedule
        latest = await self.fire(schedule.id)  # anything due by now is skipped as paused
        if latest.version != schedule.version:
            return None
        schedule = latest
        wall, now = self.clock.wall(), self.clock.now()
        skipped: Mapping[datetime, Tick] = {}
        if schedule.misfire is Misfire.RUN_ALL and schedule.paused_at is not None:
            skipped = await self.store.ticks.ticks_between(
                schedule.id, schedule.paused_at, wall + _MICROSECOND
            )
        active = await self.store.ticks.active([schedule.id])
        decision = resume_schedule(schedule, wall, skipped.values(), active.get(schedule.id, ()))
        firing = await self.build_firing(schedule, decision)
        after = firing.after if firing.after.next_at is not None else plan_next(firing.after, wall)
        after = replace(after, version=schedule.version + 1, updated_at=now)
        event = event_for(after, EventName.SCHEDULE_RESUMED, now, by)
        firing = replace(firing, after=after, events=(event, *firing.events))
        return after if await self.write([firing]) else None

    async def _firing(
        self,
        schedule: CrawlSchedule,
        now: datetime,
        active: Sequence[Job],
        most: int,
        reads: Store,
        *,
        early: bool = False,
    ) -> Firing:
        """Decide up to *most* instants of a due schedule; return what to write.

        A schedule that cannot be decided must not block the others: it is paused. Its time
        zone may no longer exist, for example, or part of its row could not be read.
        """
        if schedule.flaw:
            return self._broken(schedule, schedule.flaw)
        try:
            decision = decide(schedule, now, active, most, early=early)
            if decision.schedule_after is schedule:
                # the planned instant is not due: the rules of its time zone have changed since
                after = plan_next(schedule, (schedule.next_at or now) - _MICROSECOND)
                return Firing(after=replace(after, beat=schedule.beat + 1))
        except Invalid as error:
            return self._broken(schedule, str(error))
        except Exception as error:  # noqa: BLE001 - any error would break every round
            _log.exception("schedule %s cannot be decided", schedule.id)
            return self._broken(schedule, f"{type(error).__name__}: {error}")
        return await self.build_firing(schedule, decision, reads)

    def _broken(self, schedule: CrawlSchedule, why: str) -> Firing:
        after = replace(
            schedule,
            next_at=None,
            fire_at=None,
            paused_at=self.clock.wall(),
            paused_by=BY_ITSELF,
            pause_reason=why,
            flaw="",
            beat=schedule.beat + 1,
        )
        event = event_for(after, EventName.SCHEDULE_PAUSED, self.clock.now(), BY_ITSELF, reason=why)
        return Firing(after=after, events=(event,))

    async def new_jobs(
        self, schedule: CrawlSchedule, instants: Sequence[datetime], by: str
    ) -> list[tuple[datetime, tuple[Job, Event]]]:
        """Return a new job for each of *instants*, except where its unique key is taken.

        Raises:
            Invalid, NotFound, Forbidden: a job cannot be submitted.
        """
        jobs: list[tuple[datetime, tuple[Job, Event]]] = []
        reads = read_once(self.store)
        for at in instants:
            new = await self.job(schedule, at, by, reads=reads)
            if await self.existing(new[0], [other for _, other in jobs]) is None:
                jobs.append((at, new))
        return jobs

    async def existing(self, job: Job, jobs: Sequence[tuple[Job, Event]] = ()) -> str | None:
        """Return the id of the job with the unique key of *job*, stored or among *jobs*."""
        key = job.spec.unique_key
        with_key = (other.id for other, _ in jobs if other.spec.unique_key == key)
        if key is None:
            return None
        return next(with_key, None) or await self._submitter.existing(job.owner, key)

    async def _new_job(
        self, schedule: CrawlSchedule, run: Tick, reads: Store, jobs: Sequence[tuple[Job, Event]]
    ) -> "tuple[Job, Event] | _Refusal":
        if not await self._backlog.has_room(schedule.owner):
            most = self._backlog.most(schedule.owner)
            singular, plural = f"job of {schedule.owner} waits", f"jobs of {schedule.owner} wait"
            return _Refusal(TickReason.QUOTA, f"{count_noun(most, singular, plural)} already")
        try:
            job = await self.job(schedule, run.due_at, reads=reads)
        except (Unavailable, Conflict):
            raise
        except Refused as error:
            return _Refusal(TickReason.REFUSED, str(error))
        except Exception as error:  # noqa: BLE001 - one schedule must not block the others
            _log.exception("schedule %s cannot be made a job of", schedule.id)
            return _Refusal(TickReason.REFUSED, f"{type(error).__name__}: {error}")
        if (existing := await self.existing(job[0], jobs)) is not None:
            return _Refusal(TickReason.EXISTS, f"job {existing} has its unique key")
        self._backlog.add(schedule.owner)
        return job

    async def _pause_refused(self, fired: Sequence[Firing]) -> None:
        """Pause schedules that reached their failure limit by a refused job."""
        for firing in fired:
            if any(tick.reason is TickReason.REFUSED for tick in firing.ticks):
                await self.after_run(firing.after.id)


class _Backlog:
    """Counts the pending jobs of each owner, from the store at most every `_RECOUNT_S` seconds."""

    def __init__(self, policy: Policy, clock: Clock, most: int) -> None:
        self._policy = policy
        self._clock = clock
        self._most = most
        self._quotas: dict[str, int] = {}  # limit of each owner, as of the last count
        self._waiting: dict[str, tuple[float, int]] = {}  # when counted, and the count

    def most(self, owner: str) -> int:
        """Return how many jobs of *owner* may wait: the general limit, or their quota if lower."""
        return min(self._most, self._quotas.get(owner, self._most))

    async def has_room(self, owner: str) -> bool:
        """Return whether one more job of *owner* may wait; the count may be some seconds old."""
        now = self._clock.monotonic()
        counted_at, waiting = self._waiting.get(owner, (-_RECOUNT_S, 0))
        if now - counted_at >= _RECOUNT_S:
            waiting = await self._policy.waiting(owner)
            self._waiting[owner] = (now, waiting)
            quota = (await self._policy.quota(owner)).pending
            self._quotas[owner] = self._most if quota is None else quota
        return waiting < self.most(owner)

    def add(self, owner: str) -> None:
        """Count one more job of *owner*."""
        counted_at, waiting = self._waiting[owner]
        self._waiting[owner] = (counted_at, waiting + 1)


class _Failures:
    """Pauses a schedule once its last `pause_after` jobs have all failed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def pause_failing(self, schedules: Sequence[CrawlSchedule]) -> list[CrawlSchedule]:
        """Pause those of *schedules* that fail too often; return the others."""
        failing = await self._failing(schedules)
        for schedule in schedules:
            if schedule.id in failing:
                # it changed concurrently: it is no longer due, or is checked again
                with suppress(Conflict):
                    await self._pause(schedule)
        return [schedule for schedule in schedules if schedule.id not in failing]

    async def pause_if_failing(self, schedule: CrawlSchedule) -> bool:
        """Pause a schedule if its last jobs all failed; return whether it was paused.

        Raises:
            Conflict: it changed concurrently.
        """
        failing = await self._failing([schedule])
        if failing:
            await self._pause(schedule)
        return bool(failing)

    async def _failing(self, schedules: Sequence[CrawlSchedule]) -> set[str]:
        """Return the ids of the schedules to pause; one query per distinct `pause_after`."""
        ids_by_limit: defaultdict[int, list[str]] = defaultdict(list)
        for schedule in schedules:
            if schedule.pause_after is not None and schedule.paused_at is None:
                ids_by_limit[schedule.pause_after].append(schedule.id)
        failing: set[str] = set()
        for most, ids in ids_by_limit.items():
            failure_counts = await self._store.ticks.failures(ids, most)
            failing |= {
                schedule_id for schedule_id, failures in failure_counts.items() if failures >= most
            }
        return failing

    async def _pause(self, schedule: CrawlSchedule) -> None:
        now = self._clock.now()
        why = count_noun(schedule.pause_after or 0, "run has failed", "runs in a row have failed")
        paused = replace(
            schedule,
            paused_at=self._clock.wall(),
            paused_by=BY_ITSELF,
            pause_reason=why,
            version=schedule.version + 1,
            beat=schedule.beat + 1,
            updated_at=now,
        )
        event = event_for(paused, EventName.SCHEDULE_PAUSED, now, BY_ITSELF, reason=why)
        await self._store.schedules.save(paused, event)


class _Refusal(Struct, frozen=True):
    """The reason why an instant gets no job."""

    reason: TickReason
    detail: str


def cancel_jobs(jobs: Iterable[Job], now: datetime, by: str) -> tuple[tuple[Job, Event], ...]:
    """Return jobs, cancelled to make room for the next one of their schedule, and the events."""
    reason = StateReason.BY_SCHEDULE
    return tuple(job.apply_move(Move.CANCEL, now, actor=by, reason=reason) for job in jobs)


def keeps_changing(schedule_id: str) -> Conflict:
    """Return the error for a change that lost too many races."""
    return Conflict(f"schedule {schedule_id} keeps changing; try again")
