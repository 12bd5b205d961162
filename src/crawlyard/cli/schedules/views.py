"""Views of schedules, their ledgers, their next runs and the calendar."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from crawlyard.cli.render.output import Column, View, id_of
from crawlyard.core.quantity import count_noun, duration_text
from crawlyard.core.schedules.answers import ComingOut, ScheduleOut, TickOut
from crawlyard.core.schedules.calendar import Occurrence
from crawlyard.core.schedules.schedule import (
    MISFIRE_HELP,
    OVERLAP_HELP,
    Misfire,
    Overlap,
)
from crawlyard.core.schedules.timetable import zone_of
from crawlyard.core.words import OUTCOMES, STATES, TICK_REASONS, format_phrase
from crawlyard.errors import Invalid
from crawlyard.export.jsonl import dumps


def local(instant: datetime, zone: str) -> str:
    """Return an instant as local time in *zone*: ``Tue 2026-11-24 03:00 CET``.

    In UTC if the zone no longer exists, so that old schedules can still be shown.
    """
    try:
        there = instant.astimezone(zone_of(zone))
    except Invalid:
        there = instant.astimezone(UTC)
    seconds = ":%S" if there.second else ""
    return there.strftime(f"%a %Y-%m-%d %H:%M{seconds} %Z")


def status(schedule: ScheduleOut) -> str:
    """Return ``on``, ``paused``, or ``ended`` if there are no further runs."""
    if not schedule.enabled:
        return "paused"
    return "ended" if schedule.next_at is None else "on"


def _template(schedule: ScheduleOut) -> str:
    if schedule.template_id is None:
        return ""
    version = schedule.template_version
    return f"{schedule.template_id} {'(the latest)' if version is None else f'v{version}'}"


def _misfire(schedule: ScheduleOut) -> str:
    bounded = schedule.misfire == Misfire.RUN_ALL
    policy = format_phrase(schedule.misfire)
    return f"{policy}, at most {schedule.catch_up:,}" if bounded else policy


def _pairs(values: Mapping[str, Any]) -> str:
    return dumps(values) if values else ""


def _at(schedule: ScheduleOut, instant: datetime | None) -> str:
    return "" if instant is None else local(instant, schedule.zone)


SCHEDULES: View[ScheduleOut] = View(
    key=lambda schedule: schedule.id,
    table=("STATE", "NAME", "WHEN", "ZONE", "NEXT", "OVERLAP", "MISFIRE", "ID"),
    columns=(
        Column(name="NAME", value=lambda s: s.name, wide=True),
        id_of(lambda s: s.id, least=110),
        Column(name="DESCRIPTION", value=lambda s: s.description),
        Column(name="STATE", value=status),
        Column(
            name="PAUSED",
            value=lambda s: "" if s.enabled else f"by {s.paused_by}, {_at(s, s.paused_at)}",
        ),
        Column(name="PAUSE REASON", value=lambda s: s.pause_reason),
        Column(name="WHEN", value=lambda s: s.when, wide=True),
        Column(name="ZONE", value=lambda s: s.zone, least=100, sheet=False),
        Column(name="IN WORDS", value=lambda s: s.when_text),
        Column(
            name="NEXT",
            value=lambda s: _rfc3339(s.next_at),
            shown=lambda s: _at(s, s.next_at),
            fact=lambda s: _at(s, s.next_at),
        ),
        Column(
            name="WAITS",
            value=lambda s: (
                s.waiting_at and f"the run of {_at(s, s.waiting_at)} for the previous job"
            ),
        ),
        Column(name="TEMPLATE", value=_template),
        Column(name="PARAMS", value=lambda s: _pairs(s.params)),
        Column(name="OVERRIDES", value=lambda s: _pairs(s.overrides)),
        Column(
            name="OVERLAP",
            value=lambda s: s.overlap,
            shown=lambda s: format_phrase(s.overlap),
            fact=lambda s: f"{format_phrase(s.overlap)}: {OVERLAP_HELP[Overlap(s.overlap)]}",
            least=120,
        ),
        Column(
            name="MISFIRE",
            value=lambda s: s.misfire,
            shown=lambda s: format_phrase(s.misfire),
            fact=lambda s: f"{_misfire(s)}: {MISFIRE_HELP[Misfire(s.misfire)]}",
            least=120,
        ),
        Column(name="GRACE", value=lambda s: duration_text(timedelta(seconds=s.grace_s))),
        Column(
            name="JITTER",
            value=lambda s: duration_text(timedelta(seconds=s.jitter_s)) if s.jitter_s else "",
        ),
        Column(name="STARTS", value=lambda s: _at(s, s.starts_at)),
        Column(name="ENDS", value=lambda s: _at(s, s.ends_at)),
        Column(name="RUNS LEFT", value=lambda s: "" if s.runs_left is None else f"{s.runs_left:,}"),
        Column(
            name="PAUSE AFTER",
            value=lambda s: (
                s.pause_after and count_noun(s.pause_after, "failure", "failures in a row")
            ),
        ),
        Column(name="OWNER", value=lambda s: s.owner),
        Column(name="VERSION", value=lambda s: s.version),
    ),
)


def past_runs_view(zone: str) -> View[TickOut]:
    """Return the columns of `schedules runs`, with times in *zone*."""
    return View(
        key=lambda tick: tick.job_id or _rfc3339(tick.due_at),
        columns=(
            _time("DUE", lambda t: t.due_at, zone),
            Column(name="OUTCOME", value=lambda t: t.outcome, shown=_outcome),
            Column(name="REASON", value=lambda t: t.reason, shown=lambda t: TICK_REASONS[t.reason]),
            id_of(lambda t: t.job_id, "JOB"),
            Column(name="DETAIL", value=lambda t: t.detail, wide=True),
        ),
    )


def calendar_view(zone: str) -> View[Occurrence]:
    """Return the columns of `schedules calendar`, with times in *zone*."""
    return View(
        key=lambda occurrence: _rfc3339(occurrence.due_at),
        columns=(
            _time("DUE", lambda o: o.due_at, zone),
            Column(name="SCHEDULE", value=lambda o: o.schedule_name, wide=True),
            Column(name="STATE", value=_fate, shown=_fate_words),
            id_of(lambda o: o.schedule_id, least=100),
        ),
    )


COMING: View[ComingOut] = View(
    key=lambda coming: coming.local,
    columns=(
        Column(
            name="LOCAL TIME",
            value=lambda c: c.local,
            shown=lambda c: format_local(datetime.fromisoformat(c.local)),
        ),
        Column(name="ZONE", value=lambda c: c.zone),
        Column(
            name="UTC",
            value=lambda c: _rfc3339(c.at),
            shown=lambda c: f"{c.at.astimezone(UTC):%m-%d %H:%M}",
            least=100,
        ),
        Column(name="IN", value=lambda c: c.in_s, shown=lambda c: _in(c.in_s), right=True),
        Column(name="REMARK", value=lambda c: c.remark, wide=True),
    ),
)


def _fate(occurrence: Occurrence) -> str:
    return occurrence.fate or ("on" if occurrence.enabled else "paused")


def _fate_words(occurrence: Occurrence) -> str:
    fate = _fate(occurrence)
    return STATES.get(fate) or OUTCOMES.get(fate, fate)


def _outcome(tick: TickOut) -> str:
    return OUTCOMES[tick.outcome]


def _time(name: str, instant: Callable[[Any], datetime], zone: str) -> Column[Any]:
    return Column(
        name=name,
        value=lambda item: _rfc3339(instant(item)),
        shown=lambda item: local(instant(item), zone),
    )


def _rfc3339(instant: datetime | None) -> str:
    """Return an instant in the format of the API; empty for none."""
    return "" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def format_local(local: datetime) -> str:
    """Return a local time, to the second only where it has some."""
    return f"{local:%a %Y-%m-%d %H:%M:%S}" if local.second else f"{local:%a %Y-%m-%d %H:%M}"


def _in(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, coarser the longer it is."""
    length = abs(seconds)
    grain_s = 1 if length < 60 else 60 if length < 86_400 else 3600
    text = duration_text(timedelta(seconds=length // grain_s * grain_s))
    return f"{text} ago" if seconds < 0 else text
