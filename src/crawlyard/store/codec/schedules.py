"""Rows of schedules."""

import json
from typing import Any

from msgspec import convert

from crawlyard.core.schedules.schedule import BY_ITSELF, CrawlSchedule
from crawlyard.errors import Invalid
from crawlyard.store.codec.base import Row, flaws, object_of, to_json

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
    """Return all columns of a row of `schedules`."""
    named: dict[str, Any] = {
        "id": schedule.id,
        "owner": schedule.owner,
        "name": schedule.name,
        "template_id": schedule.template_id,
        "trusted": schedule.trusted,
        "search": f"{schedule.name}\n{schedule.description}".casefold(),
    }
    return named | state_row(schedule)


def schedule_of(row: Row) -> CrawlSchedule:
    """Return the schedule of a row of `schedules`.

    Fields that cannot be read, for example after a manual edit, are left out, and the schedule
    is paused, with a `flaw`. One bad row must not fail a whole list.
    """
    columns = {name: row[name] for name in _COLUMNS}
    try:
        return convert(json.loads(row["plan"]) | columns, CrawlSchedule, strict=False)
    except (ValueError, TypeError, Invalid) as error:
        return _mended(row["plan"], columns, error)


def _mended(plan: str, columns: dict[str, Any], first: Exception) -> CrawlSchedule:
    """Return the schedule of a row without its invalid fields."""
    fallback: dict[str, Any] = {"when": _NEVER, "name": str(columns["id"])}
    values = fallback | (object_of(plan) or {}) | columns
    wrong = flaws(CrawlSchedule, values)
    for name in wrong:
        del values[name]
    why = f"it could not be read: {next(iter(wrong.values()), first)}"
    paused = {"paused_at": columns["paused_at"] or columns["updated_at"]}
    told = {"paused_by": BY_ITSELF, "pause_reason": why, "flaw": why}
    while True:
        try:
            return convert(fallback | values | paused | told, CrawlSchedule, strict=False)
        except Invalid as error:  # of the right type, but out of range
            if error.field not in values:
                raise
            del values[error.field]
