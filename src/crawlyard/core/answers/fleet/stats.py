"""The shapes of figures for a dashboard."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

from crawlyard.core.answers.base import Wire
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.overview.stats import FailingHost


class StepOut(Wire, frozen=True, kw_only=True):
    """Jobs that ended in one stretch of time, by their state."""

    at: datetime  # its beginning
    ended: Mapping[str, int]


class DayOut(Wire, frozen=True, kw_only=True):
    """What was fetched on one day, of UTC."""

    day: date
    pages: int
    bytes: int
    errors: int

    @classmethod
    def of(cls, day: date, usage: Usage) -> "DayOut":
        """Return what *usage* says of *day*."""
        return cls(day=day, pages=usage.pages, bytes=usage.bytes, errors=usage.errors)


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


class StatsOut(Wire, frozen=True, kw_only=True):
    """Figures for a dashboard."""

    object: Literal["stats"] = "stats"
    since: datetime
    until: datetime
    step_s: float
    cards: CardsOut
    finished: tuple[StepOut, ...]  # the earliest first
    days: tuple[DayOut, ...]  # the same
    failing_hosts: tuple[FailingHost, ...]  # at most ten: those that failed most often first
