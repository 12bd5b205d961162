"""Rows of schedules."""

import json
from typing import Any

from msgspec import convert

from crawlyard.core.access.sharing import Sharing
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.outcome import outcome_at
from crawlyard.core.schedules.calendar import RecentTick, RunFacts, fate_of
from crawlyard.core.schedules.schedule import BY_ITSELF, CrawlSchedule
from crawlyard.errors import Invalid
from crawlyard.store.codec.base import Row, field_errors, object_of, to_json

_STATE = (
    *("runs_left", "paused_at", "next_at", "fire_at", "waiting_at"),
    *("fresh_beat", "beat", "version", "created_at", "updated_at"),
)
_COLUMNS = (*_STATE, "id", "owner", "name", "template_id", "trusted")
_PLANNED = tuple(n for n in CrawlSchedule.__struct_fields__ if n not in {*_COLUMNS, "flaw"})

_NEVER = "unreadable"  # a `when` that is no timetable


def state_row(schedule: CrawlSchedule) -> dict[str, Any]:
    """Return the columns of `schedules` that change when it fires."""
    plan = {name: getattr(schedule, name) for name in _PLANNED}
    row = {name: getattr(schedule, name) for name in _STATE}
    return row | {"plan": to_json(plan)}


def schedule_row(schedule: CrawlSchedule) -> dict[str, Any]:
    """Encode a schedule with the text that filters search."""
    identity: dict[str, Any] = {
        "id": schedule.id,
        "owner": schedule.owner,
        "name": schedule.name,
        "template_id": schedule.template_id,
        "trusted": schedule.trusted,
        "private": schedule.shared is Sharing.PRIVATE,
        "search": f"{schedule.name}\n{schedule.description}".casefold(),
    }
    return identity | state_row(schedule)


def schedule_of(row: Row) -> CrawlSchedule:
    """Return the schedule of a row of `schedules`.

    Fields that cannot be read, for example after a manual edit, are left out, and the schedule
    is paused, with a `flaw`. One bad row must not fail a whole list.
    """
    columns = {name: row[name] for name in _COLUMNS}
    try:
        return convert(json.loads(row["plan"]) | columns, CrawlSchedule, strict=False)
    except (ValueError, TypeError, Invalid) as error:
        return _without_invalid_fields(row["plan"], columns, error)


def _without_invalid_fields(plan: str, columns: dict[str, Any], first: Exception) -> CrawlSchedule:

    fallback: dict[str, Any] = {"when": _NEVER, "name": str(columns["id"])}
    values = fallback | (object_of(plan) or {}) | columns
    wrong = field_errors(CrawlSchedule, values)
    for name in wrong:
        del values[name]
    why = f"it could not be read: {next(iter(wrong.values()), first)}"
    paused = {"paused_at": columns["paused_at"] or columns["updated_at"]}
    pause = {"paused_by": BY_ITSELF, "pause_reason": why, "flaw": why}
    while True:
        try:
            return convert(fallback | values | paused | pause, CrawlSchedule, strict=False)
        except Invalid as error:  # of the right type, but out of range
            if error.field not in values:
                raise
            del values[error.field]


def recent_tick_of(row: Row) -> RecentTick:
    """Return the tick of a row of `ticks`, with the columns of its job."""
    ended = _row_outcome(row)
    return RecentTick(
        due_at=row["due_at"],
        outcome=row["outcome"],
        reason=row["reason"],
        job_id=row["job_id"],
        job_state=row["state"],
        fate=fate_of(row["outcome"], row["state"], ended),
        ended=ended,
        pages=row["pages"],
    )


def run_facts_of(row: Row) -> RunFacts:
    """Return the state and progress of the job of a row."""
    return RunFacts(
        state=row["state"],
        outcome=_row_outcome(row),
        pages=row["pages"],
        found=row["discovered"],
        duration_s=row["duration_s"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _row_outcome(row: Row) -> str:
    state, reason = row["state"], row["state_reason"]
    return ended_of(state, reason, discovered=row["discovered"], done=row["done"])


def ended_of(
    state: str | None, reason: str | None, *, discovered: int | None, done: int | None = 0
) -> str:
    """Return the outcome of a job, as `outcome_of`; "" if there is no job."""
    try:
        there = State(state or ""), StateReason(reason or "")
    except ValueError:  # no job, or a damaged one
        return ""
    return outcome_at(*there, Usage(discovered=discovered or 0, done=done or 0))
