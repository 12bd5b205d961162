"""Schedules: timetables of crawls, and policies for overlaps and missed runs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Annotated, TypeVar

from msgspec import Struct, field

from crawlyard.core.access.sharing import Sharing
from crawlyard.core.events.event import SCHEDULER, Event, EventName
from crawlyard.core.fields import HIDDEN
from crawlyard.core.parse import format_value
from crawlyard.core.schedules.timetable import check_instant
from crawlyard.core.templates.template import MAX_DESCRIPTION
from crawlyard.errors import Invalid


class Overlap(StrEnum):
    """Policies for a tick while a job of the schedule has not ended."""

    SKIP = auto()  # does not run
    QUEUE = auto()  # runs once that job has ended; one tick can wait, later ones are skipped
    CANCEL_PREVIOUS = auto()  # cancels that job, and runs
    ALLOW = auto()  # runs beside it


class Misfire(StrEnum):
    """Policies for ticks whose grace ended before a scheduler saw them."""

    RUN_ONCE = auto()  # the latest runs, the others are missed
    RUN_ALL = auto()  # the latest ones run, as many as `catch_up` says
    SKIP = auto()  # all are missed


OVERLAP_HELP: Mapping[Overlap, str] = {
    Overlap.SKIP: "No run is started while the previous one has not ended.",
    Overlap.QUEUE: "The next run starts when the previous one has ended; at most one waits.",
    Overlap.CANCEL_PREVIOUS: "The previous run is cancelled, and the new one starts at once.",
    Overlap.ALLOW: "The new run starts beside those that have not ended.",
}
"""What each policy does, in words for users. Two mappings, because "skip" is in both enums."""

MISFIRE_HELP: Mapping[Misfire, str] = {
    Misfire.RUN_ONCE: "After downtime of the scheduler, only the latest missed run is started.",
    Misfire.RUN_ALL: (
        "After downtime of the scheduler or a pause, the latest missed runs are started, at most "
        "catch_up of them; the overlap policy applies to them too."
    ),
    Misfire.SKIP: "Missed runs are dropped; the schedule continues with the next planned run.",
}

MOST_CATCH_UP = 1000
"""The most ticks that `Misfire.RUN_ALL` can make up for at once."""

MOST_FAILURES = 1000
"""The highest number of consecutive failures that a schedule can be set to tolerate."""

MOST_RUNS = 1_000_000_000
"""The highest number of remaining runs: one every 10 seconds for 300 years."""

LONGEST_GRACE = timedelta(days=31)
LONGEST_JITTER = timedelta(days=1)


BY_ITSELF = SCHEDULER
"""The value of `paused_by`, and the actor, if it was not a user."""


class TickOutcome(StrEnum):
    """Outcomes of a time at which a schedule was due."""

    RAN = auto()  # a job was submitted
    CAUGHT_UP = auto()  # a job was submitted, late or by a backfill
    WAITING = auto()  # a job will be submitted when the previous one has ended
    SKIPPED = auto()  # not run; the reason says why
    MISSED = auto()  # no scheduler was running in time, and the policy drops it
    REPLACED = auto()  # its job was cancelled for the next run


class TickReason(StrEnum):
    """Causes of the outcomes of ticks, each noted with its outcomes."""

    ON_TIME = auto()  # ran: within its grace period
    BY_USER = auto()  # ran: a user requested a run now
    LATE = auto()  # caught_up: started by the misfire policy
    BACKFILL = auto()  # caught_up: a user requested a backfill
    OVERLAP = auto()  # skipped, waiting, replaced: another job was active; ran: after waiting
    PAUSED = auto()  # skipped: the schedule was paused
    QUOTA = auto()  # skipped: its owner has too many jobs waiting
    REFUSED = auto()  # skipped: the job could not be submitted; the detail says why
    EXISTS = auto()  # skipped: there is a job with its unique key; the detail names it
    NO_RUNS = auto()  # skipped: it waited, and the schedule had no runs left
    NO_SCHEDULER = auto()  # missed: no scheduler was running


class Tick(Struct, frozen=True, kw_only=True):
    """One row of the ledger; there is one for each time at which a schedule was due."""

    schedule_id: str
    due_at: datetime
    outcome: TickOutcome
    reason: TickReason
    detail: str = ""
    job_id: str | None = None
    decided_at: datetime


class CrawlSchedule(Struct, frozen=True, kw_only=True):
    """When to run a crawl. Edits increment *version*; every change increments *beat*.

    `core.schedules.timetable.timetable` documents and checks the values of *when* and *zone*.

    Raises:
        Invalid: a value is out of range.
    """

    id: str
    owner: str
    name: str
    description: str = ""
    paused_at: datetime | None = None  # None: it is on
    paused_by: str = ""
    pause_reason: str = ""
    when: str  # "0 3 * * *", "@daily", "every 6h", "at 2027-01-01T08:00"
    zone: str = "UTC"  # IANA
    next_at: datetime | None = None  # the next due time; None: there is none
    fire_at: datetime | None = None  # next_at with its jitter
    waiting_at: datetime | None = None  # due time of a tick that waits for the previous job
    template_id: str | None = None  # None: *overrides* are the whole spec
    template_version: int | None = None  # None: the latest when it runs
    params: Mapping[str, object] = field(default_factory=dict)
    overrides: Mapping[str, object] = field(default_factory=dict)  # as `CrawlTemplate.spec`
    # set by a user who is `Actor.trusted`
    trusted: Annotated[bool, HIDDEN] = False
    overlap: Overlap = Overlap.SKIP
    misfire: Misfire = Misfire.RUN_ONCE
    grace: timedelta = timedelta(minutes=5)  # so late a tick still counts as on time
    catch_up: int = 10  # maximum ticks that RUN_ALL makes up
    jitter: timedelta = timedelta(0)  # each tick is delayed by up to this, always the same
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    runs_left: int | None = None  # None: no end
    pause_after: int | None = None  # failed jobs in a row that pause it; None: never
    # every instant up to this one is decided, even if a clock goes back
    decided_to: Annotated[datetime | None, HIDDEN] = None
    # wall clock at its creation
    anchored_at: Annotated[datetime | None, HIDDEN] = None
    # failures in a row are counted from this beat on: of the last resume
    fresh_beat: Annotated[int, HIDDEN] = 0
    # invalid fields of its row, which have been left out; never stored
    flaw: Annotated[str, HIDDEN] = ""
    beat: Annotated[int, HIDDEN] = 0
    version: int = 1
    created_at: datetime
    updated_at: datetime

    def __post_init__(self) -> None:
        for name, (kinds, expected) in _KINDS.items():
            value: object = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise Invalid(name, f"expected {expected}, got {format_value(value)}")
        if not self.name.strip():
            raise Invalid("name", "expected a name, got nothing")
        if len(self.description) > MAX_DESCRIPTION:
            length = f"got {len(self.description)}"
            raise Invalid("description", f"expected at most {MAX_DESCRIPTION} characters, {length}")
        _within("template_version", self.template_version, 1, 2**31 - 1)
        _within("grace", self.grace, timedelta(0), LONGEST_GRACE)
        _within("jitter", self.jitter, timedelta(0), LONGEST_JITTER)
        _within("catch_up", self.catch_up, 1, MOST_CATCH_UP)
        _within("runs_left", self.runs_left, 0, MOST_RUNS)
        _within("pause_after", self.pause_after, 1, MOST_FAILURES)
        for name, instant in (("starts_at", self.starts_at), ("ends_at", self.ends_at)):
            if instant is not None:
                check_instant(name, instant)
        if self.starts_at is not None and self.ends_at is not None:
            _within("ends_at", self.ends_at, self.starts_at)

    @property
    def anchor(self) -> datetime:
        """The time from which intervals are counted."""
        return self.starts_at or self.anchored_at or self.created_at

    @property
    def shared(self) -> Sharing:
        """Rights of other users to the schedule, from its own crawl settings, not its template."""
        value = self.overrides.get("shared")
        try:
            return Sharing.READ if value is None else Sharing(str(value))
        except ValueError:  # an edited row
            return Sharing.PRIVATE


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


class Backfilled(Struct, frozen=True, kw_only=True):
    """Result of a backfill, or of its dry run."""

    dry_run: bool
    since: datetime
    until: datetime  # without this instant
    runs: tuple[Tick, ...]  # the earliest first; without jobs after a dry run
    kept: int  # instants of the range that have run or wait already, or are not decided yet


_NONE = type(None)
_TEXT, _OBJECT = ((str,), "text"), ((Mapping,), "an object")
_COUNT = ((int, _NONE), "a whole number, or null")
_SPAN = ((timedelta,), "a duration")
_INSTANT = ((datetime, _NONE), "an instant, or null")
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("name", "description", "when", "zone"), _TEXT),
    **dict.fromkeys(("params", "overrides"), _OBJECT),
    **dict.fromkeys(("template_version", "runs_left", "pause_after"), _COUNT),
    "catch_up": ((int,), "a whole number"),
    "overlap": ((Overlap,), f"one of {', '.join(Overlap)}"),
    "misfire": ((Misfire,), f"one of {', '.join(Misfire)}"),
    **dict.fromkeys(("grace", "jitter"), _SPAN),
    **dict.fromkeys(("starts_at", "ends_at"), _INSTANT),
}
"""Types that user-supplied values must have, because a type checker does not see input."""

V = TypeVar("V", int, timedelta, datetime)


def _within(name: str, value: V | None, least: V, most: V | None = None) -> None:
    if value is not None and (value < least or (most is not None and value > most)):
        span = f"at least {least}" if most is None else f"{least} to {most}"
        raise Invalid(name, f"expected {span}, got {value}")


# --- events


def event_for(
    schedule: CrawlSchedule, name: EventName, now: datetime, actor: str, **data: object
) -> Event:
    """Return an event with the schedule as its subject and *data* as its details."""
    return Event(
        name=name,
        subject=schedule.id,
        owner=schedule.owner,
        at=now,
        actor=actor,
        data={"name": schedule.name, "version": schedule.version, **data},
    )


def tick_event(schedule: CrawlSchedule, tick: Tick, actor: str) -> Event:
    """Return the event that announces *tick*: its outcome, its reason and its job."""
    return event_for(
        schedule,
        EventName.SCHEDULE_TICKED,
        tick.decided_at,
        actor,
        due_at=tick.due_at.isoformat(),
        outcome=tick.outcome.value,
        reason=tick.reason.value,
        detail=tick.detail,
        job_id=tick.job_id,
    )
