"""Monitors of Firecrawl's API: schedules, their jobs, and the comparison of each with the last."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crawlyard.api.near import NearSurface
from crawlyard.bridges.bridge import surface_of
from crawlyard.bridges.firecrawl.changes import diff_of
from crawlyard.bridges.firecrawl.jobs import body_of, save_form
from crawlyard.bridges.firecrawl.options import BATCH, Form, crawl_form, scrape_form
from crawlyard.core.crawl.change_answers import RunChangesOut
from crawlyard.core.crawl.changes import ChangeKind
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.schedules.answers import ScheduleOut
from crawlyard.core.schedules.schedule import TickReason
from crawlyard.errors import Invalid, NotFound

TAG = "firecrawl-monitor"
"""The tag of the jobs of monitors, by which other schedules are told apart."""

_SCHEDULES: Mapping[str, str] = {
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 0",
}
_STATES: Mapping[str, str] = {
    "pending": "queued",
    "running": "running",
    "paused": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
}
_STATUSES: Mapping[str, str] = {
    ChangeKind.SAME: "same",
    ChangeKind.NOISE: "same",
    ChangeKind.CHANGED: "changed",
    ChangeKind.MOVED: "changed",
    ChangeKind.NEW: "new",
    ChangeKind.SEEN_FIRST: "new",
    ChangeKind.GONE: "removed",
    ChangeKind.BROKEN: "error",
    ChangeKind.UNKNOWN: "error",
}
"""The status of a page in a check, for each kind of change."""

_IGNORED = frozenset({"origin", "integration"})
_FIELDS = frozenset({"name", "schedule", "targets", "retentionDays", "status"})
_NEUTRAL: Mapping[str, Any] = {"judgeEnabled": False, "goal": "", "notification": {}}
"""Values of unsupported fields that would change nothing."""

_TARGETS: Mapping[str, frozenset[str]] = {
    "scrape": frozenset({"type", "urls", "id", "scrapeOptions"}),
    "crawl": frozenset({"type", "url", "id", "scrapeOptions", "crawlOptions"}),
}
_DAY_S = 86_400
_PORTION = 200


async def _create(request: Request) -> Response:
    yard, fields = surface_of(request), await _fields(request)
    for name in ("name", "schedule", "targets"):
        if name not in fields:
            raise Invalid(name, "is missing")
    if "status" in fields:
        raise Invalid("status", "a new monitor is active: leave it out")
    timetable = _timetable(fields["schedule"])
    save = partial(yard.schedules.create, fields["name"], **timetable)
    schedule = await save_form(lambda form: save(overrides=form), _overrides(fields, {}))
    return _data(_monitor(schedule))


async def _list(request: Request) -> Response:
    yard = surface_of(request)
    first, limit = _number(request, "offset", 0), _number(request, "limit", _PORTION)
    monitors, cursor, more = [], None, True
    while more:
        portion = await yard.schedules.list(owner="me", limit=_PORTION, cursor=cursor)
        monitors += [schedule for schedule in portion.items if _is_monitor(schedule)]
        cursor, more = portion.next_cursor, portion.has_more
    return _data([_monitor(schedule) for schedule in monitors[first : first + limit]])


async def _get(request: Request) -> Response:
    return _data(_monitor(await _schedule(request, surface_of(request))))


async def _edit(request: Request) -> Response:
    yard, fields = surface_of(request), await _fields(request)
    schedule = await _schedule(request, yard)
    changes = {name: fields[name] for name in ("name",) if name in fields}
    if "schedule" in fields:
        changes |= _timetable(fields["schedule"])
    status = fields.get("status", "active" if schedule.enabled else "paused")
    if status not in ("active", "paused"):
        raise Invalid("status", f"expected active or paused, got {status!r}")
    save = partial(yard.schedules.edit, schedule.id, **changes)
    if not fields.keys().isdisjoint({"targets", "retentionDays"}):
        overrides = _overrides(fields, schedule.overrides)
        schedule = await save_form(lambda form: save(overrides=form), overrides)
    elif changes:
        schedule = await save()
    if (status == "active") != schedule.enabled:
        change = yard.schedules.resume if status == "active" else yard.schedules.pause
        schedule = await change(schedule.id)
    return _data(_monitor(schedule))


async def _delete(request: Request) -> Response:
    yard = surface_of(request)
    await yard.schedules.delete((await _schedule(request, yard)).id)
    return JSONResponse({"success": True})


async def _run(request: Request) -> Response:
    yard = surface_of(request)
    schedule = await _schedule(request, yard)
    job = await yard.schedules.run(schedule.id)
    return _data(_check(schedule, job, None, manual=True))


async def _list_checks(request: Request) -> Response:
    yard = surface_of(request)
    schedule = await _schedule(request, yard)
    first, limit = _number(request, "offset", 0), _number(request, "limit", 25)
    checks = [check async for check, _ in _checks(yard, schedule, first + limit)]
    return _data(checks[first:])


async def _get_check(request: Request) -> Response:
    yard = surface_of(request)
    schedule = await _schedule(request, yard)
    check, run = await _find_check(yard, schedule, request.path_params["check_id"])
    first, limit = _number(request, "skip", 0), _number(request, "limit", 100)
    status, pages = request.query_params.get("status"), []
    if check["status"] == "completed":
        pages = [
            page
            for page in await _pages(yard, schedule, run)
            if status is None or page["status"] == status
        ]
    answer: dict[str, Any] = {"success": True}
    if len(pages) > first + limit:
        answer["next"] = str(request.url.include_query_params(skip=first + limit, limit=limit))
    portion = [page | await _diff(yard, run, page) for page in pages[first : first + limit]]
    return JSONResponse(answer | {"data": check | {"pages": portion}})


async def _diff(yard: NearSurface, run: RunChangesOut, page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the diff of a page that changed; none if it has no text, or has moved."""
    if page["status"] != "changed" or run.base_id is None:
        return {}
    try:
        diff = await yard.results.page_diff(run.base_id, run.job_id, page["url"])
    except NotFound:
        return {}
    return {"diff": diff_of(diff.hunks)}


async def _find_check(
    yard: NearSurface, schedule: ScheduleOut, check_id: str
) -> tuple[dict[str, Any], RunChangesOut]:
    async for check, run in _checks(yard, schedule):
        if check["id"] == check_id:
            return check, run
    raise NotFound(f"there is no check {check_id} of this monitor")


async def _checks(
    yard: NearSurface, schedule: ScheduleOut, most: int | None = None
) -> AsyncIterator[tuple[dict[str, Any], RunChangesOut]]:
    """Yield the checks of a monitor, newest first."""
    count, cursor, more = 0, None, True
    while more:
        size = min(_PORTION, most - count) if most is not None else _PORTION
        if size < 1:
            return
        runs = await yard.schedules.changes(schedule.id, limit=size, cursor=cursor)
        ticks = await yard.schedules.runs(schedule.id, limit=_PORTION)
        manual = {tick.job_id for tick in ticks.items if tick.reason is TickReason.BY_USER}
        for run in runs.items:
            job = await yard.jobs.get(run.job_id)
            yield _check(schedule, job, run, manual=job.id in manual), run
        count, cursor, more = count + size, runs.next_cursor, runs.has_more


async def _pages(
    yard: NearSurface, schedule: ScheduleOut, run: RunChangesOut
) -> Sequence[dict[str, Any]]:
    """Return the pages of a check: those of its job, then those of the earlier one alone."""
    changes: dict[str, Any] = {}
    cursor, more, base_id = None, run.base_id is not None, run.base_id or ""
    while more:
        diff = await yard.results.diff(base_id, run.job_id, limit=_PORTION, cursor=cursor)
        changes |= {change.moved_to or change.url: change for change in diff.items}
        cursor, more = diff.next_cursor, diff.has_more
    pages, cursor, more = [], None, True
    while more:
        portion = await yard.results.pages(run.job_id, limit=_PORTION, cursor=cursor)
        for page in portion.items:
            change = changes.pop(page.url, None)
            kind = ChangeKind.SAME if run.base_id is not None else ChangeKind.NEW
            status = _STATUSES[kind if change is None else change.kind]
            pages.append(
                {
                    "id": f"{run.job_id}:{page.id}",
                    "url": page.url,
                    "status": status,
                    "statusCode": page.status,
                    "createdAt": _instant(page.fetched_at),
                }
            )
        cursor, more = portion.next_cursor, portion.has_more
    for url, change in changes.items():
        status, at = _STATUSES[change.kind], _instant(run.ended_at)
        pages.append(
            {
                "id": f"{run.job_id}:{url}",
                "url": url,
                "status": status,
                "createdAt": at,
                **({"error": change.detail} if status == "error" else {}),
            }
        )
    return [{"targetId": schedule.id, **page} for page in pages]


def _check(
    schedule: ScheduleOut, job: JobOut, run: RunChangesOut | None, *, manual: bool
) -> dict[str, Any]:
    status = _STATES[job.state]
    if status == "completed" and (run is None or run.compared_at is None):
        status = "running"  # its comparison is missing
    summary = dict.fromkeys(("same", "changed", "new", "removed", "error"), 0)
    if run is not None and run.compared_at is not None and run.base_id is None:
        summary["new"] = job.usage.pages
    elif run is not None and run.counts is not None:
        for kind, count in run.counts.items():
            summary[_STATUSES[kind]] += count
    return {
        "id": job.id,
        "monitorId": schedule.id,
        "status": status,
        "trigger": "manual" if manual else "scheduled",
        "startedAt": _instant(job.started_at),
        "finishedAt": _instant(job.ended_at),
        "billingStatus": "not_applicable",
        "summary": {"totalPages": sum(summary.values()), **summary},
        "error": job.outcome if status == "failed" else None,
        "createdAt": _instant(job.created_at),
        "updatedAt": _instant(job.updated_at),
    }


def _monitor(schedule: ScheduleOut) -> dict[str, Any]:
    form: Mapping[str, Any] = schedule.overrides
    retention = form.get("retention_s")
    return {
        "id": schedule.id,
        "name": schedule.name,
        "status": "active" if schedule.enabled else "paused",
        "schedule": {"cron": schedule.when, "timezone": schedule.zone},
        "nextRunAt": _instant(schedule.next_at),
        "targets": [_target(form) | {"id": schedule.id}],
        "retentionDays": 0 if retention is None else int(retention / _DAY_S),  # 0: as the server
        "createdAt": _instant(schedule.created_at),
        "updatedAt": _instant(schedule.updated_at),
    }


def _target(form: Mapping[str, Any]) -> dict[str, Any]:
    if form.get("max_depth") == 0:
        return {"type": "scrape", "urls": list(form["urls"])}
    options = {"limit": form["limits"]["pages"]} if "limits" in form else {}
    return {"type": "crawl", "url": form["urls"][0], "crawlOptions": options}


def _overrides(fields: Mapping[str, Any], earlier: Mapping[str, Any]) -> Form:
    """Return the form of a monitor's jobs; *earlier* is that of a monitor that is changed."""
    form = dict(earlier)
    if "targets" in fields:
        retention = {name: form[name] for name in ("retention_s",) if name in form}
        target = _target_form(fields["targets"])
        form = {**retention, **target, "tags": [TAG, *target["tags"]]}
    if "retentionDays" in fields:
        form["retention_s"] = fields["retentionDays"] * _DAY_S
    return form


def _target_form(targets: Sequence[Mapping[str, Any]]) -> Form:
    if len(targets) != 1:
        raise Invalid("targets", "expected one target: create a monitor for each")
    target: Mapping[str, Any] = targets[0]
    kind = target.get("type", "")
    if kind not in _TARGETS:
        raise Invalid("targets[0].type", f"expected scrape or crawl, got {kind!r}")
    for name in target.keys() - _TARGETS[kind]:
        raise Invalid(f"targets[0].{name}", "is not supported: leave it out")
    options = target.get("scrapeOptions") or {}
    if kind == "crawl":
        crawl = {**target.get("crawlOptions", {}), "url": target.get("url")}
        return crawl_form(crawl | ({"scrapeOptions": options} if options else {}))
    form = scrape_form(options, BATCH, "targets[0].scrapeOptions.")
    return {"urls": target.get("urls", []), "scope": "any", "max_depth": 0, **form}


def _timetable(schedule: Mapping[str, str]) -> dict[str, Any]:
    words = schedule.get("text")
    cron = schedule.get("cron") or _SCHEDULES.get(words or "")
    if cron is None:
        expected = f"expected {', '.join(_SCHEDULES)}; put others in schedule.cron"
        raise Invalid("schedule.text", f"{expected}; got {words!r}")
    return {"when": cron, "zone": schedule.get("timezone", "UTC")}


async def _fields(request: Request) -> dict[str, Any]:
    """Return the fields of a monitor in a request; raise `Invalid` for those not supported."""
    fields = await body_of(request)
    for name, value in fields.items():
        if name not in _FIELDS | _IGNORED and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            raise Invalid(name, "is not supported: leave it out")
    return {name: value for name, value in fields.items() if name in _FIELDS}


async def _schedule(request: Request, yard: NearSurface) -> ScheduleOut:
    monitor_id = request.path_params["monitor_id"]
    schedule = await yard.schedules.get(monitor_id)
    if not _is_monitor(schedule):
        raise NotFound(f"the schedule {monitor_id} is not a monitor")
    return schedule


def _is_monitor(schedule: ScheduleOut) -> bool:
    form: Mapping[str, Any] = schedule.overrides
    return TAG in form.get("tags", ())


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise Invalid(name, f"expected a whole number, got {text!r}")
    return min(int(text), 10_000)


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _data(data: object) -> Response:
    return JSONResponse({"success": True, "data": data})


_ONE = "/v2/monitor/{monitor_id}"
ROUTES = {
    ("POST", "/v2/monitor"): _create,
    ("GET", "/v2/monitor"): _list,
    ("GET", _ONE): _get,
    ("PATCH", _ONE): _edit,
    ("DELETE", _ONE): _delete,
    ("POST", f"{_ONE}/run"): _run,
    ("GET", f"{_ONE}/checks"): _list_checks,
    ("GET", f"{_ONE}/checks/{{check_id}}"): _get_check,
}
"""Routes of monitors, by method and path."""
