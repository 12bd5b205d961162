"""Schedules and the rows of their ledger."""

import json
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from crawlyard.core.schedule import CrawlSchedule, Tick, TickOutcome, TickReason
from crawlyard.store.codec.base import Row, to_json
from crawlyard.store.text import scrubbed

_SCHEDULE = TypeAdapter(CrawlSchedule)

_STATE = (
    *("runs_left", "paused_at", "next_at", "fire_at", "waiting_at"),
    *("beat", "version", "created_at", "updated_at"),
)
_COLUMNS = (*_STATE, "id", "owner", "name", "template_id")
_PLANNED = {f.name for f in fields(CrawlSchedule)} - set(_COLUMNS)


def state_row(schedule: CrawlSchedule) -> dict[str, Any]:
    """Return the columns of `schedules` that change when it fires."""
    plan = _SCHEDULE.dump_python(scrubbed(schedule), mode="json", include=_PLANNED)
    row = {name: getattr(schedule, name) for name in _STATE}
    return row | {"plan": to_json(plan)}


def schedule_row(schedule: CrawlSchedule) -> dict[str, Any]:
    """Return all columns of a row of `schedules`."""
    named: dict[str, Any] = {
        "id": schedule.id,
        "owner": schedule.owner,
        "name": schedule.name,
        "template_id": schedule.template_id,
        "search": f"{schedule.name}\n{schedule.description}".casefold(),
    }
    return named | state_row(schedule)


def schedule_of(row: Row) -> CrawlSchedule:
    """Return the schedule of a row of `schedules`."""
    columns = {name: row[name] for name in _COLUMNS}
    return _SCHEDULE.validate_python(json.loads(row["plan"]) | columns)


def tick_row(tick: Tick) -> dict[str, Any]:
    """Return all columns of a row of `ticks`."""
    return {
        "schedule_id": tick.schedule_id,
        "due_at": tick.due_at,
        "outcome": tick.outcome.value,
        "reason": tick.reason.value,
        "detail": tick.detail,
        "job_id": tick.job_id,
        "decided_at": tick.decided_at,
    }


def tick_of(row: Row) -> Tick:
    """Return the tick of a row of `ticks`."""
    return Tick(
        schedule_id=row["schedule_id"],
        due_at=row["due_at"],
        outcome=TickOutcome(row["outcome"]),
        reason=TickReason(row["reason"]),
        detail=row["detail"],
        job_id=row["job_id"],
        decided_at=row["decided_at"],
    )
