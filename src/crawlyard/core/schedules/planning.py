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

OFTEN = timedelta(minutes=5)
"""Runs closer together than this get a warning: most crawls take longer."""

_LOOKED_AT = 50  # minimum number of runs to check for warnings
_MICROSECOND = timedelta(microseconds=1)


def fire_at(schedule: CrawlSchedule, due_at: datetime) -> datetime:
    """Return when a scheduler acts on the tick of *due_at*: at that time, or later by its jitter.

    The delay is a hash of the schedule's id and the due time: the same for every process, different
    for each tick, at most `CrawlSchedule.jitter`, and always before the next tick.
    """
    if not schedule.jitter:
        return due_at
    then = timetable(schedule.when, schedule.zone, schedule.anchor).after(due_at)
    most = schedule.jitter if then is None else min(schedule.jitter, then - due_at)
    key = f"{schedule.id} {due_at.astimezone(UTC).isoformat()}"
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    return due_at + timedelta(microseconds=(most // _MICROSECOND) * number // 2**64)


def plan_next(schedule: CrawlSchedule, now: datetime) -> CrawlSchedule:
    """Return *schedule* with its next due time set to the first one after *now*.

    There is none before `starts_at`, after `ends_at` (a tick exactly then counts), without runs
    left, or up to `decided_to`: if the clock was set back, what was decided before is not decided
    again. Use this for a new or an edited schedule. It passes over ticks up to *now* that have not
    been decided yet, so decide them first.

    Raises:
        Invalid: ``when`` or ``zone`` is invalid.
    """
    next_at, then = following(schedule, max(now, schedule.decided_to or now))
    if schedule.runs_left == 0:
        next_at = then = None
    return replace(schedule, next_at=next_at, fire_at=then)


def never_due(schedule: CrawlSchedule, now: datetime) -> Invalid:
    """Return the error for a schedule that is never due again; its field is the cause."""
    if schedule.runs_left == 0:
        return Invalid("runs_left", "no runs are left; expected at least 1, or no limit")
    alone = replace(schedule, starts_at=None, ends_at=None)
    if plan_next(alone, now).next_at is None:
        return Invalid("when", f"{schedule.when!r} has no future run")
    bound = "ends_at" if plan_next(replace(schedule, ends_at=None), now).next_at else "starts_at"
    side = "up to" if bound == "ends_at" else "from"
    limit = schedule.ends_at if bound == "ends_at" else schedule.starts_at
    at = "" if limit is None else f" {side} {limit.isoformat()}"
    return Invalid(bound, f"no instant of {schedule.when!r} is to come{at}")


def following(
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
    TOO_OFTEN = auto()  # two runs are closer than `OFTEN`
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

    Warnings are based on the next `_LOOKED_AT` runs; those about clock changes, on the *count*
    runs.
    """
    every = instants(table, now, least=bounds.starts_at, most=bounds.ends_at)
    coming = tuple(islice(every, max(count, _LOOKED_AT)))
    next_runs = coming[:count]
    warnings: list[TimetableWarning] = []
    if not coming:
        warnings.append(TimetableWarning(code=Concern.NEVER, detail="no future run"))
    gap = min((later - earlier for earlier, later in pairwise(coming)), default=None)
    if gap is not None and gap < OFTEN:
        warning = f"runs come every {duration_text(gap)}; a longer run overlaps the next"
        warnings.append(TimetableWarning(code=Concern.TOO_OFTEN, detail=warning))
    if gap is not None and bounds.jitter > gap:
        warning = f"the jitter is longer than the {duration_text(gap)} between two runs: it is cut"
        warnings.append(TimetableWarning(code=Concern.WIDE_JITTER, detail=warning))
    for at in next_runs:
        remark = table.remark(at)
        if remark:
            warnings.append(TimetableWarning(code=Concern.CLOCK_CHANGE, detail=remark, at=at))
    return Forecast(instants=next_runs, warnings=tuple(warnings))
