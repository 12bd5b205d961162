"""Tables and facts of schedules, their ledgers and the calendar."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View
from crawlyard.core.answers.schedules import ScheduleOut, TickOut
from crawlyard.core.quantity import counted, duration_text
from crawlyard.core.schedules.schedule import (
    MISFIRE_HELP,
    OVERLAP_HELP,
    Misfire,
    Occurrence,
    Overlap,
    TickReason,
)
from crawlyard.core.schedules.timetable import zone_of
from crawlyard.errors import Invalid
from crawlyard.export.jsonl import dumps

REASONS: Mapping[str, str] = {
    TickReason.ON_TIME: "on time",
    TickReason.BY_USER: "asked for",
    TickReason.LATE: "late",
    TickReason.BACKFILL: "backfill",
    TickReason.OVERLAP: "another job was active",
    TickReason.PAUSED: "the schedule was paused",
    TickReason.QUOTA: "too many jobs waited",
    TickReason.REFUSED: "could not be submitted",
    TickReason.NO_RUNS: "no runs were left",
    TickReason.NO_SCHEDULER: "no scheduler was there",
}
"""What a reason is called in a table."""


def local(instant: datetime, zone: str) -> str:
    """Return an instant as a clock in *zone* shows it: ``Tue 2026-11-24 03:00 CET``.

    In UTC if there is no such zone any more, so that old schedules can still be shown.
    """
    try:
        there = instant.astimezone(zone_of(zone))
    except Invalid:
        there = instant.astimezone(UTC)
    seconds = ":%S" if there.second else ""
    return there.strftime(f"%a %Y-%m-%d %H:%M{seconds} %Z")


def status(schedule: ScheduleOut) -> str:
    """Return ``on``, ``paused``, or ``ended`` where no instant comes any more."""
    if not schedule.enabled:
        return "paused"
    return "ended" if schedule.next_at is None else "on"


SCHEDULES: View[ScheduleOut] = View(
    key=lambda schedule: schedule.id,
    columns=(
        Column(name="STATE", value=status),
        Column(name="NAME", value=lambda s: s.name, wide=True),
        Column(name="WHEN", value=lambda s: s.when, wide=True),
        Column(name="ZONE", value=lambda s: s.zone, least=100),
        Column(
            name="NEXT",
            value=lambda s: _rfc3339(s.next_at),
            shown=lambda s: local(s.next_at, s.zone) if s.next_at else "",
        ),
        Column(name="OVERLAP", value=lambda s: s.overlap, least=120),
        Column(name="MISFIRE", value=lambda s: s.misfire, least=120),
        Column(name="ID", value=lambda s: s.id, shown=lambda s: words.short(s.id), least=110),
    ),
)


def ledger_view(zone: str) -> View[TickOut]:
    """Return the view of a ledger whose schedule is in *zone*."""
    return View(
        key=lambda tick: tick.job_id or _rfc3339(tick.due_at),
        columns=(
            _time("DUE", lambda t: t.due_at, zone),
            Column(name="OUTCOME", value=lambda t: t.outcome, shown=_outcome),
            Column(name="REASON", value=lambda t: t.reason, shown=lambda t: REASONS[t.reason]),
            Column(
                name="JOB",
                value=lambda t: t.job_id,
                shown=lambda t: words.short(t.job_id) if t.job_id else "",
            ),
            Column(name="DETAIL", value=lambda t: t.detail, wide=True),
        ),
    )


def calendar_view(zone: str) -> View[Occurrence]:
    """Return the view of a calendar whose reader is in *zone*."""
    return View(
        key=lambda occurrence: _rfc3339(occurrence.due_at),
        columns=(
            _time("DUE", lambda o: o.due_at, zone),
            Column(name="SCHEDULE", value=lambda o: o.schedule_name, wide=True),
            Column(name="STATE", value=lambda o: "on" if o.enabled else "paused"),
            Column(
                name="ID",
                value=lambda o: o.schedule_id,
                shown=lambda o: words.short(o.schedule_id),
                least=100,
            ),
        ),
    )


def facts(schedule: ScheduleOut) -> list[tuple[str, str]]:
    """Return the facts about a schedule that are not empty, the most interesting first."""
    zone = schedule.zone

    def at(instant: datetime | None) -> str:
        return local(instant, zone) if instant is not None else ""

    def numbered(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    waits = schedule.waiting_at
    told = {
        "name": schedule.name,
        "id": schedule.id,
        "description": schedule.description,
        "state": status(schedule),
        "paused": "" if schedule.enabled else f"by {schedule.paused_by}, {at(schedule.paused_at)}",
        "pause reason": schedule.pause_reason,
        "when": schedule.when,
        "in words": schedule.when_text,
        "next": at(schedule.next_at),
        "waits": f"the run of {at(waits)} for the job before it" if waits else "",
        "template": _template(schedule),
        "params": _pairs(schedule.params),
        "overrides": _pairs(schedule.overrides),
        "overlap": f"{schedule.overlap}: {OVERLAP_HELP[Overlap(schedule.overlap)]}",
        "misfire": f"{_misfire(schedule)}: {MISFIRE_HELP[Misfire(schedule.misfire)]}",
        "grace": duration_text(timedelta(seconds=schedule.grace_s)),
        "jitter": duration_text(timedelta(seconds=schedule.jitter_s)) if schedule.jitter_s else "",
        "starts": at(schedule.starts_at),
        "ends": at(schedule.ends_at),
        "runs left": numbered(schedule.runs_left),
        "pause after": counted(schedule.pause_after, "failure", "failures in a row")
        if schedule.pause_after
        else "",
        "owner": schedule.owner,
        "version": str(schedule.version),
    }
    return [(name, value) for name, value in told.items() if value]


def _template(schedule: ScheduleOut) -> str:
    if schedule.template_id is None:
        return ""
    version = schedule.template_version
    return f"{schedule.template_id} {'(the latest)' if version is None else f'v{version}'}"


def _misfire(schedule: ScheduleOut) -> str:
    bounded = schedule.misfire == Misfire.RUN_ALL
    return f"{schedule.misfire}, at most {schedule.catch_up:,}" if bounded else schedule.misfire


def _pairs(values: Mapping[str, Any]) -> str:
    return dumps(values) if values else ""


def _outcome(tick: TickOut) -> str:
    return tick.outcome.replace("_", " ")


def _time(name: str, instant: Callable[[Any], datetime], zone: str) -> Column[Any]:
    return Column(
        name=name,
        value=lambda item: _rfc3339(instant(item)),
        shown=lambda item: local(instant(item), zone),
    )


def _rfc3339(instant: datetime | None) -> str:
    """Return an instant as the API writes it, nothing for none."""
    return "" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
