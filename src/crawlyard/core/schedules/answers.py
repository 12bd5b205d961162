"""Answers about schedules, their ledger and their next runs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self
from zlib import crc32
from zoneinfo import ZoneInfo

from msgspec import UNSET, UnsetType

from crawlyard.core.answer import Tagged, Wire, derived, seconds
from crawlyard.core.crawl.changes import RunChanges
from crawlyard.core.schedules.calendar import RecentTick, RunFacts, fate_of
from crawlyard.core.schedules.planning import TimetableWarning
from crawlyard.core.schedules.schedule import Backfilled, CrawlSchedule, Tick, TickReason
from crawlyard.core.schedules.timetable import Timetable, timetable, zone_of
from crawlyard.core.templates.secrets import hidden, hidden_params
from crawlyard.core.words import TICK_REASONS
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
            enabled=schedule.paused_at is None,
            when_text=_said(schedule),
            grace_s=seconds(schedule.grace),
            jitter_s=seconds(schedule.jitter),
            params=hidden_params(schedule.params, secret),
            overrides=hidden(schedule.overrides),
        )
        return made.at_beat(schedule.beat)


class ConvertedScheduleOut(Wire, frozen=True, kw_only=True):
    """A schedule as fields, and as the text of a file; credentials are as they were sent."""

    object: Literal["converted_schedule"] = "converted_schedule"
    schedule: Mapping[str, Any]  # as `POST /schedules` takes it
    content: str  # YAML


class ScheduleTiesOut(Wire, frozen=True, kw_only=True):
    """What is added to a schedule."""

    recent: tuple[RecentTick, ...]  # its last 60 ticks, the latest first


class ExpandedScheduleOut(ScheduleOut, frozen=True, kw_only=True, dict=True):
    """One schedule, and what became of its last instants if that was asked for."""

    expanded: ScheduleTiesOut | UnsetType = UNSET

    @classmethod
    def with_recent(
        cls, shape: ScheduleOut, recent: Sequence[RecentTick] | None
    ) -> "ExpandedScheduleOut":
        """Return *shape* with the last ticks of its schedule, if there are to be any."""
        if recent is None:
            return cls.filled(shape, expanded=UNSET).at_beat(shape.beat)
        ties = ScheduleTiesOut(recent=tuple(recent))
        # its tag is another whenever one of them changes
        beat = crc32(repr((shape.beat, ties)).encode())
        return cls.filled(shape, expanded=ties).at_beat(beat)


@derived
class TickOut(Tick, Wire, frozen=True, kw_only=True):
    """What became of one instant at which a schedule was due."""

    object: Literal["tick"] = "tick"

    @classmethod
    def of(cls, tick: Tick) -> "TickOut":
        """Return the shape of *tick*."""
        # rows stored by earlier versions repeat the words of their reason: "asked for by ada"
        detail = tick.detail.removeprefix(f"{TICK_REASONS[TickReason.BY_USER]} ")
        return cls.filled(tick, detail=detail)


class TickJobOut(Wire, frozen=True, kw_only=True):
    """How far the job of a tick came, and what it has changed."""

    state: str
    outcome: str  # how it ended, in a sentence; empty: it has not
    pages: int
    found: int  # URLs
    duration_s: float
    started_at: datetime | None
    ended_at: datetime | None
    base_id: str | None  # the run that it is compared with; null: none, or it is not compared yet
    changes: Mapping[str, int] | None  # pages by kind of change; null: it is not compared yet

    @classmethod
    def of(cls, facts: RunFacts, changed: RunChanges | None) -> "TickJobOut":
        """Return the shape of a job; ``None``: it is not compared yet."""
        return cls.filled(
            facts,
            outcome=facts.ended,
            base_id=changed and changed.base_id,
            changes=changed and changed.counts,
        )


class TickTiesOut(Wire, frozen=True, kw_only=True):
    """What is added to a tick."""

    fate: str  # stopped if a limit has stopped the job, else its state; without a job, the outcome
    job: TickJobOut | None  # null: there is none, or it has been deleted

    @classmethod
    def of(cls, tick: Tick, job: TickJobOut | None) -> "TickTiesOut":
        """Return what there is of the job of *tick*."""
        state, ended = (None, "") if job is None else (job.state, job.outcome)
        return cls(fate=fate_of(tick.outcome, state, ended), job=job)


class ExpandedTickOut(TickOut, frozen=True, kw_only=True):
    """A tick, and how far its job came if that was asked for."""

    expanded: TickTiesOut | UnsetType = UNSET


class ComingOut(Wire, frozen=True, kw_only=True):
    """One instant at which something is due."""

    at: datetime
    local: str  # RFC 3339 with the offset of the zone at that instant
    zone: str  # how the zone is called then: CET, CEST
    in_s: float
    remark: str  # what a clock change does to it, mostly nothing

    @classmethod
    def of(cls, table: Timetable, zone: ZoneInfo, at: datetime, now: datetime) -> "ComingOut":
        """Return the shape of an instant of *table*, seen at *now*."""
        local = at.astimezone(zone)
        return cls(
            at=at,
            local=local.isoformat(timespec="seconds"),
            zone=local.tzname() or "",
            in_s=seconds(at - now),
            remark=table.remark(at),
        )


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


@derived
class BackfillOut(Backfilled, Wire, frozen=True, kw_only=True):
    """What a backfill did, or would do; *kept* instants had run, wait, or are still to come."""

    object: Literal["backfill"] = "backfill"
    runs: tuple[TickOut, ...]
    operation_id: str | None = None  # of the operation that does it, where there are many


class ScheduleDeletionOut(Wire, frozen=True, kw_only=True):
    """What the deletion of a schedule would delete; jobs that it has submitted stay."""

    object: Literal["schedule_deletion"] = "schedule_deletion"
    schedule_id: str
    name: str
    dry_run: bool = True
    runs: int  # rows of its ledger

    @classmethod
    def of(cls, schedule: CrawlSchedule, runs: int) -> "ScheduleDeletionOut":
        """Return what deleting a schedule with so many rows in its ledger would delete."""
        return cls(schedule_id=schedule.id, name=schedule.name, runs=runs)


def _said(schedule: CrawlSchedule) -> str:
    try:
        return timetable(schedule.when, schedule.zone, schedule.anchor).text
    except Invalid as error:  # its zone is no more: it must not keep the others from being shown
        return str(error)


class TimetableOut(Wire, frozen=True, kw_only=True):
    """What a timetable means, and the next instants at which it is due."""

    object: Literal["timetable"] = "timetable"
    when: str
    zone: str
    kind: str
    text: str
    next: list[ComingOut]

    @classmethod
    def of(
        cls,
        table: Timetable,
        when: str,
        zone: ZoneInfo,
        instants: Iterable[datetime],
        now: datetime,
        **more: Any,
    ) -> Self:
        """Return what *table* means, with *instants* at which it is due, seen at *now*."""
        coming = [ComingOut.of(table, zone, at, now) for at in instants]
        return cls(when=when, zone=zone.key, kind=table.kind, text=table.text, next=coming, **more)


class TimetablePreviewOut(TimetableOut, frozen=True, kw_only=True):
    """What a time table means, its next runs, and what is to be known of them."""

    warnings: tuple[TimetableWarning, ...]
