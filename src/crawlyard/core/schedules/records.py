"""Scheduler records: the input and output of its methods."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct, field

from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap, Tick


class ScheduleDraft(Struct, frozen=True, kw_only=True):
    """A schedule as its owner writes it; `CrawlSchedule` documents the fields."""

    name: str
    when: str
    zone: str = "UTC"
    description: str = ""
    template: str | None = None  # a ref, as `TemplateManager` takes it; None: *overrides* say all
    template_version: int | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    overrides: Mapping[str, object] = field(default_factory=dict)
    overlap: Overlap = Overlap.SKIP
    misfire: Misfire = Misfire.RUN_ONCE
    grace: timedelta = timedelta(minutes=5)
    catch_up: int = 10
    jitter: timedelta = timedelta(0)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    runs_left: int | None = None
    pause_after: int | None = None


EDITABLE = frozenset(ScheduleDraft.__struct_fields__)
"""The fields of a schedule that can be changed."""


class RecentTick(Struct, frozen=True, kw_only=True):
    """A row of the ledger, with the current state of its job."""

    tick: Tick
    state: State | None = None  # None: there is no job, or it has been deleted


class Occurrence(Struct, frozen=True, kw_only=True):
    """A time at which a schedule is due."""

    due_at: datetime
    schedule: CrawlSchedule


class Calendar(Struct, frozen=True, kw_only=True):
    """Occurrences of all schedules, in order; *whole* means none was left out."""

    occurrences: tuple[Occurrence, ...]
    whole: bool
    unreadable: tuple[CrawlSchedule, ...] = ()  # left out: their zones are no more, say


class Backfilled(Struct, frozen=True, kw_only=True):
    """What a backfill made up for, or would make up for in a dry run."""

    dry_run: bool
    runs: tuple[Tick, ...]  # the earliest first; without jobs after a dry run
    kept: int  # instants of the range that have run or wait already, or are not decided yet
    since: datetime
    until: datetime  # without this instant
