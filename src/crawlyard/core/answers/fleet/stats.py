"""The shapes of figures for a dashboard."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

from crawlyard.core.answers.base import Wire, seconds
from crawlyard.core.overview.snapshot import Snapshot
from crawlyard.core.overview.stats import DayFigures, FailingHost, Figures, StatsStep


class StepOut(Wire, frozen=True, kw_only=True):
    """Jobs that ended in one stretch of time, by their state."""

    at: datetime  # its beginning
    ended: Mapping[str, int]

    @classmethod
    def of(cls, step: StatsStep) -> "StepOut":
        """Return the shape of *step*."""
        return cls(at=step.at, ended={str(state): n for state, n in step.ended.items()})


class DayOut(Wire, frozen=True, kw_only=True):
    """What was fetched on one day, of UTC."""

    day: date
    pages: int
    bytes: int
    errors: int

    @classmethod
    def of(cls, figures: DayFigures) -> "DayOut":
        """Return the shape of *figures*."""
        usage = figures.usage
        return cls(day=figures.day, pages=usage.pages, bytes=usage.bytes, errors=usage.errors)


class FailingHostOut(Wire, frozen=True, kw_only=True):
    """How often URLs of one host failed for good in the range; of very many, the latest count."""

    host: str  # with a port that is not its scheme's own
    errors: int
    kinds: Mapping[str, int]  # the most frequent first
    last_at: datetime

    @classmethod
    def of(cls, failing: FailingHost) -> "FailingHostOut":
        """Return the shape of *failing*."""
        kinds = {str(kind): count for kind, count in failing.kinds.items()}
        return cls.filled(failing, kinds=kinds)


class CardsOut(Wire, frozen=True, kw_only=True):
    """Single figures: how things stand now, what ended in the range, what was fetched."""

    jobs: Mapping[str, int]  # by state
    workers: int
    ended: Mapping[str, int]  # by state
    pages_today: int
    bytes_today: int
    errors_today: int
    pages: int  # of all `days`
    bytes: int
    errors: int
    slots: int  # of all workers that take jobs
    slots_used: int
    oldest_wait_s: float | None  # of the job that is due longest; null: none waits
    pages_per_s: float  # now
    disk_free_bytes: int | None  # of the data directory; null: for admins alone
    disk_total_bytes: int | None

    @classmethod
    def of(cls, figures: Figures, moment: Snapshot) -> "CardsOut":
        """Return the shape of *figures* and of the *moment* at which they were asked for."""
        today, disk, wait = figures.today, moment.disk, moment.oldest_wait
        every = [day.usage for day in figures.days]
        return cls(
            jobs={str(state): n for state, n in figures.states.items()},
            workers=figures.workers,
            ended={str(state): n for state, n in figures.ended.items()},
            pages_today=today.pages,
            bytes_today=today.bytes,
            errors_today=today.errors,
            pages=sum(usage.pages for usage in every),
            bytes=sum(usage.bytes for usage in every),
            errors=sum(usage.errors for usage in every),
            slots=moment.slots,
            slots_used=moment.slots_used,
            oldest_wait_s=None if wait is None else seconds(wait),
            pages_per_s=round(moment.pages_per_s, 2),
            disk_free_bytes=None if disk is None else disk.free,
            disk_total_bytes=None if disk is None else disk.total,
        )


class StatsOut(Wire, frozen=True, kw_only=True):
    """Figures for a dashboard."""

    object: Literal["stats"] = "stats"
    since: datetime
    until: datetime
    step_s: float
    cards: CardsOut
    finished: tuple[StepOut, ...]  # the earliest first
    days: tuple[DayOut, ...]  # the same
    failing_hosts: tuple[FailingHostOut, ...]  # at most ten: those that failed most often first

    @classmethod
    def of(cls, figures: Figures, moment: Snapshot) -> "StatsOut":
        """Return the shape of *figures* and of the *moment* at which they were asked for."""
        return cls(
            since=figures.since,
            until=figures.until,
            step_s=seconds(figures.step),
            cards=CardsOut.of(figures, moment),
            finished=tuple(map(StepOut.of, figures.steps)),
            days=tuple(map(DayOut.of, figures.days)),
            failing_hosts=tuple(map(FailingHostOut.of, figures.failing)),
        )
