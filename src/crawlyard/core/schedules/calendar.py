"""Calendar of schedules: outcomes of past runs, and future runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from crawlyard.core.schedules.schedule import TickOutcome


def fate_of(outcome: str, job_state: str | None, ended: str) -> str:
    """Return the fate of a tick in a word: the state of its job, else its own outcome.

    A job that a limit stopped is ``stopped``; *ended* is its `outcome_of`.
    """
    if job_state is None or outcome == TickOutcome.REPLACED:
        return outcome
    return "stopped" if ended.startswith("Stopped") else job_state


class RecentTick(Struct, frozen=True, kw_only=True):
    """Outcome of a recent tick and of its job."""

    due_at: datetime
    outcome: str
    reason: str
    job_id: str | None
    job_state: str | None  # current state; null: there is no job, or it has been deleted
    fate: str  # stopped if a limit stopped the job, else its state; without a job, the outcome
    ended: str  # outcome of the job in a sentence; empty: it has not ended, or there is none
    pages: int | None  # fetched by the job


class RunFacts(Struct, frozen=True, kw_only=True):
    """Progress of a tick's job."""

    state: str
    outcome: str  # its end in a sentence; empty: it has not ended
    pages: int
    found: int  # URLs
    duration_s: float
    started_at: datetime | None
    ended_at: datetime | None


class TickCount(Struct, frozen=True, kw_only=True):
    """Number of ticks of one time with the same fate."""

    due_at: datetime
    fate: str
    count: int


class Occurrence(Struct, frozen=True, kw_only=True):
    """A past or future time at which a schedule is due."""

    due_at: datetime
    schedule_id: str
    schedule_name: str
    enabled: bool
    fate: str = ""  # of a past run, see `fate_of`; empty: in the future
    job_id: str | None = None


class Calendar(Struct, frozen=True, kw_only=True):
    """When schedules are due, in order; *whole* means that nothing was left out."""

    object: Literal["calendar"] = "calendar"
    occurrences: tuple[Occurrence, ...]
    whole: bool
    until: datetime  # complete up to this time
    unreadable: tuple[str, ...]  # ids of schedules whose timetable is no longer valid


class CalendarHour(Struct, frozen=True, kw_only=True):
    """One hour of a calendar with past or future runs."""

    at: datetime  # start of the hour
    runs: int = 0  # future runs of schedules that are on
    held: int = 0  # future runs of paused schedules
    together: int = 0  # maximum runs at one moment
    fates: Mapping[str, int] = {}  # number of past runs by fate


class CalendarHours(Struct, frozen=True, kw_only=True):
    """Number of runs of schedules in each hour; hours without any are left out."""

    object: Literal["calendar_hours"] = "calendar_hours"
    hours: tuple[CalendarHour, ...]
    since: datetime
    until: datetime  # runs after it are not computed
    whole: bool
    unreadable: tuple[str, ...]


class ComingHour(Struct, frozen=True, kw_only=True):
    """Future runs in one hour, counted as in `CalendarHour`."""

    runs: int
    held: int
    together: int


def coming_hours(coming: Iterable[Occurrence], zone: ZoneInfo) -> Mapping[datetime, ComingHour]:
    """Return the future runs by the hour of the clock in *zone*."""
    moments: defaultdict[datetime, Counter[datetime]] = defaultdict(Counter)
    counts: Counter[datetime] = Counter()
    for run in coming:
        hour = _beginning(run.due_at, zone)
        if run.enabled:
            moments[hour][run.due_at] += 1
        else:
            counts[hour] += 1
    return {
        hour: ComingHour(
            runs=moments[hour].total(),
            held=counts[hour],
            together=max(moments[hour].values(), default=0),
        )
        for hour in moments.keys() | counts.keys()
    }


def hours_of(
    past: Iterable[TickCount], coming: Mapping[datetime, ComingHour], zone: ZoneInfo
) -> tuple[CalendarHour, ...]:
    """Return the hours of the clock in *zone* that have past or future runs."""
    fates: defaultdict[datetime, Counter[str]] = defaultdict(Counter)
    for tick in past:
        fates[_beginning(tick.due_at, zone)][tick.fate] += tick.count
    none = ComingHour(runs=0, held=0, together=0)
    return tuple(
        CalendarHour(
            at=hour,
            runs=(runs := coming.get(hour, none)).runs,
            held=runs.held,
            together=runs.together,
            fates=dict(fates.get(hour, {})),
        )
        for hour in sorted(fates.keys() | coming.keys())
    )


def _beginning(instant: datetime, zone: ZoneInfo) -> datetime:
    local = instant.astimezone(zone)
    return instant - timedelta(
        minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )
