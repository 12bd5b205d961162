"""Schedule service: creates, changes and fires schedules."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.endpoints.endpoint import reply
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.parse import is_list, shown
from crawlyard.core.schedules.decision import requested_run, resumed
from crawlyard.core.schedules.planning import never_due, planned
from crawlyard.core.schedules.schedule import (
    EDITABLE,
    Backfilled,
    CrawlSchedule,
    Misfire,
    Overlap,
    ScheduleDraft,
    Tick,
    ticked,
    told,
)
from crawlyard.core.templates.secrets import HIDDEN
from crawlyard.core.templates.template import check_name
from crawlyard.errors import (
    Conflict,
    Forbidden,
    IllegalMove,
    Invalid,
    StoreUnavailable,
    Version,
)
from crawlyard.ids import new_id
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.services.jobs.submission import Submitter
from crawlyard.services.schedules.backfill import Backfiller
from crawlyard.services.schedules.reader import ScheduleReader
from crawlyard.services.schedules.ticker import (
    TRIES,
    Ticker,
    TickerOptions,
    cancelled,
    keeps_changing,
)
from crawlyard.services.templates.manager import TemplateManager
from crawlyard.store.queries import EventQuery, Firing
from crawlyard.store.store import Store

LOOK_EVERY = timedelta(seconds=5)
"""How long a clock that was set forward, or a missed event, may go unnoticed."""

PEEK_EVERY = timedelta(seconds=1)
"""How long a change by another process may go unnoticed: each change writes an event.

A peek is one query for the newest event number, 0.1 ms on SQLite; a whole round takes four.
"""

_BEHIND = timedelta(milliseconds=20)
_RETRY_EVERY = timedelta(seconds=1)  # while the store is away
_ENDS = EventQuery(names=frozenset({EventName.COMPLETED, EventName.FAILED, EventName.CANCELLED}))
_PORTION = 1000

_REPLANS = frozenset({"when", "zone", "jitter", "starts_at", "ends_at", "runs_left"})
_WHAT = frozenset({"template_id", "template_version", "params", "overrides"})
_DEEPEST = 10  # levels of nested objects and lists
_MICROSECOND = timedelta(microseconds=1)

_log = logging.getLogger(__name__)


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
        submitter: Submitter,
        templates: TemplateManager,
        dispatcher: Dispatcher,
        clock: Clock,
        options: TickerOptions | None = None,
    ) -> None:
        super().__init__(store, clock)
        self._templates = templates
        options = options or TickerOptions()
        self._ticker = Ticker(store, submitter, dispatcher, clock, options)
        self._backfills = Backfiller(store, self._ticker, clock)
        self._nudged = asyncio.Event()
        self._seen: int | None = None  # the seq of the last event that was handled

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
        said = _checked(asdict(draft))
        del said["template"]
        now, wall = self._clock.now(), self._clock.wall()
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
        _check_params(schedule)
        schedule = _planned(schedule, wall)
        await self._ticker.tried(schedule, wall, actor)
        event = told(schedule, EventName.SCHEDULE_CREATED, now, actor.id)
        await self._store.schedules.add(schedule, event)
        self.nudge()
        return schedule

    async def update(
        self,
        actor: Actor,
        ref: str,
        changes: Mapping[str, object],
        *,
        version: Version = None,
    ) -> CrawlSchedule:
        """Change fields of a schedule (those of `ScheduleDraft`) and return it.

        Before a new timetable takes effect, every instant that has come by the old one is
        decided, regardless of jitter.

        Raises:
            Invalid, NotFound, Forbidden, Conflict: as for `create`.
            Stale: as the name says.
        """
        given = _checked(changes)
        if "template" in given:
            given["template_id"] = await self._template_id(actor, given.pop("template"))
        schedule = await self.changeable(actor, ref, version)
        replans, says_what = bool(given.keys() & _REPLANS), bool(given.keys() & _WHAT)
        vouched = actor.vouches_for(schedule.owner) or not says_what

        def change(old: CrawlSchedule, wall: datetime) -> CrawlSchedule:
            fresh_beat = old.fresh_beat
            if given.get("pause_after", old.pause_after) != old.pause_after:
                fresh_beat = old.beat + 1  # restart the count of failures
            trusted = old.trusted and vouched
            new = replace(old, **given, trusted=trusted, fresh_beat=fresh_beat)
            return _planned(new, wall) if replans else new

        wall = self._clock.wall()
        changed = change(schedule, wall)
        if "params" in given:  # older schedules may have some that mean nothing
            _check_params(changed)
        await self._ticker.tried(changed, wall, actor, anew=says_what)
        asked = _Change(EventName.SCHEDULE_UPDATED, change, version, replans=replans)
        return await self._change(actor, schedule.id, asked, changed=sorted(changes))

    async def toggle(
        self,
        actor: Actor,
        ref: str,
        *,
        enabled: bool,
        reason: str = "",
        version: Version = None,
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
        schedule = await self.changeable(actor, ref, version)
        if enabled is (schedule.paused_at is None):
            reply().unchanged = True
            return schedule
        if enabled:
            return await self._resume(actor, schedule.id, version)

        def pause(old: CrawlSchedule, wall: datetime) -> CrawlSchedule:
            # wall clock, because it is compared with the instants of ticks
            return replace(old, paused_at=wall, paused_by=actor.id, pause_reason=reason)

        asked = _Change(EventName.SCHEDULE_PAUSED, pause, version)
        return await self._change(actor, schedule.id, asked, reason=reason)

    async def run_now(self, actor: Actor, ref: str, *, version: Version = None) -> Job:
        """Submit a job of a schedule at once, even if it is paused, and return the job.

        If there is a job with its unique key, that is returned, and nothing is changed. Else
        this is recorded as a tick at the current instant. `runs_left` stays as it is, and so
        do other ticks, unless `cancel_previous` replaces them.

        Raises:
            NotFound, Forbidden, Invalid: as for `create`.
            Stale: as the name says.
            IllegalMove: another of its jobs has not ended, and the overlap policy allows one
                at a time; `cancel_previous` cancels that job instead.
        """
        schedule_id = ref
        for _ in range(TRIES):
            schedule = await self.changeable(actor, schedule_id, version)
            schedule_id = schedule.id  # its name may become another's
            active = (await self._store.ticks.active([schedule.id])).get(schedule.id, ())
            if active and schedule.overlap in {Overlap.SKIP, Overlap.QUEUE}:
                raise IllegalMove(
                    f"job {active[0].id} of schedule {schedule.name} has not ended; "
                    f"cancel it first (crawlyard jobs cancel {active[0].id})"
                )
            firing = await self._running(schedule, active, actor.id)
            existing = await self._ticker.existing(firing.jobs[0][0])
            if existing is not None:
                reply().unchanged = True
                return (await self._store.jobs.get(existing)).job
            if await self._ticker.write([firing]):
                return firing.jobs[0][0]
        raise keeps_changing(ref)

    async def backfill(
        self,
        actor: Actor,
        ref: str,
        since: datetime,
        until: datetime | None = None,
        *,
        dry_run: bool = True,
        version: Version = None,
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
        schedule = await self.changeable(actor, ref, version)
        if dry_run:
            return await self._backfills.look(schedule, since, until)
        done = await self._backfills.make(schedule, since, until, actor.id, version)
        self.nudge()
        return done

    async def delete(self, actor: Actor, ref: str, *, version: Version = None) -> None:
        """Delete a schedule with its ledger; the jobs that it submitted are kept.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """
        schedule_id = ref
        for _ in range(TRIES):
            schedule = await self.changeable(actor, schedule_id, version)
            schedule_id = schedule.id  # its name may become another's
            event = told(schedule, EventName.SCHEDULE_DELETED, self._clock.now(), actor.id)
            with suppress(Conflict):
                return await self._store.schedules.delete(schedule.id, schedule.version, event)
        raise keeps_changing(ref)

    async def deletable(
        self, actor: Actor, ref: str, *, version: Version = None
    ) -> tuple[CrawlSchedule, int]:
        """Return the schedule that `delete` would delete, and how many rows its ledger has.

        Raises:
            NotFound, Forbidden, Stale: as for `delete`.
        """
        schedule = await self.changeable(actor, ref, version)
        return schedule, await self._store.schedules.runs(schedule.id)

    async def after_run(self, job: Job) -> None:
        """React to the end of a schedule's job; may be called more than once.

        Pause the schedule if `pause_after` of its jobs have failed in a row; otherwise run
        the tick that waits for the job, if there is one.
        """
        if job.origin.schedule_id is not None and job.state.ended:
            await self._ticker.after_run(job.origin.schedule_id)

    def nudge(self) -> None:
        """Wake `run` in this process after a change."""
        self._nudged.set()

    async def run(self) -> None:
        """Fire what is due, until cancelled. Any number may run at once, on any machines.

        It sleeps until the next schedule fires, notices changes by other processes within
        `PEEK_EVERY`, and retries while the store is unavailable.
        """
        away = False
        while True:
            # before the round, so that a change during it starts another one
            self._nudged.clear()
            try:
                quiet = await self.round()
                away = False
            except StoreUnavailable as error:
                if not away:
                    _log.warning("the store is away, trying again every second: %s", error)
                quiet, away = _RETRY_EVERY, True
            await self._rest(quiet)

    async def round(self) -> timedelta:
        """Do everything that is due; return how long there is nothing to do, barring changes.

        Raises:
            StoreUnavailable: the store is away.
        """
        await self._follow()
        while await self._ticker.release():
            pass
        while await self._ticker.fire_due():
            pass
        next_at = await self._store.ticks.next_at()
        if next_at is None:
            return LOOK_EVERY
        quiet = next_at - self._clock.wall()
        # anything still due is being fired by another scheduler; check again soon in case it dies
        return min(LOOK_EVERY, quiet if quiet > timedelta(0) else _BEHIND)

    async def _follow(self) -> None:
        """Handle the schedules whose jobs have ended since the last round."""
        last = await self._store.events.last()
        if self._seen is None:
            # Events before the start can be ignored: waiting ticks are found without them, and
            # failures in a row are counted again before the next run.
            self._seen = last
        ended: set[str] = set()
        while self._seen < last:
            portion = await self._store.events.events(_ENDS, self._seen, _PORTION)
            ended |= {str(e.data["schedule_id"]) for e in portion if "schedule_id" in e.data}
            self._seen = portion[-1].seq if len(portion) == _PORTION else last
        for schedule_id in sorted(ended):
            await self._ticker.after_run(schedule_id)

    async def _rest(self, quiet: timedelta) -> None:
        """Return after *quiet*, or earlier on a nudge or a new event."""
        end = self._clock.monotonic() + quiet.total_seconds()
        while (left := timedelta(seconds=end - self._clock.monotonic())) > timedelta(0):
            await self._wait(min(left, PEEK_EVERY))
            if self._nudged.is_set() or await self._has_news():
                return

    async def _has_news(self) -> bool:
        try:
            return await self._store.events.last() != self._seen
        except StoreUnavailable:
            return True  # the round reports it

    async def _wait(self, at_most: timedelta) -> None:
        sleeping = asyncio.ensure_future(self._clock.sleep(at_most))
        nudged = asyncio.ensure_future(self._nudged.wait())
        try:
            await asyncio.wait((sleeping, nudged), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            nudged.cancel()

    async def _resume(self, actor: Actor, schedule_id: str, version: Version) -> CrawlSchedule:
        for _ in range(TRIES):
            await self.changeable(actor, schedule_id, version)
            await self._ticker.fire(schedule_id)  # anything due by now is skipped as paused
            schedule = await self.changeable(actor, schedule_id, version)
            if schedule.paused_at is None:
                reply().unchanged = True
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
        decided = (*decision.ticks, replace(run, job_id=job.id))
        ticks = tuple(replace(tick, decided_at=now) for tick in decided)
        return Firing(
            after=decision.schedule_after,
            ticks=ticks,
            jobs=((job, created),),
            moved=cancelled(decision.cancels, now, by),
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
            old = await self.changeable(actor, schedule_id, asked.version)
            if asked.replans:
                await self._ticker.fire(schedule_id, early=True)
                old = await self.changeable(actor, schedule_id, asked.version)
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
    version: Version  # those that may be changed; None: any
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


def _check_params(schedule: CrawlSchedule) -> None:
    """Check that a schedule has no parameters without a template.

    Raises:
        Invalid: it has.
    """
    if schedule.params and schedule.template_id is None:
        raise Invalid("params", "expected a template that has them")


def _checked(fields: Mapping[str, object]) -> dict[str, Any]:
    """Return *fields* of a `ScheduleDraft`, which may have values of any type.

    Raises:
        Invalid: a name is not such a field, or a value cannot be stored; the field is the path
            of the offending value.
    """
    for part in sorted(fields.keys() - EDITABLE):
        known = ", ".join(sorted(EDITABLE))
        raise Invalid(part, f"cannot be changed in a schedule; what can: {known}")
    if "name" in fields:
        name = fields["name"]
        if not isinstance(name, str):
            raise Invalid("name", f"expected text, got {shown(name)}")
        check_name(name)
    for part in ("params", "overrides"):
        value = fields.get(part, {})
        if not isinstance(value, Mapping):
            raise Invalid(part, f"expected an object, got {shown(value)}")
        _check(part, value, _DEEPEST)
    return dict(fields)


def _check(path: str, value: object, deep: int) -> None:
    if not deep:
        raise Invalid(path, f"expected at most {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise Invalid(path, f"expected names that are text, got {shown(name)}")
            _check(f"{path}.{name}", inner, deep - 1)
    elif is_list(value):
        for index, inner in enumerate(value):
            _check(f"{path}.{index}", inner, deep - 1)
    elif value == HIDDEN:
        expected = f"{HIDDEN} stands for a value that was hidden; give the value itself"
        raise Invalid(path, expected)
    elif not (value is None or isinstance(value, (str, int, float))):
        raise Invalid(path, f"expected what JSON can hold, got {shown(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(path, f"expected a finite number, got {value}")
