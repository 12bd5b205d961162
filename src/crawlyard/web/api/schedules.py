"""Schedules: when crawls are run again, and what became of it."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, Security

from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.answers.base import LONGEST_REF
from crawlyard.core.answers.deletions import ScheduleDeletionOut
from crawlyard.core.answers.jobs.expanded import ExpandedScheduleOut
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.core.answers.schedules.schedule_looks import TimetablePreviewOut
from crawlyard.core.answers.schedules.schedules import (
    AheadOut,
    BackfillOut,
    CalendarOut,
    ScheduleOut,
    TickOut,
)
from crawlyard.core.blame import blaming
from crawlyard.core.schedules.forecast import ForecastBounds, forecast_of
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.schedules.timetable import timetable
from crawlyard.core.templates.template import is_id
from crawlyard.errors import NotFound
from crawlyard.services.surface import Surface
from crawlyard.store.queries import ScheduleQuery
from crawlyard.web.asking import ReadsSchedules, SiteOf, WritesSchedules, caller_of
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import expected_version, tag_of, unchanged
from crawlyard.web.expanding import ScheduleExpansion
from crawlyard.web.live.begin import BEGINS_STREAM
from crawlyard.web.paging import Pages
from crawlyard.web.refs import Ref
from crawlyard.web.rehearsing import DryRun, told, would
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.schedules.schedule_asks import (
    FIELDS,
    MOST_NEXT,
    AskedInstant,
    BackfillAsk,
    PauseAsk,
    PreviewAsk,
    ScheduleAsk,
    SchedulePatch,
)

router = APIRouter(prefix="/schedules", tags=["schedules"], route_class=Route)

_READS = [Security(caller_of, scopes=[Permit.SCHEDULES_READ.value])]
_NO_REASON = PauseAsk()
_AHEAD = timedelta(days=7)
_OWN = frozenset(ScheduleAsk.model_fields)
_RANGE = {"since": "from", "until": "to"}


@router.get("", responses=problems(401, 403, 422), dependencies=[BEGINS_STREAM])
async def list_(
    actor: ReadsSchedules,
    site: SiteOf,
    pages: Pages,
    expand: ScheduleExpansion,
    paused: Annotated[bool | None, Query()] = None,
    template: Annotated[str | None, Query(max_length=LONGEST_REF)] = None,
    owner: Annotated[str | None, Query(max_length=64, description="`me`, or a user.")] = None,
    q: Annotated[str, Query(max_length=500, description="Of name or description.")] = "",
) -> ListOut[ScheduleOut] | ListOut[ExpandedScheduleOut]:
    """List your schedules, an admin's all, by name."""
    query = ScheduleQuery(
        owner=actor.id if owner == "me" else owner,
        template_id=await _template_id(site, actor, template),
        paused=paused,
        text=q,
        after=(str(pages.position[0]), str(pages.position[1])) if pages.position else None,
    )
    hidden = query.owner is not None and not actor.may_see(query.owner)
    found = () if hidden else await site.yard.scheduler.list(actor, query, pages.more)
    listed = found[: pages.limit]
    secret = await site.yard.scheduler.secret_params(listed)
    shown = {one.id: ScheduleOut.of(one, secret[one.id]) for one in listed}
    if expand:
        recent = await site.yard.scheduler.recent(actor, listed)
        shown = {
            key: ExpandedScheduleOut.with_recent(shape, recent.get(key, ()))
            for key, shape in shown.items()
        }
    return pages.page(found, lambda one: shown[one.id], lambda one: [one.name, one.id])


@router.post("", status_code=201, responses=problems(401, 403, 404, 409, 422))
async def create(
    ask: ScheduleAsk, actor: WritesSchedules, site: SiteOf, response: Response
) -> ScheduleOut:
    """Make a schedule of yours; its job must be one that could be submitted now."""
    with blaming(_OWN, "overrides", FIELDS):
        schedule = await site.yard.scheduler.create(actor, ask.draft())
    response.headers["Location"] = f"/api/v1/schedules/{schedule.id}"
    return await _out(site, schedule, response)


@router.post("/preview", responses=problems(401, 403, 422), dependencies=_READS)
async def preview(ask: PreviewAsk, site: SiteOf) -> TimetablePreviewOut:
    """Tell what a time table means, its next runs, and what to think of before it is kept."""
    now = site.yard.clock.wall()
    table = timetable(ask.when, ask.zone, ask.starts_at or now)
    bounds = ForecastBounds(
        starts_at=ask.starts_at, ends_at=ask.ends_at, jitter=timedelta(seconds=ask.jitter_s)
    )
    found = forecast_of(table, now, ask.count, bounds)
    return TimetablePreviewOut.looked(table, ask.when, ask.zone, found, now)


@router.get("/calendar", responses=problems(401, 403, 422))
async def calendar(
    actor: ReadsSchedules,
    site: SiteOf,
    since: Annotated[AskedInstant | None, Query(alias="from", description="Null: now.")] = None,
    until: Annotated[
        AskedInstant | None, Query(alias="to", description="Without it; null: a week on.")
    ] = None,
) -> CalendarOut:
    """Tell when all your schedules are due in a range: at most 2,000 instants, or not `whole`."""
    start = since or site.yard.clock.wall()
    with blaming((), "", _RANGE):
        found = await site.yard.scheduler.calendar(actor, start, until or start + _AHEAD)
    return CalendarOut.of(found)


@router.get(
    "/{ref}",
    response_model=ScheduleOut,
    responses=problems(401, 403, 404, 422) | NOT_MODIFIED,
)
async def get(
    ref: Ref, actor: ReadsSchedules, site: SiteOf, request: Request, response: Response
) -> ScheduleOut | Response:
    """Return a schedule."""
    schedule = await _found(site, actor, ref)
    same = unchanged(request, response, _tag(schedule))
    return same or await _shown(site, schedule)


@router.patch("/{ref}", responses=problems(401, 403, 404, 409, 412, 422, 428))
async def patch(
    ref: Ref,
    ask: SchedulePatch,
    actor: WritesSchedules,
    site: SiteOf,
    request: Request,
    response: Response,
) -> ScheduleOut:
    """Change a schedule: what is absent stays, null takes a value away or sets its default.

    With another time table it is due next at the first instant from now on.
    """
    old, version = await _guarded(site, actor, ref, request, required=True)
    with blaming(_OWN, "overrides", FIELDS):
        schedule = await site.yard.scheduler.update(
            actor, old.id, ask.changes(old), version=version
        )
    return await _out(site, schedule, response)


@router.delete(
    "/{ref}",
    status_code=204,
    response_model=None,
    responses=problems(401, 403, 404, 409, 412, 428) | would(ScheduleDeletionOut),
)
async def delete(
    ref: Ref, actor: WritesSchedules, site: SiteOf, request: Request, *, dry_run: DryRun = False
) -> Response:
    """Delete a schedule with its ledger; jobs that it has submitted stay."""
    scheduler = site.yard.scheduler
    schedule, version = await _guarded(site, actor, ref, request, required=not dry_run)
    if dry_run:
        found = await scheduler.deletable(actor, schedule.id, version=version)
        return told(ScheduleDeletionOut.of(*found))
    await scheduler.delete(actor, schedule.id, version=version)
    return Response(status_code=204)


@router.post("/{ref}/pause", status_code=202, responses=problems(401, 403, 404, 409, 412, 422))
async def pause(
    ref: Ref,
    actor: WritesSchedules,
    site: SiteOf,
    request: Request,
    response: Response,
    ask: PauseAsk = _NO_REASON,
) -> ScheduleOut:
    """Hold a schedule: its instants are skipped until it is resumed."""
    old, version = await _guarded(site, actor, ref, request)
    new = await site.yard.scheduler.toggle(
        actor, old.id, enabled=False, reason=ask.reason, version=version
    )
    return await _moved(site, old, new, response)


@router.post("/{ref}/resume", status_code=202, responses=problems(401, 403, 404, 409, 412))
async def resume(
    ref: Ref, actor: WritesSchedules, site: SiteOf, request: Request, response: Response
) -> ScheduleOut:
    """Let a paused schedule go on with its next instant."""
    old, version = await _guarded(site, actor, ref, request)
    new = await site.yard.scheduler.toggle(actor, old.id, enabled=True, version=version)
    return await _moved(site, old, new, response)


@router.post("/{ref}/run", status_code=201, responses=problems(401, 403, 404, 409, 412, 422, 429))
async def run(
    ref: Ref, actor: WritesSchedules, site: SiteOf, request: Request, response: Response
) -> JobOut:
    """Submit a job of a schedule now, of a paused one too; its time table stays as it is."""
    schedule, version = await _guarded(site, actor, ref, request)
    with blaming(_OWN, "overrides", FIELDS):
        job = await site.yard.scheduler.run_now(actor, schedule.id, version=version)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    shown = await Surface(site.yard.services, actor).jobs.get(job.id)
    response.headers["ETag"] = tag_of(shown.version, shown.beat)
    return shown


@router.post(
    "/{ref}/backfill", status_code=202, responses=problems(401, 403, 404, 409, 412, 422, 429)
)
async def backfill(
    ref: Ref,
    ask: BackfillAsk,
    actor: WritesSchedules,
    site: SiteOf,
    request: Request,
    response: Response,
) -> BackfillOut:
    """Make up for the instants of a range that did not run; by default only say which.

    All jobs are submitted at once; the queue holds them apart. More than 200 instants are
    made up for by an operation.
    """
    schedule, version = await _guarded(site, actor, ref, request)
    until = ask.until or site.yard.clock.wall()
    if not ask.dry_run:
        with blaming(_OWN, "overrides", {**FIELDS, **_RANGE}):
            many = await site.backfills.start(actor, schedule.id, ask.since, until, version=version)
        if many is not None:
            response.headers["Location"] = f"/api/v1/operations/{many.id}"
            return BackfillOut(
                dry_run=False,
                since=ask.since,
                until=until,
                runs=(),
                kept=0,
                operation_id=many.id,
            )
    with blaming(_OWN, "overrides", {**FIELDS, **_RANGE}):
        done = await site.yard.scheduler.backfill(
            actor, schedule.id, ask.since, until, dry_run=ask.dry_run, version=version
        )
    if ask.dry_run or not done.runs:
        response.status_code = 200
    return BackfillOut.of(done)


@router.get("/{ref}/runs", responses=problems(401, 403, 404, 422))
async def runs(ref: Ref, actor: ReadsSchedules, site: SiteOf, pages: Pages) -> ListOut[TickOut]:
    """List what became of the instants at which a schedule was due, the latest first."""
    schedule = await _found(site, actor, ref)
    before = datetime.fromisoformat(str(pages.position[0])) if pages.position else None
    found = await site.yard.scheduler.runs(actor, schedule.id, before, pages.more)
    return pages.page(found, TickOut.of, lambda tick: [tick.due_at.isoformat()])


@router.get("/{ref}/next", responses=problems(401, 403, 404, 422))
async def next_(
    ref: Ref,
    actor: ReadsSchedules,
    site: SiteOf,
    count: Annotated[int, Query(ge=1, le=MOST_NEXT)] = 5,
) -> AheadOut:
    """Tell the next instants at which a schedule is due, of a paused one as if it were on."""
    schedule = await _found(site, actor, ref)
    instants = await site.yard.scheduler.next_runs(actor, schedule.id, count)
    overdue_at = site.yard.scheduler.overdue(schedule)
    return AheadOut.of(schedule, overdue_at, instants, site.yard.clock.wall())


def _tag(schedule: CrawlSchedule) -> str:
    return tag_of(schedule.version, schedule.beat)


async def _shown(site: Site, schedule: CrawlSchedule) -> ScheduleOut:
    secret = await site.yard.scheduler.secret_params([schedule])
    return ScheduleOut.of(schedule, secret[schedule.id])


async def _out(site: Site, schedule: CrawlSchedule, response: Response) -> ScheduleOut:
    response.headers["ETag"] = _tag(schedule)
    return await _shown(site, schedule)


async def _moved(
    site: Site, old: CrawlSchedule, new: CrawlSchedule, response: Response
) -> ScheduleOut:
    if (old.paused_at is None) is (new.paused_at is None):
        response.status_code = 200  # it was so already
    return await _out(site, new, response)


async def _found(site: Site, actor: Actor, ref: str) -> CrawlSchedule:
    return await site.yard.scheduler.get(actor, await site.yard.scheduler.resolve(actor, ref))


async def _guarded(
    site: Site, actor: Actor, ref: str, request: Request, *, required: bool = False
) -> tuple[CrawlSchedule, int | None]:
    """Return a schedule, and the version that a change may be made to, if it may at this one."""
    schedule = await _found(site, actor, ref)
    return schedule, expected_version(request, schedule.version, required=required)


async def _template_id(site: Site, actor: Actor, ref: str | None) -> str | None:
    """Return the id that a filter means; of a template that is not there, no schedule is."""
    if ref is None or is_id(ref):
        return ref and ref.lower()
    try:
        return (await site.yard.templates.resolve(actor, ref)).id
    except NotFound:
        return ref
