"""Schedules, as one user makes, finds, changes and runs them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated, Any, Unpack

from msgspec import UNSET, Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.answer import json_value
from crawlyard.core.crawl.change_answers import RunChangesOut
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
    composed,
    endpoint,
    reply,
    sliced,
)
from crawlyard.core.faults import blaming
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.operations.operation import Operation, OperationKind
from crawlyard.core.schedules.answers import (
    AheadOut,
    BackfillOut,
    ConvertedScheduleOut,
    ExpandedScheduleOut,
    ExpandedTickOut,
    ScheduleDeletionOut,
    ScheduleOut,
    TickJobOut,
    TickOut,
    TickTiesOut,
    TimetablePreviewOut,
)
from crawlyard.core.schedules.calendar import Calendar, CalendarHours
from crawlyard.core.schedules.planning import ForecastBounds, forecast_of
from crawlyard.core.schedules.schedule import (
    CrawlSchedule,
    Misfire,
    Overlap,
    ScheduleDraft,
    Tick,
)
from crawlyard.core.schedules.timetable import check_instant, timetable, zone_of
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Invalid, NotFound, Stale, Version
from crawlyard.export import atom
from crawlyard.services.jobs.crawl_form import Crawl, form_with
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.services.jobs.parameters import Reason, TemplateRef
from crawlyard.services.noun import Noun, expanded_by
from crawlyard.services.schedules.backfill import AT_ONCE, MOST_INSTANTS
from crawlyard.services.schedules.reader import instants_of
from crawlyard.services.schedules.terms import (
    PARTS,
    CatchUp,
    Description,
    Failures,
    Grace,
    Jitter,
    Name,
    Runs,
    ScheduleChanges,
    TemplateVersion,
    When,
    Zone,
    changed_fields,
)
from crawlyard.services.schedules.ticker import TRIES, keeps_changing
from crawlyard.services.templates.templates import Content
from crawlyard.store.queries import ChangeQuery, ScheduleQuery

READ, WRITE = Permit.SCHEDULES_READ, Permit.SCHEDULES_WRITE

MOST_NEXT = 100
"""Runs that are told at once."""

_MOST_ENTRIES = 100  # of a feed

_SECONDS: Mapping[str, str] = {"grace": "grace_s", "jitter": "jitter_s"}
"""Fields of a draft that are parameters in seconds."""

Expand = Annotated[Words, Meta(description="Adds `expanded` with what is named: `recent`.")]
ExpandRun = Annotated[Words, Meta(description="Adds `expanded` with what is named: `job`.")]

_EXPANSIONS = {"recent": Permit.JOBS_READ}
_OF_RUNS = {"job": Permit.JOBS_READ}
_RANGE = {"since": "from", "until": "to"}
_NOTHING: Mapping[str, Any] = {}


class Schedules(Noun):
    """Makes, finds, changes and runs schedules, as far as one user may.

    A *ref* is an id, a name of one's own, or OWNER/NAME. A schedule that they may not see raises
    `NotFound`, and one that they may not change `Forbidden`. With *version*, only that version is
    changed: else `Stale` is raised and nothing is written.
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
        """List your schedules, an admin's all, by name."""
        expanded = expanded_by(expand, _EXPANSIONS, self._permits)
        schedule_id, _, name = (cursor or "").partition(" ")
        query = ScheduleQuery(
            owner=self._actor.id if owner == "me" else owner,
            template_id=await self._template_id(template),
            paused=paused,
            text=q,
            after=(name, schedule_id) if cursor else None,
        )
        hidden = query.owner is not None and not self._actor.may_see(query.owner)
        found: Sequence[CrawlSchedule] = ()
        if not hidden:
            found = await self._services.scheduler.list(self._actor, query, limit + 1)
        shown = await self._expanded(found[:limit], expanded)
        return sliced(found, limit, lambda one: shown[one.id], lambda one: f"{one.id} {one.name}")

    @composed
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
        """Make a schedule of yours, and return it; a worker runs it when it is due.

        *when* is a cron expression, `@daily`, `every 6h`, or `at 2027-01-01T08:00`. *crawl* and
        *options* say what to crawl, as in `jobs.create`:
        ``create("nightly", "30 2 * * *", "https://docs.example.org", max_pages=500)``. With a
        *template*, they say what differs from it. They are put over *overrides*.

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
        zone: Zone = "UTC",
        description: Description = "",
        template: TemplateRef | None = None,
        template_version: TemplateVersion | None = None,
        params: Mapping[str, Any] = _NOTHING,
        overrides: Annotated[
            Mapping[str, Any],
            Meta(
                description="What differs from the template, as in a job; without one: the spec.",
                examples=[{"urls": ["https://docs.example.org/"]}],
            ),
        ] = _NOTHING,
        overlap: Overlap = Overlap.SKIP,
        misfire: Misfire = Misfire.RUN_ONCE,
        grace_s: Grace = 300,
        catch_up: CatchUp = 10,
        jitter_s: Jitter = 0,
        starts_at: Instant | None = None,
        ends_at: Instant | None = None,
        runs_left: Runs | None = None,
        pause_after: Failures | None = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> ScheduleOut:
        """Make a schedule of yours; its job must be one that could be submitted now."""
        draft = ScheduleDraft(
            name=name,
            when=when,
            zone=zone,
            description=description,
            template=template,
            template_version=template_version,
            params=params,
            overrides=overrides,
            overlap=overlap,
            misfire=misfire,
            grace=timedelta(seconds=grace_s),
            catch_up=catch_up,
            jitter=timedelta(seconds=jitter_s),
            starts_at=starts_at,
            ends_at=ends_at,
            runs_left=runs_left,
            pause_after=pause_after,
        )
        with blaming(PARTS, "overrides", _SECONDS):
            return await self._shown(await self._services.scheduler.create(self._actor, draft))

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
        """Tell what a time table means, its next runs, and what to think of before it is kept."""
        for name, instant in (("starts_at", starts_at), ("ends_at", ends_at)):
            if instant is not None:
                check_instant(name, instant)
        now = self._services.clock.wall()
        table = timetable(when, zone, starts_at or now)
        bounds = ForecastBounds(
            starts_at=starts_at, ends_at=ends_at, jitter=timedelta(seconds=jitter_s)
        )
        found = forecast_of(table, now, count, bounds)
        place = zone_of(zone)
        return TimetablePreviewOut.of(
            table, when, place, found.instants, now, warnings=found.warnings
        )

    @endpoint(
        "POST /schedules/convert",
        READ,
        example={"content": "name: nightly\nwhen: 0 3 * * *\ntemplate: docs\n"},
    )
    async def convert(
        self, content: Content | None = None, **schedule: Unpack[ScheduleChanges]
    ) -> ConvertedScheduleOut:
        """Return a schedule both as fields and as the text of a YAML file; give one of the two.

        Fields may be half of a schedule, and what is null is left out; nothing is kept.
        Credentials are answered as sent.
        """
        reply().dry_run = True  # with its credentials, the answer is not kept for a repetition
        if content is not None:
            for name in schedule:
                raise Invalid(name, "expected nothing beside `content`")
        given = json_value(schedule) if content is None else content
        data, text = await self._services.intake.schedule(given, PARTS)
        return ConvertedScheduleOut(schedule=data, content=text)

    @endpoint("GET /schedules/calendar", READ)
    async def calendar(
        self,
        from_: Annotated[Instant | None, Meta(description="Null: now.")] = None,
        to: Annotated[Instant | None, Meta(description="Without it; null: a week on.")] = None,
    ) -> Calendar:
        """Tell when all your schedules are due in a range, or were: at most 2,000 instants.

        By default from now on, and for a week. What was due comes from the ledger, with what
        became of it. If there are more, it is not `whole`: all before `until` are there.
        """
        with blaming((), "", _RANGE):
            return await self._services.scheduler.calendar(self._actor, from_, to)

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

        What was due is counted by what became of it. Of what is to come, at most 20,000 runs are
        computed: none is known from `until` on.
        """
        with blaming({"zone", "schedule"}, "", _RANGE):
            try:
                return await self._services.scheduler.hours(
                    self._actor, from_, to, zone=zone, ref=schedule
                )
            except NotFound as error:
                raise Invalid("schedule", str(error)) from None

    @endpoint("GET /schedules/{ref}", READ)
    async def get(self, ref: Ref, *, expand: Expand = ()) -> ExpandedScheduleOut:
        """Return a schedule."""
        expanded = expanded_by(expand, _EXPANSIONS, self._permits)
        schedule = await self._services.scheduler.get(self._actor, ref)
        return (await self._expanded([schedule], expanded))[schedule.id]

    @endpoint("PATCH /schedules/{ref}", WRITE, example={"when": "every 6h", "pause_after": None})
    async def edit(
        self, ref: Ref, *, version: MustMatch = None, **changes: Unpack[ScheduleChanges]
    ) -> ScheduleOut:
        """Change a schedule: what is absent stays, null takes a value away or sets its default.

        With another time table it is due next at the first instant from now on.
        """
        scheduler = self._services.scheduler
        for _ in range(TRIES):
            old = await scheduler.changeable(self._actor, ref, version)
            ref = old.id  # its name may become another's
            # params and overrides are merged into those of this version: of no other
            with suppress(Stale), blaming(PARTS, "overrides", _SECONDS):
                new = await scheduler.update(
                    self._actor, ref, changed_fields(old, changes), version=old.version
                )
                return await self._shown(new)
        raise keeps_changing(ref)

    @endpoint("DELETE /schedules/{ref}", WRITE, status=204)
    async def delete(self, ref: Ref, *, version: MustMatch = None) -> None:
        """Delete a schedule with its ledger; jobs that it has submitted stay."""
        await self._services.scheduler.delete(self._actor, ref, version=version)

    @endpoint("GET /schedules/{ref}/deletion", WRITE)
    async def deletable(self, ref: Ref, *, version: IfMatch = None) -> ScheduleDeletionOut:
        """Return what deleting a schedule would delete, or refuse as that would be."""
        found = await self._services.scheduler.deletable(self._actor, ref, version=version)
        return ScheduleDeletionOut.of(*found)

    @endpoint(
        "POST /schedules/{ref}/pause",
        WRITE,
        status=202,
        example={"reason": "the site is being moved"},
    )
    async def pause(self, ref: Ref, reason: Reason = "", *, version: IfMatch = None) -> ScheduleOut:
        """Hold a schedule: its instants are skipped until it is resumed."""
        schedule = await self._services.scheduler.toggle(
            self._actor, ref, enabled=False, reason=reason, version=version
        )
        return await self._shown(schedule)

    @endpoint("POST /schedules/{ref}/resume", WRITE, status=202)
    async def resume(self, ref: Ref, *, version: IfMatch = None) -> ScheduleOut:
        """Let a paused schedule go on with its next instant."""
        schedule = await self._services.scheduler.toggle(
            self._actor, ref, enabled=True, version=version
        )
        return await self._shown(schedule)

    @endpoint("POST /schedules/{ref}/run", WRITE, "200", status=201)
    async def run(
        self,
        ref: Ref,
        *,
        version: IfMatch = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> JobOut:
        """Submit a job of a schedule now, of a paused one too; its time table stays as it is.

        If there is a job with its `unique_key`, that job is the answer, with 200 instead of 201.
        """
        with blaming(PARTS, "overrides", _SECONDS):
            job = await self._services.scheduler.run_now(self._actor, ref, version=version)
        reply().location = f"/api/v1/jobs/{job.id}"
        return await Jobs(self._services, self._actor, self._permits).get(job.id)

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
        """Make up for the instants of a range that did not run; by default only say which.

        All jobs are submitted at once; the queue holds them apart. More than 200 instants are
        made up for by an operation.
        """
        until = to or self._services.clock.wall()
        schedule = await self._services.scheduler.changeable(self._actor, ref, version)
        with blaming(PARTS, "overrides", {**_SECONDS, **_RANGE}):
            if not dry_run:
                many = await self._in_background(schedule, from_, until, version)
                if many is not None:
                    reply().location = f"/api/v1/operations/{many.id}"
                    return BackfillOut(
                        dry_run=False,
                        since=from_,
                        until=until,
                        runs=(),
                        kept=0,
                        operation_id=many.id,
                    )
            done = await self._services.scheduler.backfill(
                self._actor, schedule.id, from_, until, dry_run=dry_run, version=version
            )
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
        """List what became of the instants at which a schedule was due, the latest first."""
        expanded = expanded_by(expand, _OF_RUNS, self._permits)
        before = datetime.fromisoformat(cursor) if cursor else before
        found = await self._services.scheduler.runs(self._actor, ref, before, limit + 1)
        ties = await self._ties(found[:limit]) if expanded else {}
        return sliced(
            found,
            limit,
            lambda tick: ExpandedTickOut.filled(
                TickOut.of(tick), expanded=ties.get(tick.due_at, UNSET)
            ),
            lambda tick: tick.due_at.isoformat(),
        )

    async def _ties(self, ticks: Sequence[Tick]) -> Mapping[datetime, TickTiesOut]:
        """Return how far the jobs of ticks came, and what they changed."""
        store = self._services.store
        ids = {tick.job_id for tick in ticks if tick.job_id is not None}
        facts, changed = await store.ticks.runs(ids), await store.changes.runs(ids)
        jobs = {key: TickJobOut.of(one, changed.get(key)) for key, one in facts.items()}
        return {tick.due_at: TickTiesOut.of(tick, jobs.get(tick.job_id or "")) for tick in ticks}

    @endpoint("GET /schedules/{ref}/changes", READ)
    async def changes(
        self, ref: Ref, *, limit: Limit = 20, cursor: Cursor = None
    ) -> Slice[RunChangesOut]:
        """List the runs of a schedule, the newest first, and how many pages each has changed.

        A run is compared once, when it has ended, with the one before it that was completed.
        `GET /changes` has the pages.
        """
        schedule = await self._services.scheduler.get(self._actor, ref)
        found = await self._services.changes.runs(schedule.id, limit + 1, cursor)
        return sliced(found, limit, lambda one: RunChangesOut.of(*one), lambda one: one[0].id)

    @endpoint("GET /schedules/{ref}/changes.atom", Permit.RESULTS_READ, "file", group="results")
    async def changes_feed(self, ref: Ref) -> str:
        """Return the newest 100 pages that runs of a schedule have changed, as an Atom feed."""
        schedule = await self._services.scheduler.get(self._actor, ref)
        store = self._services.store.changes
        query = ChangeQuery(schedule_id=schedule.id, newest_first=True)
        found = await store.changes(query, _MOST_ENTRIES)
        runs = await store.runs({change.job_id for change in found})
        return atom.feed(schedule, found, runs, self._services.settings.public_url)

    @endpoint("GET /schedules/{ref}/next", READ)
    async def next(self, ref: Ref, count: Annotated[int, Meta(ge=1, le=MOST_NEXT)] = 5) -> AheadOut:
        """Tell the next instants at which a schedule is due, of a paused one as if it were on."""
        scheduler = self._services.scheduler
        schedule = await scheduler.get(self._actor, ref)
        instants = await scheduler.next_runs(self._actor, schedule.id, count)
        now = self._services.clock.wall()
        return AheadOut.of(schedule, scheduler.overdue(schedule), instants, now)

    async def _in_background(
        self, schedule: CrawlSchedule, since: datetime, until: datetime, version: Version
    ) -> Operation | None:
        """Start an operation that backfills a range with many instants.

        It fails once the schedule is no longer at the *version* that was meant. Return ``None``
        if `Scheduler.backfill` is to do it, or to say what is wrong.

        Raises:
            Invalid: there are more than `MOST_INSTANTS`, or they are outside of supported years.
        """
        check_instant("since", since)
        check_instant("until", until)
        if not since < until <= self._services.clock.wall():
            return None
        count = sum(1 for _ in instants_of(schedule, since, until, MOST_INSTANTS + 1))
        if count <= AT_ONCE:
            return None
        if count > MOST_INSTANTS:
            raise Invalid("since", f"expected at most {MOST_INSTANTS:,} instants; narrow it")
        request: dict[str, object] = {
            "schedule_id": schedule.id,
            "since": since.isoformat(),
            "until": until.isoformat(),
        }
        if version is not None:
            request["version"] = schedule.version
        start = self._services.operations.start
        return await start(self._actor, OperationKind.BACKFILL, request, count)

    async def _template_id(self, ref: str | None) -> str | None:
        """Return the id that a filter means; of a template that is not there, no schedule is."""
        if ref is None or is_id(ref):
            return ref and ref.lower()
        try:
            return (await self._services.templates.resolve(self._actor, ref)).id
        except NotFound:
            return ref

    async def _shown(self, schedule: CrawlSchedule) -> ScheduleOut:
        secret = await self._services.scheduler.secret_params([schedule])
        return ScheduleOut.of(schedule, secret[schedule.id])

    async def _expanded(
        self, schedules: Sequence[CrawlSchedule], expanded: frozenset[str]
    ) -> Mapping[str, ExpandedScheduleOut]:
        """Return schedules as they are shown, by id, with what is to be added to them."""
        scheduler = self._services.scheduler
        secret = await scheduler.secret_params(schedules)
        shown = {one.id: ScheduleOut.of(one, secret[one.id]) for one in schedules}
        if "recent" not in expanded:
            return {key: ExpandedScheduleOut.with_recent(one, None) for key, one in shown.items()}
        recent = await scheduler.recent(self._actor, schedules)
        return {
            key: ExpandedScheduleOut.with_recent(one, recent.get(key, ()))
            for key, one in shown.items()
        }
