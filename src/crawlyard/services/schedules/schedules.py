"""Schedules: creation, search, changes and runs, for one user."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, TypeVar, Unpack

from msgspec import UNSET, Meta
from msgspec.structs import replace

from crawlyard.core.access.user import Permit
from crawlyard.core.answer import json_value
from crawlyard.core.endpoints.endpoint import (
    LONGEST_REF,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Instant,
    Limit,
    MustMatch,
    Owner,
    Ref,
    Slice,
    Words,
    composed_method,
    endpoint,
    make_slice,
    reply,
)
from crawlyard.core.events.event import EventName
from crawlyard.core.faults import blaming
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.schedules.answers import (
    AheadOut,
    BackfillOut,
    ConvertedScheduleOut,
    ExpandedScheduleOut,
    ExpandedTickOut,
    ScheduleDeletionOut,
    ScheduleOut,
    TickOut,
    TimetablePreviewOut,
)
from crawlyard.core.schedules.calendar import Calendar, CalendarHours
from crawlyard.core.schedules.planning import ForecastBounds, forecast_of
from crawlyard.core.schedules.schedule import Backfilled, CrawlSchedule, Misfire, Overlap, event_for
from crawlyard.core.schedules.timetable import check_instant, timetable, zone_of
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Conflict, Forbidden, Invalid, NotFound, Version
from crawlyard.ids import new_id
from crawlyard.services.jobs.crawl_form import Crawl, form_with
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.services.jobs.parameters import Reason
from crawlyard.services.noun import parse_expand
from crawlyard.services.schedules.answers import schedule_answer, schedule_answers, tick_ties
from crawlyard.services.schedules.backfill import (
    backfill,
    backfill_in_background,
    check_range,
    plan_backfill,
)
from crawlyard.services.schedules.changes import Edit, check_params, first_planned
from crawlyard.services.schedules.lookup import (
    changeable_schedule,
    is_due,
    next_instants,
    visible_schedules,
)
from crawlyard.services.schedules.results import ScheduleResults
from crawlyard.services.schedules.terms import (
    PARTS,
    Jitter,
    Name,
    NewSchedule,
    ScheduleChanges,
    When,
    Zone,
    changed_fields,
    draft_fields,
)
from crawlyard.services.schedules.ticker import TRIES, keeps_changing
from crawlyard.services.templates.lookup import find_template
from crawlyard.services.templates.templates import Content
from crawlyard.store.queries import ScheduleQuery

T = TypeVar("T")

READ, WRITE = Permit.SCHEDULES_READ, Permit.SCHEDULES_WRITE

MOST_NEXT = 100
"""Runs in one response."""

_PROMPT = timedelta(seconds=10)  # twice the longest time a scheduler takes to see a change

_SECONDS: Mapping[str, str] = {"grace": "grace_s", "jitter": "jitter_s"}
"""Fields of a draft that are parameters in seconds."""

Expand = Annotated[Words, Meta(description="Adds `expanded` with what is named: `recent`.")]
ExpandRun = Annotated[Words, Meta(description="Adds `expanded` with what is named: `job`.")]

_EXPANSIONS = {"recent": Permit.JOBS_READ}
_OF_RUNS = {"job": Permit.JOBS_READ}
_RANGE = {"since": "from", "until": "to"}
_NOTHING: Mapping[str, Any] = {}


class Schedules(ScheduleResults):
    """Creates, finds, changes and runs schedules for one user.

    A *ref* is an id, a name of one's own, or OWNER/NAME. A schedule that they may not see raises
    `NotFound`, and one that they may not change `Forbidden`. With *version*, the change is made
    only if that version is current; otherwise `Stale` is raised.
    """

    @endpoint("GET /schedules", READ, "seq")
    async def list(
        self,
        *,
        expand: Expand = (),
        paused: bool | None = None,
        template: Annotated[str, Meta(max_length=LONGEST_REF)] | None = None,
        owner: Owner | None = None,
        q: Annotated[str, Meta(max_length=500, description="Of name or description.")] = "",
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[ExpandedScheduleOut]:
        """List your schedules and those that others show you, for an admin all, by name."""
        expanded = parse_expand(expand, _EXPANSIONS, self._permits)
        schedule_id, _, name = (cursor or "").partition(" ")
        query = ScheduleQuery(
            owner=self._actor.id if owner == "me" else owner,
            template_id=await self._filter_id(template),
            paused=paused,
            text=q,
            after=(name, schedule_id) if cursor else None,
        )
        store, actor = self._services.store, self._actor
        schedules = await visible_schedules(store, actor, query, limit + 1)
        answers = await schedule_answers(store, actor, schedules[:limit], expanded)
        return make_slice(schedules, limit, lambda s: answers[s.id], lambda s: f"{s.id} {s.name}")

    @composed_method
    async def create(
        self,
        name: str,
        when: str,
        crawl: Crawl = (),
        *,
        zone: str = "UTC",
        description: str = "",
        template: str | None = None,
        template_version: int | None = None,
        params: Mapping[str, Any] = _NOTHING,
        overrides: Mapping[str, Any] = _NOTHING,
        overlap: Overlap = Overlap.SKIP,
        misfire: Misfire = Misfire.RUN_ONCE,
        grace_s: float = 300,
        catch_up: int = 10,
        jitter_s: float = 0,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
        runs_left: int | None = None,
        pause_after: int | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> ScheduleOut:
        """Create a schedule and return it; a worker runs it when it is due.

        *when* is a cron expression, `@daily`, `every 6h`, or `at 2027-01-01T08:00`. *crawl* and
        *options* are those of `jobs.create`: ``create("nightly", "30 2 * * *",
        "https://docs.example.org", max_pages=500)``. With a *template*, they override its values.
        They take precedence over *overrides*.

        Raises:
            Invalid: an option is unknown, a value is out of range, or its job could not be
                submitted now; all faults are named.
        """
        return await self._create(
            name,
            when,
            zone=zone,
            description=description,
            template=template,
            template_version=template_version,
            params=params,
            overrides=form_with({**overrides, **form_with(crawl, {})}, options),
            overlap=overlap,
            misfire=misfire,
            grace_s=grace_s,
            catch_up=catch_up,
            jitter_s=jitter_s,
            starts_at=starts_at,
            ends_at=ends_at,
            runs_left=runs_left,
            pause_after=pause_after,
            idempotency_key=idempotency_key,
        )

    @endpoint(
        "POST /schedules",
        WRITE,
        "404",
        status=201,
        example={
            "name": "nightly",
            "when": "0 3 * * *",
            "zone": "Europe/Berlin",
            "overrides": {"urls": ["https://docs.example.org/"]},
        },
    )
    async def _create(
        self,
        name: Name,
        when: When,
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
        **terms: Unpack[NewSchedule],
    ) -> ScheduleOut:
        """Create a schedule; its job must be one that could be submitted now."""
        actor, now, wall = self._actor, self._services.clock.now(), self._services.clock.wall()
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may view schedules, but not create them")
        with blaming(PARTS, "overrides", _SECONDS):
            fields = draft_fields({"name": name, "when": when, **terms})
            schedule = CrawlSchedule(
                id=new_id(),
                owner=actor.id,
                template_id=await self._template_id(fields.pop("template", None)),
                trusted=actor.trusted,
                anchored_at=wall,
                created_at=now,
                updated_at=now,
                **fields,
            )
            check_params(schedule)
            schedule = first_planned(schedule, wall)
            await self._services.ticker.check_submit(schedule, wall, actor)
            event = event_for(schedule, EventName.SCHEDULE_CREATED, now, actor.id)
            await self._services.store.schedules.add(schedule, event)
        self._services.scheduler.wake()
        return await self._schedule_out(schedule)

    @endpoint(
        "POST /schedules/preview",
        READ,
        example={"when": "0 3 * * mon-fri", "zone": "Europe/Berlin", "count": 3},
    )
    async def preview(
        self,
        when: When,
        *,
        zone: Zone = "UTC",
        count: Annotated[int, Meta(ge=0, le=MOST_NEXT)] = 5,
        jitter_s: Jitter = 0,
        starts_at: Instant | None = None,
        ends_at: Instant | None = None,
    ) -> TimetablePreviewOut:
        """Preview a timetable: its description, next runs, and warnings."""
        for name, instant in (("starts_at", starts_at), ("ends_at", ends_at)):
            if instant is not None:
                check_instant(name, instant)
        now = self._services.clock.wall()
        table = timetable(when, zone, starts_at or now)
        bounds = ForecastBounds(
            starts_at=starts_at, ends_at=ends_at, jitter=timedelta(seconds=jitter_s)
        )
        forecast, place = forecast_of(table, now, count, bounds), zone_of(zone)
        return TimetablePreviewOut.of(
            table, when, place, forecast.instants, now, warnings=forecast.warnings
        )

    @endpoint(
        "POST /schedules/convert",
        READ,
        example={"content": "name: nightly\nwhen: 0 3 * * *\ntemplate: docs\n"},
    )
    async def convert(
        self, content: Content | None = None, **schedule: Unpack[ScheduleChanges]
    ) -> ConvertedScheduleOut:
        """Convert a schedule between fields and the text of a YAML file; pass one of the two.

        Fields may be incomplete, and null is left out; nothing is stored. Credentials are returned
        as sent.
        """
        reply().dry_run = True  # with its credentials, the answer is not kept for a repetition
        if content is not None:
            for name in schedule:
                raise Invalid(name, "expected nothing beside `content`")
        source = json_value(schedule) if content is None else content
        data, text = await self._services.intake.schedule(source, PARTS)
        return ConvertedScheduleOut(schedule=data, content=text)

    @endpoint("GET /schedules/calendar", READ)
    async def calendar(
        self,
        from_: Annotated[Instant | None, Meta(description="Null: now.")] = None,
        to: Annotated[Instant | None, Meta(description="Without it; null: a week on.")] = None,
    ) -> Calendar:
        """List when your schedules are or were due in a range: at most 2,000 instants.

        The default range is a week from now. Past instants come from the ledger, with their
        outcome. If there are more instants, `whole` is false, and all before `until` are listed.
        """
        with blaming((), "", _RANGE):
            return await self._services.calendars.occurrences(self._actor, from_, to)

    @endpoint("GET /schedules/calendar/hours", READ)
    async def hours(
        self,
        from_: Annotated[Instant | None, Meta(description="Null: now.")] = None,
        to: Annotated[Instant | None, Meta(description="Without it; null: a week on.")] = None,
        *,
        zone: Zone = "UTC",
        schedule: Annotated[
            str, Meta(max_length=LONGEST_REF, description="Only this one; null: all.")
        ]
        | None = None,
    ) -> CalendarHours:
        """Count the runs of your schedules in each hour of a range of 31 days at most.

        Past runs are counted by outcome. At most 20,000 planned runs are computed: none is known
        from `until` on.
        """
        with blaming({"zone", "schedule"}, "", _RANGE):
            try:
                only = None if schedule is None else await self._find(schedule)
            except NotFound as error:
                raise Invalid("schedule", str(error)) from None
            return await self._services.calendars.hours(self._actor, from_, to, zone, only)

    @endpoint("GET /schedules/{ref}", READ)
    async def get(self, ref: Ref, *, expand: Expand = ()) -> ExpandedScheduleOut:
        """Return a schedule with its next run."""
        expanded = parse_expand(expand, _EXPANSIONS, self._permits)
        schedule = await self._find(ref)
        store, actor = self._services.store, self._actor
        answers = await schedule_answers(store, actor, [schedule], expanded)
        return answers[schedule.id]

    @endpoint("PATCH /schedules/{ref}", WRITE, example={"when": "every 6h", "pause_after": None})
    async def edit(
        self, ref: Ref, *, version: MustMatch = None, **changes: Unpack[ScheduleChanges]
    ) -> ScheduleOut:
        """Change a schedule: absent fields stay, null removes a value or sets its default.

        With a new timetable, it is next due at the first instant from now.
        """

        async def attempt(old: CrawlSchedule) -> CrawlSchedule | None:
            ticker, clock = self._services.ticker, self._services.clock
            fields = changed_fields(old, changes)
            names = sorted(fields)
            if "template" in fields:
                fields["template_id"] = await self._template_id(fields.pop("template"))
            edit = Edit(fields, self._actor)
            new = edit.of(old, clock.wall())
            await ticker.check_submit(new, clock.wall(), self._actor, anew=edit.changes_crawl)
            if edit.replans:
                # first decide all instants due by the old timetable, including jittered ones
                await ticker.fire(old.id, early=True)
                latest = await self._changeable(old.id, version)
                has_come = latest.next_at is not None and latest.next_at <= clock.wall()
                if has_come or latest.version != old.version:
                    return None
                old, new = latest, edit.of(latest, clock.wall())
            return await self._save(old, new, EventName.SCHEDULE_UPDATED, changed=names)

        with blaming(PARTS, "overrides", _SECONDS):
            return await self._schedule_out(await self._retry_on_race(ref, version, attempt))

    @endpoint("DELETE /schedules/{ref}", WRITE, status=204)
    async def delete(self, ref: Ref, *, version: MustMatch = None) -> None:
        """Delete a schedule with its ledger; the jobs it submitted stay."""

        async def delete(schedule: CrawlSchedule) -> CrawlSchedule | None:
            now, store = self._services.clock.now(), self._services.store.schedules
            event = event_for(schedule, EventName.SCHEDULE_DELETED, now, self._actor.id)
            with suppress(Conflict):
                await store.delete(schedule.id, schedule.version, event)
                return schedule
            return None

        await self._retry_on_race(ref, version, delete)

    @endpoint("GET /schedules/{ref}/deletion", WRITE)
    async def deletable(self, ref: Ref, *, version: IfMatch = None) -> ScheduleDeletionOut:
        """Check that a schedule can be deleted, and return it."""
        schedule = await self._changeable(ref, version)
        runs = await self._services.store.schedules.runs(schedule.id)
        return ScheduleDeletionOut.of(schedule, runs)

    @endpoint(
        "POST /schedules/{ref}/pause",
        WRITE,
        status=202,
        example={"reason": "the site is being moved"},
    )
    async def pause(self, ref: Ref, reason: Reason = "", *, version: IfMatch = None) -> ScheduleOut:
        """Pause a schedule: its instants are skipped until it is resumed."""

        async def pause(schedule: CrawlSchedule) -> CrawlSchedule | None:
            if schedule.paused_at is not None:
                reply().unchanged = True
                return schedule
            # wall clock, because it is compared with the instants of ticks
            wall, by = self._services.clock.wall(), self._actor.id
            paused = replace(schedule, paused_at=wall, paused_by=by, pause_reason=reason)
            return await self._save(schedule, paused, EventName.SCHEDULE_PAUSED, reason=reason)

        return await self._schedule_out(await self._retry_on_race(ref, version, pause, to_run=True))

    @endpoint("POST /schedules/{ref}/resume", WRITE, status=202)
    async def resume(self, ref: Ref, *, version: IfMatch = None) -> ScheduleOut:
        """Resume a paused schedule at its next instant."""
        resume = partial(self._services.ticker.resume, by=self._actor.id)
        schedule = await self._retry_on_race(ref, version, resume, to_run=True)
        self._services.scheduler.wake()
        return await self._schedule_out(schedule)

    @endpoint("POST /schedules/{ref}/run", WRITE, "200", status=201)
    async def run(
        self,
        ref: Ref,
        *,
        version: IfMatch = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> JobOut:
        """Submit a job of a schedule now, even of a paused one; its timetable is unchanged.

        If there is a job with its `unique_key`, that job is returned with 200 instead of 201.
        """
        run_now = partial(self._services.ticker.run_now, by=self._actor.id)
        with blaming(PARTS, "overrides", _SECONDS):
            job_id = await self._retry_on_race(ref, version, run_now, to_run=True)
        reply().location = f"/api/v1/jobs/{job_id}"
        return await Jobs(self._services, self._actor, self._permits).get(job_id)

    @endpoint(
        "POST /schedules/{ref}/backfill",
        WRITE,
        status=202,
        example={"from": "2025-12-01T00:00:00Z", "to": "2025-12-03T00:00:00Z", "dry_run": True},
    )
    async def backfill(
        self,
        ref: Ref,
        from_: Instant,
        to: Annotated[Instant | None, Meta(description="Without this one; null: now.")] = None,
        *,
        dry_run: Annotated[bool, Meta(description="Only say which they are.")] = True,
        version: IfMatch = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> BackfillOut:
        """Backfill the instants of a range that did not run; by default only list them.

        All jobs are submitted at once; the queue spreads them out. More than 200 instants become an
        operation.
        """
        ticker, now = self._services.ticker, self._services.clock.wall()
        until = to or now
        schedule = await self._changeable(ref, version, to_run=True)
        with blaming(PARTS, "overrides", {**_SECONDS, **_RANGE}):
            check_range(from_, until, now)
            if dry_run:
                done = await plan_backfill(ticker, schedule, from_, until)
            else:
                many = await backfill_in_background(
                    self._services.operations, self._actor, schedule, from_, until, version
                )
                if many is not None:
                    reply().location = f"/api/v1/operations/{many.id}"
                    none = Backfilled(dry_run=False, since=from_, until=until, runs=(), kept=0)
                    return BackfillOut.filled(none, operation_id=many.id)
                done = await backfill(ticker, schedule, from_, until, self._actor.id, version)
                self._services.scheduler.wake()
        reply().unchanged, reply().dry_run = dry_run or not done.runs, dry_run
        return BackfillOut.filled(done, operation_id=None)

    @endpoint("GET /schedules/{ref}/runs", READ)
    async def runs(
        self,
        ref: Ref,
        *,
        expand: ExpandRun = (),
        before: Annotated[Instant | None, Meta(description="Only what was due before.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[ExpandedTickOut]:
        """List the outcomes of the instants at which a schedule was due, latest first."""
        expanded = parse_expand(expand, _OF_RUNS, self._permits)
        before = datetime.fromisoformat(cursor) if cursor else before
        schedule = await self._find(ref)
        if before is not None:
            check_instant("before", before)
        ticks = await self._services.store.ticks.ticks(schedule.id, before, limit + 1)
        store, actor = self._services.store, self._actor
        ties = await tick_ties(store, actor, ticks[:limit]) if expanded else {}
        for_others = not actor.may_see(schedule.owner)
        return make_slice(
            ticks,
            limit,
            lambda tick: ExpandedTickOut.filled(
                TickOut.of(tick, for_others=for_others), expanded=ties.get(tick.due_at, UNSET)
            ),
            lambda tick: tick.due_at.isoformat(),
        )

    @endpoint("GET /schedules/{ref}/next", READ)
    async def next(self, ref: Ref, count: Annotated[int, Meta(ge=1, le=MOST_NEXT)] = 5) -> AheadOut:
        """List the next instants at which a schedule is due, even if it is paused."""
        schedule, now = await self._find(ref), self._services.clock.wall()
        overdue_at = schedule.next_at if is_due(schedule, now - _PROMPT) else None
        return AheadOut.of(schedule, overdue_at, next_instants(schedule, now, count), now)

    async def _filter_id(self, ref: str | None) -> str | None:
        """Return the template id that a filter names; an unknown template matches no schedule."""
        if ref is None or is_id(ref):
            return ref and ref.lower()
        try:
            return await self._template_id(ref)
        except NotFound:
            return ref

    async def _template_id(self, ref: str | None) -> str | None:
        if ref is None:
            return None
        return (await find_template(self._services.store, self._actor, ref)).id

    async def _changeable(
        self, ref: str, version: Version, *, to_run: bool = False
    ) -> CrawlSchedule:
        store, actor = self._services.store, self._actor
        return await changeable_schedule(store, actor, ref, version, to_run=to_run)

    async def _retry_on_race(
        self,
        ref: str,
        version: Version,
        attempt: Callable[[CrawlSchedule], Awaitable[T | None]],
        *,
        to_run: bool = False,
    ) -> T:
        """Return the schedule as saved by *attempt*, which returns ``None`` after losing a race."""
        for _ in range(TRIES):
            schedule = await self._changeable(ref, version, to_run=to_run)
            ref = schedule.id  # its name may become another's
            result = await attempt(schedule)
            if result is not None:
                return result
        raise keeps_changing(ref)

    async def _save(
        self, old: CrawlSchedule, new: CrawlSchedule, name: EventName, **data: object
    ) -> CrawlSchedule | None:
        """Save the next version of a schedule; return ``None`` if it changed concurrently."""
        now, store = self._services.clock.now(), self._services.store.schedules
        new = replace(new, version=old.version + 1, beat=old.beat + 1, updated_at=now)
        try:
            await store.save(new, event_for(new, name, now, self._actor.id, **data))
        except Conflict:
            if (await store.get(old.id)).beat == old.beat:
                raise  # its new name is taken
            return None
        self._services.scheduler.wake()
        return new

    async def _schedule_out(self, schedule: CrawlSchedule) -> ScheduleOut:
        return await schedule_answer(self._services.store, self._actor, schedule)
