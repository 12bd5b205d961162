"""Answers about schedules, their ledgers and their next runs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from zlib import crc32
from zoneinfo import ZoneInfo

from msgspec import UNSET, UnsetType

from crawlyard.core.access.job_parts import OWNERS_FIELDS
from crawlyard.core.answer import Tagged, Wire, derive_answer, seconds
from crawlyard.core.crawl.changes import RunChanges
from crawlyard.core.fields import after
from crawlyard.core.schedules.calendar import RecentTick, RunFacts, fate_of
from crawlyard.core.schedules.planning import TimetableWarning
from crawlyard.core.schedules.schedule import Backfilled, CrawlSchedule, Tick
from crawlyard.core.schedules.timetable import Timetable, timetable, zone_of
from crawlyard.core.templates.secrets import hide_credentials, hide_params
from crawlyard.errors import Invalid


@derive_answer
class ScheduleOut(CrawlSchedule, Tagged, frozen=True, kw_only=True, dict=True):
    """One schedule; values of credentials in its params and overrides are hidden."""

    object: Literal["schedule"] = "schedule"
    allowed_actions: Annotated[tuple[str, ...], after("description")]  # of the reader
    enabled: Annotated[bool, after("description")]
    when_text: Annotated[str, after("when")]  # as a sentence
    grace_s: float
    jitter_s: float

    @classmethod
    def of(
        cls,
        schedule: CrawlSchedule,
        secret: Collection[str] | None = None,
        allowed_actions: tuple[str, ...] = (),
        *,
        for_others: bool = False,
    ) -> "ScheduleOut":
        """Return the answer; *secret* is as for `hide_params`.

        *for_others*: for a user who does not own the schedule.
        """
        overrides = hide_credentials(schedule.overrides)
        if for_others:
            overrides = {n: value for n, value in overrides.items() if n not in OWNERS_FIELDS}
        answer = cls.filled(
            schedule,
            allowed_actions=allowed_actions,
            enabled=schedule.paused_at is None,
            when_text=_when_text(schedule),
            params=hide_params(schedule.params, secret),
            overrides=overrides,
        )
        return answer.at_beat(schedule.beat)


class ConvertedScheduleOut(Wire, frozen=True, kw_only=True):
    """A schedule as fields, and as the text of a file; credentials are as they were sent."""

    object: Literal["converted_schedule"] = "converted_schedule"
    schedule: Mapping[str, Any]  # as in `POST /schedules`
    content: str  # YAML


class ScheduleTiesOut(Wire, frozen=True, kw_only=True):
    """Additional data of a schedule."""

    recent: tuple[RecentTick, ...]  # its last 60 ticks, the latest first


class ExpandedScheduleOut(ScheduleOut, frozen=True, kw_only=True, dict=True):
    """One schedule, with its recent ticks if requested."""

    expanded: ScheduleTiesOut | UnsetType = UNSET

    @classmethod
    def with_recent(
        cls, shape: ScheduleOut, recent: Sequence[RecentTick] | None
    ) -> "ExpandedScheduleOut":
        """Return *shape* with the recent ticks of its schedule; ``None``: not requested."""
        if recent is None:
            return cls.filled(shape, expanded=UNSET).at_beat(shape.beat)
        ties = ScheduleTiesOut(recent=tuple(recent))
        # the tag also changes with the recent runs
        beat = crc32(repr((shape.beat, ties)).encode())
        return cls.filled(shape, expanded=ties).at_beat(beat)


@derive_answer
class TickOut(Tick, Wire, frozen=True, kw_only=True):
    """Outcome of one time at which a schedule was due."""

    object: Literal["tick"] = "tick"

    @classmethod
    def of(cls, tick: Tick, *, for_others: bool = False) -> "TickOut":
        """Return the answer without words in its detail that repeat the reason.

        *for_others*: for a user who does not own the schedule.
        """
        # rows stored by earlier versions repeat the words of their reason: "asked for by ada"
        detail = tick.detail.removeprefix("asked for ")
        return cls.filled(tick, detail="" if for_others else detail)  # it may name the session


@derive_answer
class TickJobOut(RunFacts, Wire, frozen=True, kw_only=True):
    """Progress of a tick's job, and its changes."""

    base_id: str | None  # the run that it is compared with; null: none, or not compared yet
    changes: Mapping[str, int] | None  # pages by kind of change; null: not compared yet

    @classmethod
    def of(cls, facts: RunFacts, changes: RunChanges | None) -> "TickJobOut":
        """Return the answer for a job; without *changes*, it is not compared yet."""
        if changes is None:
            return cls.filled(facts, base_id=None, changes=None)
        return cls.filled(facts, base_id=changes.base_id, changes=changes.counts)


class TickTiesOut(Wire, frozen=True, kw_only=True):
    """Additional data of a tick."""

    fate: str  # stopped if a limit stopped the job, else its state; without a job, the outcome
    job: TickJobOut | None  # null: there is none, or it has been deleted

    @classmethod
    def of(cls, tick: Tick, job: TickJobOut | None) -> "TickTiesOut":
        """Return the data about the job of *tick*."""
        state, ended = (None, "") if job is None else (job.state, job.outcome)
        return cls(fate=fate_of(tick.outcome, state, ended), job=job)


class ExpandedTickOut(TickOut, frozen=True, kw_only=True):
    """A tick, with the progress of its job if requested."""

    expanded: TickTiesOut | UnsetType = UNSET


class ComingOut(Wire, frozen=True, kw_only=True):
    """A future time at which a schedule is due."""

    at: datetime
    local: str  # RFC 3339 with the offset of the zone at that instant
    zone: str  # abbreviation of the zone at that time: CET, CEST
    in_s: float
    remark: str  # effect of a clock change; usually empty

    @classmethod
    def of(cls, table: Timetable, zone: ZoneInfo, at: datetime, now: datetime) -> "ComingOut":
        """Return the answer for an instant of *table*, seen at *now*."""
        local = at.astimezone(zone)
        return cls(
            at=at,
            local=local.isoformat(timespec="seconds"),
            zone=local.tzname() or "",
            in_s=seconds(at - now),
            remark=table.remark(at),
        )


class AheadOut(Wire, frozen=True, kw_only=True):
    """Future runs of one schedule."""

    object: Literal["ahead"] = "ahead"
    schedule_id: str
    overdue_at: datetime | None  # when it should have run, if no scheduler is running
    next: tuple[ComingOut, ...]

    @classmethod
    def of(
        cls,
        schedule: CrawlSchedule,
        overdue_at: datetime | None,
        instants: Sequence[datetime],
        now: datetime,
    ) -> "AheadOut":
        """Return the answer for the next *instants* of *schedule*, as of *now*."""
        table = timetable(schedule.when, schedule.zone, schedule.anchor)
        zone = zone_of(schedule.zone)
        coming = tuple(ComingOut.of(table, zone, at, now) for at in instants)
        return cls(schedule_id=schedule.id, overdue_at=overdue_at, next=coming)


@derive_answer
class BackfillOut(Backfilled, Wire, frozen=True, kw_only=True):
    """Result of a backfill, or of its dry run; *kept* runs have run, wait, or are in the future."""

    object: Literal["backfill"] = "backfill"
    runs: tuple[TickOut, ...]
    operation_id: str | None = None  # the operation that performs it, if there are many runs


class ScheduleDeletionOut(Wire, frozen=True, kw_only=True):
    """Extent of deleting a schedule; the jobs that it submitted stay."""

    object: Literal["schedule_deletion"] = "schedule_deletion"
    schedule_id: str
    name: str
    dry_run: bool = True
    runs: int  # rows of its ledger

    @classmethod
    def of(cls, schedule: CrawlSchedule, runs: int) -> "ScheduleDeletionOut":
        """Return the extent of deleting a schedule with so many rows in its ledger."""
        return cls(schedule_id=schedule.id, name=schedule.name, runs=runs)


def _when_text(schedule: CrawlSchedule) -> str:
    try:
        return timetable(schedule.when, schedule.zone, schedule.anchor).text
    except Invalid as error:  # an unknown zone must not fail a whole list
        return str(error)


class TimetableOut(Wire, frozen=True, kw_only=True):
    """Meaning of a timetable, and the next times at which it is due."""

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
        """Return the meaning of *table*, with *instants* at which it is due, as of *now*."""
        coming = [ComingOut.of(table, zone, at, now) for at in instants]
        return cls(when=when, zone=zone.key, kind=table.kind, text=table.text, next=coming, **more)


class TimetablePreviewOut(TimetableOut, frozen=True, kw_only=True):
    """Meaning of a timetable, its next runs, and warnings about them."""

    warnings: tuple[TimetableWarning, ...]
