"""Schedule service, shared by the library, the command line and the API."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.event import EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.parse import shown
from crawlyard.core.schedules.decision import requested_run, resumed
from crawlyard.core.schedules.planning import never_due, planned
from crawlyard.core.schedules.records import Backfilled, ScheduleDraft
from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap, Tick
from crawlyard.dispatch.base import Dispatcher
from crawlyard.errors import Conflict, Forbidden, IllegalMove, Invalid, check_version
from crawlyard.ids import new_id
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.schedules.backfill import Backfiller
from crawlyard.services.schedules.edits import Edit, check_editable, check_object, check_words
from crawlyard.services.schedules.events import cancelled, ticked, told
from crawlyard.services.schedules.reader import ScheduleReader
from crawlyard.services.schedules.rounds import Rounds
from crawlyard.services.schedules.ticker import TRIES, Ticker, TickerOptions, keeps_changing
from crawlyard.services.templates.manager import TemplateManager
from crawlyard.store.queries import Firing
from crawlyard.store.store import Store

_NOTHING: Mapping[str, object] = {}
_MICROSECOND = timedelta(microseconds=1)


class Scheduler(ScheduleReader):
    """Creates, finds, changes, pauses, runs and deletes schedules, and fires what is due.

    Methods that take an actor apply the access rules: a schedule that the actor may not see
    is `NotFound`, one that they may not change is `Forbidden`. Jobs belong to the owner of
    their schedule, whoever asked for them. If *version* is given, only that version is
    changed: after a concurrent change the call raises `Stale` and writes nothing.
    """

    def __init__(
        self,
        store: Store,
        jobs: JobManager,
        templates: TemplateManager,
        dispatcher: Dispatcher,
        clock: Clock,
        options: TickerOptions | None = None,
    ) -> None:
        super().__init__(store, clock)
        self._templates = templates
        options = options or TickerOptions()
        self._ticker = Ticker(store, jobs, dispatcher, clock, options)
        self._backfills = Backfiller(store, self._ticker, clock)
        self._rounds = Rounds(store, self._ticker, clock)

    async def create(self, actor: Actor, draft: ScheduleDraft) -> CrawlSchedule:
        """Create a schedule owned by the actor, and return it with its first instant.

        Raises:
            Invalid: a field is not valid, its job could not be submitted now, or it would
                never be due.
            NotFound: no such template that the actor may use.
            Forbidden: the actor is read-only, or the job asks for something not granted.
            Conflict: the actor already has a schedule with that name.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may look at schedules, not create them")
        check_words("name", draft.name)
        check_object("params", draft.params)
        check_object("overrides", draft.overrides)
        now, wall = self._clock.now(), self._clock.wall()
        said = {n: getattr(draft, n) for n in draft.__struct_fields__ if n != "template"}
        schedule = CrawlSchedule(
            id=new_id(),
            owner=actor.id,
            template_id=await self._template_id(actor, draft.template),
            trusted=actor.trusted,
            anchored_at=wall,
            created_at=now,
            updated_at=now,
            **said,
        )
        schedule = _planned(schedule, wall)
        await self._ticker.tried(schedule, wall, actor)
        event = told(schedule, EventName.SCHEDULE_CREATED, now, actor.id)
        await self._store.schedules.add(schedule, event)
        self.nudge()
        return schedule

    async def update(
        self,
        actor: Actor,
        schedule_id: str,
        changes: Mapping[str, object],
        *,
        params: Mapping[str, object] = _NOTHING,
        overrides: Mapping[str, object] = _NOTHING,
        unset: Collection[str] = (),
        version: int | None = None,
    ) -> CrawlSchedule:
        """Change fields of a schedule (those of `ScheduleDraft`) and return it.

        *params* and *overrides* are merged into the current ones; *unset* lists paths to
        remove, ``params.NAME`` or a field of the spec. Before a new timetable takes effect,
        every instant that has come by the old one is decided, regardless of jitter.

        Raises:
            Invalid, NotFound, Forbidden, Conflict: as for `create`.
            Stale: as the name says.
        """
        check_editable(changes)
        given = dict(changes)
        if "template" in given:
            given["template_id"] = await self._template_id(actor, given.pop("template"))
        old = await self._changeable(actor, schedule_id, version)
        trusted = actor.vouches_for(old.owner)
        edit = Edit(changes=given, params=params, overrides=overrides, unset=unset, trusted=trusted)

        def change(old: CrawlSchedule, wall: datetime) -> CrawlSchedule:
            new = edit.of(old)
            return _planned(new, wall) if edit.replans else new

        wall = self._clock.wall()
        await self._ticker.tried(change(old, wall), wall, actor, anew=edit.says_what)
        asked = _Change(EventName.SCHEDULE_UPDATED, change, version, replans=edit.replans)
        return await self._change(actor, schedule_id, asked, changed=edit.changed)

    async def toggle(
        self,
        actor: Actor,
        schedule_id: str,
        *,
        enabled: bool,
        reason: str = "",
        version: int | None = None,
    ) -> CrawlSchedule:
        """Pause a schedule with a *reason*, or resume it; return it.

        Nothing changes if it is paused or active already. The ticks of a paused schedule
        are skipped. Once resumed, it continues with its next instant; skipped ticks run
        only if its misfire policy is `run_all`.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """
        if not isinstance(reason, str):
            raise Invalid("reason", f"expected text, got {shown(reason)}")
        schedule = await self._changeable(actor, schedule_id, version)
        if enabled is (schedule.paused_at is None):
            return schedule
        if not enabled:

            def pause(old: CrawlSchedule, wall: datetime) -> CrawlSchedule:
                # wall clock, because it is compared with the instants of ticks
                return replace(old, paused_at=wall, paused_by=actor.id, pause_reason=reason)

            asked = _Change(EventName.SCHEDULE_PAUSED, pause, version)
            return await self._change(actor, schedule_id, asked, reason=reason)
        return await self._resume(actor, schedule_id, version)

    async def run_now(self, actor: Actor, schedule_id: str, *, version: int | None = None) -> Job:
        """Submit a job of a schedule at once, even if it is paused, and return the job.

        This is recorded as a tick at the current instant. `runs_left` stays as it is, and so
        do other ticks, unless `cancel_previous` replaces them.

        Raises:
            NotFound, Forbidden, Invalid: as for `create`.
            Stale: as the name says.
            IllegalMove: another of its jobs has not ended, and the overlap policy allows one
                at a time; `cancel_previous` cancels that job instead.
        """
        for _ in range(TRIES):
            schedule = await self._changeable(actor, schedule_id, version)
            active = (await self._store.ticks.active([schedule_id])).get(schedule_id, ())
            if active and schedule.overlap in {Overlap.SKIP, Overlap.QUEUE}:
                raise IllegalMove(
                    f"job {active[0].id} of schedule {schedule.name} has not ended; "
                    f"cancel it first (crawlyard jobs cancel {active[0].id})"
                )
            firing = await self._running(schedule, active, actor.id)
            if await self._ticker.write([firing]):
                return firing.jobs[0][0]
        raise keeps_changing(schedule_id)

    async def backfill(
        self,
        actor: Actor,
        schedule_id: str,
        since: datetime,
        until: datetime | None = None,
        *,
        dry_run: bool = True,
        version: int | None = None,
    ) -> Backfilled:
        """Submit jobs for the instants in [*since*, *until*) that did not run.

        *until* defaults to now. Due instants are fired first, and any that are still
        undecided then are left to the scheduler. A dry run returns what would happen and
        writes nothing. Instants that ran or wait to run are left as they are. All jobs are
        submitted at once, whatever the overlap policy; the queue and the rate limits of
        hosts spread them out. After an error, jobs already submitted are kept, and a second
        call does the rest.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
            Invalid: the range is empty, reaches beyond now, or has more than
                `MOST_BACKFILLED` instants; or a job cannot be submitted.
            Conflict: the schedule keeps changing.
        """
        schedule = await self._changeable(actor, schedule_id, version)
        if dry_run:
            return await self._backfills.look(schedule, since, until)
        done = await self._backfills.make(schedule, since, until, actor.id, version)
        self.nudge()
        return done

    async def delete(self, actor: Actor, schedule_id: str, *, version: int | None = None) -> None:
        """Delete a schedule with its ledger; the jobs that it submitted are kept.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """
        for _ in range(TRIES):
            schedule = await self._changeable(actor, schedule_id, version)
            event = told(schedule, EventName.SCHEDULE_DELETED, self._clock.now(), actor.id)
            with suppress(Conflict):
                return await self._store.schedules.delete(schedule_id, schedule.version, event)
        raise keeps_changing(schedule_id)

    async def deletable(
        self, actor: Actor, schedule_id: str, *, version: int | None = None
    ) -> tuple[CrawlSchedule, int]:
        """Return the schedule that `delete` would delete, and how many rows its ledger has.

        Raises:
            NotFound, Forbidden, Stale: as for `delete`.
        """
        schedule = await self._changeable(actor, schedule_id, version)
        return schedule, await self._store.schedules.runs(schedule_id)

    async def after_run(self, job: Job) -> None:
        """React to the end of a schedule's job; may be called more than once.

        Pause the schedule if `pause_after` of its jobs have failed in a row; otherwise run
        the tick that waits for the job, if there is one.
        """
        if job.origin.schedule_id is not None and job.state.ended:
            await self._ticker.after_run(job.origin.schedule_id)

    def nudge(self) -> None:
        """Wake `run` in this process after a change."""
        self._rounds.nudge()

    async def round(self) -> timedelta:
        """Do everything that is due; return how long there is nothing to do, barring changes.

        Raises:
            StoreUnavailable: the store is away.
        """
        return await self._rounds.round()

    async def run(self) -> None:
        """Fire what is due, until cancelled. Any number may run at once, on any machines.

        It sleeps until the next schedule fires, notices changes by other processes within
        `rounds.PEEK_EVERY`, and retries while the store is unavailable.
        """
        await self._rounds.run()

    async def _resume(self, actor: Actor, schedule_id: str, version: int | None) -> CrawlSchedule:
        for _ in range(TRIES):
            await self._changeable(actor, schedule_id, version)
            await self._ticker.fire(schedule_id)  # anything due by now is skipped as paused
            schedule = await self._changeable(actor, schedule_id, version)
            if schedule.paused_at is None:
                return schedule
            wall, now = self._clock.wall(), self._clock.now()
            skipped: Mapping[datetime, Tick] = {}
            if schedule.misfire is Misfire.RUN_ALL:
                skipped = await self._store.ticks.ticks_between(
                    schedule_id, schedule.paused_at, wall + _MICROSECOND
                )
            active = await self._store.ticks.active([schedule_id])
            decision = resumed(schedule, wall, skipped.values(), active.get(schedule_id, ()))
            firing = await self._ticker.written(schedule, decision)
            after = firing.after
            if after.next_at is None:
                after = planned(after, wall)
            after = replace(after, version=schedule.version + 1, updated_at=now)
            event = told(after, EventName.SCHEDULE_RESUMED, now, actor.id)
            if await self._ticker.write(
                [replace(firing, after=after, events=(event, *firing.events))]
            ):
                self.nudge()
                return after
        raise keeps_changing(schedule_id)

    async def _running(self, schedule: CrawlSchedule, active: Sequence[Job], by: str) -> Firing:
        """Return what to write to run a schedule now."""
        now, at = self._clock.now(), self._clock.wall()
        # the instants of timetables are whole seconds, so this one cannot clash with them
        while at.microsecond == 0 or await self._store.ticks.ticks_between(
            schedule.id, at, at + _MICROSECOND
        ):
            at += _MICROSECOND
        await self._ticker.check_room(schedule, 1)
        run, decision = requested_run(schedule, at, active, by)
        job, created = await self._ticker.job(schedule, at, by=by)
        replaced = (replace(tick, decided_at=now) for tick in decision.ticks)
        ticks = (*replaced, run.tick(schedule.id, job.id, now))
        return Firing(
            after=decision.schedule_after,
            ticks=ticks,
            jobs=((job, created),),
            moved=tuple(cancelled(old, now, by) for old in decision.cancels),
            events=tuple(ticked(schedule, tick, by) for tick in ticks),
        )

    async def _change(
        self,
        actor: Actor,
        schedule_id: str,
        asked: "_Change",
        **data: object,
    ) -> CrawlSchedule:
        """Apply *asked* to the schedule and save it, retrying after concurrent changes.

        If *asked* replans, all instants up to the moment of the change are decided first.
        """
        for tries in reversed(range(TRIES)):
            old = await self._changeable(actor, schedule_id, asked.version)
            if asked.replans:
                await self._ticker.fire(schedule_id, early=True)
                old = await self._changeable(actor, schedule_id, asked.version)
            now, wall = self._clock.now(), self._clock.wall()
            if asked.replans and old.next_at is not None and old.next_at <= wall:
                continue  # another instant has come since
            new = asked.made_of(old, wall)
            new = replace(new, version=old.version + 1, beat=old.beat + 1, updated_at=now)
            try:
                await self._store.schedules.save(new, told(new, asked.name, now, actor.id, **data))
            except Conflict:
                if not tries:
                    raise
                continue
            self.nudge()
            return new
        raise keeps_changing(schedule_id)

    async def _changeable(
        self, actor: Actor, schedule_id: str, version: int | None = None
    ) -> CrawlSchedule:
        schedule = await self.get(actor, schedule_id)
        if not actor.may_change(schedule.owner):
            raise Forbidden(f"{actor.id} may look at schedule {schedule.name}, not change it")
        check_version(f"schedule {schedule.name}", schedule.version, version)
        return schedule

    async def _template_id(self, actor: Actor, ref: object) -> str | None:
        if ref is None:
            return None
        if not isinstance(ref, str):
            raise Invalid("template", f"expected text, got {shown(ref)}")
        return (await self._templates.resolve(actor, ref)).id


class _Change(Struct, frozen=True):
    """A change to a schedule, and the name of its event."""

    name: EventName
    made_of: Callable[[CrawlSchedule, datetime], CrawlSchedule]
    version: int | None  # the only version to change; None: any
    replans: bool = False  # decide everything due by the old timetable first


def _planned(schedule: CrawlSchedule, now: datetime) -> CrawlSchedule:
    """Return *schedule* with its next instant after *now*.

    Raises:
        Invalid: its timetable is not valid, or never due again; the field is the cause.
    """
    new = planned(schedule, now)
    if new.next_at is None:
        raise never_due(schedule, now)
    return new
