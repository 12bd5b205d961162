"""Planning: next due time of a schedule, and warnings before its timetable is saved."""

import hashlib
from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from itertools import islice, pairwise

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.answer import Wire
from crawlyard.core.quantity import duration_text
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.schedules.timetable import Timetable, instants, timetable
from crawlyard.errors import Invalid

SHORT_GAP = timedelta(minutes=5)
"""Runs closer together than this get a warning: most crawls take longer."""

_MIN_RUNS_CHECKED = 50  # minimum number of runs to check for warnings
_MICROSECOND = timedelta(microseconds=1)


def fire_at(schedule: CrawlSchedule, due_at: datetime) -> datetime:
    """Return when a scheduler acts on the tick of *due_at*: at that time, or later by its jitter.

    The delay is a hash of the schedule's id and the due time: the same for every process, different
    for each tick, at most `CrawlSchedule.jitter`, and always before the next tick.
    """
    if not schedule.jitter:
        return due_at
    next_due = timetable(schedule.when, schedule.zone, schedule.anchor).after(due_at)
    max_delay = schedule.jitter if next_due is None else min(schedule.jitter, next_due - due_at)
    key = f"{schedule.id} {due_at.astimezone(UTC).isoformat()}"
    digest = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    return due_at + timedelta(microseconds=(max_delay // _MICROSECOND) * digest // 2**64)


def plan_next(schedule: CrawlSchedule, now: datetime) -> CrawlSchedule:
    """Return *schedule* with its next due time set to the first one after *now*.

    No due time is before `starts_at` or after `ends_at`; one exactly at either counts. A schedule
    without runs left has none. Ticks up to `decided_to` are not due again, even if the clock was
    set back.

    Use this for a new or an edited schedule. Ticks up to *now* that have not been decided yet are
    skipped, so decide them first.

    Raises:
        Invalid: ``when`` or ``zone`` is invalid.
    """
    next_at, next_fire_at = find_next_due(schedule, max(now, schedule.decided_to or now))
    if schedule.runs_left == 0:
        next_at = next_fire_at = None
    return replace(schedule, next_at=next_at, fire_at=next_fire_at)


def never_due_error(schedule: CrawlSchedule, now: datetime) -> Invalid:
    """Return the error for a schedule that is never due again; its field is the cause."""
    if schedule.runs_left == 0:
        return Invalid("runs_left", "no runs are left; expected at least 1, or no limit")
    unbounded = replace(schedule, starts_at=None, ends_at=None)
    if plan_next(unbounded, now).next_at is None:
        return Invalid("when", f"{schedule.when!r} has no future run")
    bound = "ends_at" if plan_next(replace(schedule, ends_at=None), now).next_at else "starts_at"
    preposition = "up to" if bound == "ends_at" else "from"
    limit = schedule.ends_at if bound == "ends_at" else schedule.starts_at
    period = "" if limit is None else f" {preposition} {limit.isoformat()}"
    return Invalid(bound, f"{schedule.when!r} has no future run{period}")


def find_next_due(
    schedule: CrawlSchedule, instant: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return the first due time after *instant*, and its `fire_at`."""
    start = instant
    if schedule.starts_at is not None:
        start = max(start, schedule.starts_at - _MICROSECOND)
    due_at = timetable(schedule.when, schedule.zone, schedule.anchor).after(start)
    if due_at is None or (schedule.ends_at is not None and due_at > schedule.ends_at):
        return None, None
    return due_at, fire_at(schedule, due_at)


# --- forecasts


class Concern(StrEnum):
    """Kinds of warnings about a timetable."""

    NEVER = auto()  # no future run
    TOO_OFTEN = auto()  # two runs are closer than `SHORT_GAP`
    CLOCK_CHANGE = auto()  # a clock change moves, skips or doubles a run
    WIDE_JITTER = auto()  # the jitter is longer than the time between two runs


class TimetableWarning(Wire, frozen=True, kw_only=True):
    """One warning before a timetable is saved: *code* is for programs."""

    code: str  # never, too_often, clock_change, wide_jitter
    detail: str
    at: datetime | None = None  # the run concerned


class Forecast(Struct, frozen=True, kw_only=True):
    """The next runs in order, and warnings about them."""

    instants: tuple[datetime, ...]
    warnings: tuple[TimetableWarning, ...]


class ForecastBounds(Struct, frozen=True, kw_only=True):
    """Limits and shifts of the runs of a schedule besides its timetable."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    jitter: timedelta = timedelta(0)


def forecast_of(table: Timetable, now: datetime, count: int, bounds: ForecastBounds) -> Forecast:
    """Return at most *count* runs of *table* after *now*, with warnings.

    Warnings are based on the next `_MIN_RUNS_CHECKED` runs; those about clock changes, on the
    *count* runs.
    """
    future_runs = instants(table, now, starts_at=bounds.starts_at, ends_at=bounds.ends_at)
    checked_runs = tuple(islice(future_runs, max(count, _MIN_RUNS_CHECKED)))
    next_runs = checked_runs[:count]
    warnings: list[TimetableWarning] = []
    if not checked_runs:
        warnings.append(TimetableWarning(code=Concern.NEVER, detail="no future run"))
    gap = min((later - earlier for earlier, later in pairwise(checked_runs)), default=None)
    if gap is not None and gap < SHORT_GAP:
        detail = f"runs come every {duration_text(gap)}; a longer run overlaps the next"
        warnings.append(TimetableWarning(code=Concern.TOO_OFTEN, detail=detail))
    if gap is not None and bounds.jitter > gap:
        detail = f"the jitter is longer than the {duration_text(gap)} between two runs: it is cut"
        warnings.append(TimetableWarning(code=Concern.WIDE_JITTER, detail=detail))
    for at in next_runs:
        remark = table.remark(at)
        if remark:
            warnings.append(TimetableWarning(code=Concern.CLOCK_CHANGE, detail=remark, at=at))
    return Forecast(instants=next_runs, warnings=tuple(warnings))
