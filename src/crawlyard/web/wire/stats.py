"""The shapes of figures for a dashboard."""

from collections.abc import Mapping
from datetime import date
from typing import Literal

from crawlyard.core.stats import DayFigures, Figures, Step
from crawlyard.web.wire.base import Instant, Wire, seconds


class StepOut(Wire):
    """Jobs that ended in one stretch of time, by their state."""

    at: Instant  # its beginning
    ended: Mapping[str, int]

    @classmethod
    def of(cls, step: Step) -> "StepOut":
        """Return the shape of *step*."""
        return cls(at=step.at, ended={str(state): n for state, n in step.ended.items()})


class DayOut(Wire):
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


class CardsOut(Wire):
    """Single figures: jobs and workers now, what ended in the range, what was fetched today."""

    jobs: Mapping[str, int]  # by state
    workers: int
    ended: Mapping[str, int]  # by state
    pages_today: int
    bytes_today: int
    errors_today: int


class StatsOut(Wire):
    """Figures for a dashboard."""

    object: Literal["stats"] = "stats"
    since: Instant
    until: Instant
    step_s: float
    cards: CardsOut
    finished: tuple[StepOut, ...]  # the earliest first
    days: tuple[DayOut, ...]  # the same

    @classmethod
    def of(cls, figures: Figures) -> "StatsOut":
        """Return the shape of *figures*."""
        today = figures.today
        return cls(
            since=figures.since,
            until=figures.until,
            step_s=seconds(figures.step),
            cards=CardsOut(
                jobs={str(state): n for state, n in figures.states.items()},
                workers=figures.workers,
                ended={str(state): n for state, n in figures.ended.items()},
                pages_today=today.pages,
                bytes_today=today.bytes,
                errors_today=today.errors,
            ),
            finished=tuple(map(StepOut.of, figures.steps)),
            days=tuple(map(DayOut.of, figures.days)),
        )
