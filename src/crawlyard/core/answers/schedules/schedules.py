"""The shapes of schedules, their ledger, and what they will do."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from crawlyard.core.answers.base import Tagged, Wire, seconds
from crawlyard.core.answers.schedules.timetables import ComingOut
from crawlyard.core.schedules.records import Backfilled, Calendar, Occurrence
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick
from crawlyard.core.schedules.timetable import timetable, zone_of
from crawlyard.core.templates.secrets import hidden, hidden_params
from crawlyard.errors import Invalid


class ScheduleOut(Tagged, frozen=True, kw_only=True, dict=True):
    """One schedule; credentials in its params and overrides show no value."""

    id: str
    object: Literal["schedule"] = "schedule"
    owner: str
    name: str
    description: str
    enabled: bool
    paused_at: datetime | None
    paused_by: str
    pause_reason: str
    when: str
    when_text: str  # the same as a person would say it
    zone: str
    next_at: datetime | None  # null: no instant comes any more
    fire_at: datetime | None  # the same with its jitter
    waiting_at: datetime | None  # of a tick that waits for the job before it
    template_id: str | None
    template_version: int | None  # null: the latest when it runs
    params: Mapping[str, Any]
    overrides: Mapping[str, Any]
    overlap: str
    misfire: str
    grace_s: float
    catch_up: int
    jitter_s: float
    starts_at: datetime | None
    ends_at: datetime | None
    runs_left: int | None
    pause_after: int | None
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, schedule: CrawlSchedule, secret: Collection[str] | None = None) -> "ScheduleOut":
        """Return the shape of *schedule*; *secret* is as for `hidden_params`."""
        made = cls.filled(
            schedule,
            object="schedule",
            enabled=schedule.paused_at is None,
            when_text=_said(schedule),
            grace_s=seconds(schedule.grace),
            jitter_s=seconds(schedule.jitter),
            params=hidden_params(schedule.params, secret),
            overrides=hidden(schedule.overrides),
        )
        return made.at_beat(schedule.beat)


class TickOut(Wire, frozen=True, kw_only=True):
    """What became of one instant at which a schedule was due."""

    object: Literal["tick"] = "tick"
    schedule_id: str
    due_at: datetime
    outcome: str
    reason: str
    detail: str
    job_id: str | None
    decided_at: datetime

    @classmethod
    def of(cls, tick: Tick) -> "TickOut":
        """Return the shape of *tick*."""
        return cls.filled(tick, object="tick")


class AheadOut(Wire, frozen=True, kw_only=True):
    """What is to come of one schedule."""

    object: Literal["ahead"] = "ahead"
    schedule_id: str
    overdue_at: datetime | None  # should have been fired, were a scheduler there
    next: tuple[ComingOut, ...]

    @classmethod
    def of(
        cls,
        schedule: CrawlSchedule,
        overdue_at: datetime | None,
        instants: Sequence[datetime],
        now: datetime,
    ) -> "AheadOut":
        """Return the shape of *instants* at which *schedule* will be due, seen at *now*."""
        table = timetable(schedule.when, schedule.zone, schedule.anchor)
        zone = zone_of(schedule.zone)
        coming = tuple(ComingOut.of(table, zone, at, now) for at in instants)
        return cls(schedule_id=schedule.id, overdue_at=overdue_at, next=coming)


class OccurrenceOut(Wire, frozen=True, kw_only=True):
    """One instant of a calendar, and the schedule that is due then."""

    due_at: datetime
    schedule_id: str
    schedule_name: str
    enabled: bool

    @classmethod
    def of(cls, occurrence: Occurrence) -> "OccurrenceOut":
        """Return the shape of *occurrence*."""
        schedule = occurrence.schedule
        return cls(
            due_at=occurrence.due_at,
            schedule_id=schedule.id,
            schedule_name=schedule.name,
            enabled=schedule.paused_at is None,
        )


class CalendarOut(Wire, frozen=True, kw_only=True):
    """When schedules are due, in their order; *whole*: nothing was left out."""

    object: Literal["calendar"] = "calendar"
    occurrences: tuple[OccurrenceOut, ...]
    whole: bool
    unreadable: tuple[str, ...]  # ids of schedules whose time table means nothing any more

    @classmethod
    def of(cls, calendar: Calendar) -> "CalendarOut":
        """Return the shape of *calendar*."""
        shown = tuple(OccurrenceOut.of(o) for o in calendar.occurrences)
        unreadable = tuple(schedule.id for schedule in calendar.unreadable)
        return cls(occurrences=shown, whole=calendar.whole, unreadable=unreadable)


class BackfillOut(Wire, frozen=True, kw_only=True):
    """What a backfill did, or would do; *kept* instants had run, wait, or are still to come."""

    object: Literal["backfill"] = "backfill"
    dry_run: bool
    since: datetime
    until: datetime  # without this instant
    runs: tuple[TickOut, ...]
    kept: int
    operation_id: str | None = None  # of the operation that does it, where there are many

    @classmethod
    def of(cls, backfilled: Backfilled) -> "BackfillOut":
        """Return the shape of *backfilled*."""
        return cls(
            dry_run=backfilled.dry_run,
            since=backfilled.since,
            until=backfilled.until,
            runs=tuple(TickOut.of(tick) for tick in backfilled.runs),
            kept=backfilled.kept,
        )


def _said(schedule: CrawlSchedule) -> str:
    try:
        return timetable(schedule.when, schedule.zone, schedule.anchor).text
    except Invalid as error:  # its zone is no more: it must not keep the others from being shown
        return str(error)
