"""A job's log lines and its course over time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum, StrEnum, auto
from typing import Annotated

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.fields import round_to
from crawlyard.core.jobs.lifecycle import State


class Level(IntEnum):
    """Severity of a log line."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40

    def __str__(self) -> str:
        return self.name.lower()


class LevelWord(StrEnum):
    """Severity of a log line in a word, for filters."""

    DEBUG = auto()
    INFO = auto()
    WARNING = auto()
    ERROR = auto()


MOST_LINES = 2_000
"""Maximum lines of a job's log; older ones are deleted."""

MAX_MESSAGE = 500


class LogLine(Struct, frozen=True, kw_only=True):
    """One line of a job's log."""

    n: int = 0  # assigned by the store: increases within a job
    at: datetime
    level: Level
    message: str
    url: str = ""


class LogEnd(Struct, frozen=True, kw_only=True):
    """End of a job's log at one moment, and whether more lines may follow."""

    n: int  # of the newest line; 0 if there is none
    state: State  # of the job
    held_until: datetime | None  # when its lease expires; None: not leased

    @property
    def forgotten(self) -> int:
        """The highest line number that has been deleted."""
        return max(0, self.n - MOST_LINES)

    def over(self, now: datetime) -> bool:
        """Return whether no more lines follow.

        A job that has ended may still get lines: a stopping worker writes its last batch.
        """
        return self.state.ended and (self.held_until is None or self.held_until <= now)


class Point(Struct, frozen=True, kw_only=True):
    """Activity of a job in one step of its running time."""

    at: datetime  # start of the step
    seconds: Annotated[float, round_to(3)] = 0.0
    pages: int = 0
    bytes: int = 0
    errors: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)  # by class: "2xx"
    latency_ms: Annotated[float, round_to(1)] = 0.0  # the mean
    waiting: int = 0  # URLs, at the end of the step


WAIT_BOUNDS_S = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0)
"""Upper bounds of the counts in `WorkerReport.waits`; one more count covers everything above."""

MOST_POINTS = 120
"""Points of a course. When there are more, pairs are merged, and each point lasts twice as long."""

FIRST_STEP_S = 5.0


class Course(Struct, frozen=True, kw_only=True):
    """The course of a job: points of equal length, oldest first."""

    step_s: float = FIRST_STEP_S
    points: tuple[Point, ...] = ()

    def grown(self, point: Point) -> "Course":
        """Return the course with *point* appended, which starts where the course ends."""
        points = list(self.points)
        if points and points[-1].seconds < self.step_s:
            points[-1] = _merge_points(points[-1], point)
        else:
            points.append(point)
        step_s = self.step_s
        while len(points) > MOST_POINTS:
            points = [_merge_all(points[n : n + 2]) for n in range(0, len(points), 2)]
            step_s *= 2
        return replace(self, step_s=step_s, points=tuple(points))

    @property
    def at_a_step(self) -> bool:
        """True if its last point is complete."""
        return bool(self.points) and self.points[-1].seconds >= self.step_s


def _merge_points(first: Point, second: Point) -> Point:
    """Return two consecutive points merged into one."""
    pages = first.pages + second.pages
    weighted = first.latency_ms * first.pages + second.latency_ms * second.pages
    return Point(
        at=first.at,
        seconds=first.seconds + second.seconds,
        pages=pages,
        bytes=first.bytes + second.bytes,
        errors=first.errors + second.errors,
        statuses=dict(Counter(first.statuses) + Counter(second.statuses)),
        latency_ms=weighted / pages if pages else 0.0,
        waiting=second.waiting,
    )


def _merge_all(points: Sequence[Point]) -> Point:
    joined, *rest = points
    for point in rest:
        joined = _merge_points(joined, point)
    return joined
