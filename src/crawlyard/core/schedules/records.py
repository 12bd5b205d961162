"""What is said to and by the scheduler."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct, field

from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.schedule import CrawlSchedule, Misfire, Overlap, Tick


class ScheduleDraft(Struct, frozen=True, kw_only=True):
    """What its owner says of a schedule; `CrawlSchedule` tells what the fields mean."""

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
"""What of a schedule can be changed."""


class RecentTick(Struct, frozen=True, kw_only=True):
    """A row of the ledger, and the state of its job as it is now."""

    tick: Tick
    state: State | None = None  # None: there is no job, or it has been deleted


class Occurrence(Struct, frozen=True, kw_only=True):
    """An instant at which a schedule is due."""

    due_at: datetime
    schedule: CrawlSchedule


class Calendar(Struct, frozen=True, kw_only=True):
    """Occurrences of all schedules, in their order; *whole*: none was left out."""

    occurrences: tuple[Occurrence, ...]
    whole: bool
    unreadable: tuple[CrawlSchedule, ...] = ()  # left out: their zones are no more, say


class Backfilled(Struct, frozen=True, kw_only=True):
    """What was, or after a dry run would be, made up for."""

    dry_run: bool
    runs: tuple[Tick, ...]  # the earliest first; without jobs after a dry run
    kept: int  # instants of the range that have run or wait already, or are not decided yet
    since: datetime
    until: datetime  # without this instant
