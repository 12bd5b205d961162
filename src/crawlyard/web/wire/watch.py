"""The shapes of what there is to look at: workers, hosts, logs, courses."""

from collections.abc import Mapping
from typing import Literal

from crawlyard.core.watch import Course, HostStanding, LogLine, Point, WorkerReport
from crawlyard.web.wire.base import Instant, Text, Wire


class WorkerOut(Wire):
    """A worker, as it says of itself every two seconds; who is no admin sees less of it."""

    id: str
    object: Literal["worker"] = "worker"
    alive: bool  # it has said something lately
    stopping: bool
    host: str
    pid: int
    version: str
    slots: int
    running: tuple[str, ...]  # ids of jobs
    pages: int  # since it began
    bytes: int
    errors: Mapping[str, int]  # by kind
    pages_per_s: float
    memory_bytes: int
    load: float  # of its machine, the last minute
    started_at: Instant
    beat_at: Instant

    @classmethod
    def of(cls, report: WorkerReport, *, alive: bool) -> "WorkerOut":
        """Return the shape of *report*."""
        return cls.filled(report, object="worker", alive=alive)


class HostOut(Wire):
    """What is done to one host by all workers together, and for whom."""

    host: Text
    object: Literal["host"] = "host"
    in_flight: int
    at_once: int
    delay_s: float
    refusals: int  # 429 and 503, in a row
    held_until: Instant | None  # it asked for a rest
    booked_until: Instant | None  # the first instant that is not booked
    jobs: tuple[str, ...]
    others: int  # jobs of others
    workers: tuple[str, ...]

    @classmethod
    def of(cls, standing: HostStanding) -> "HostOut":
        """Return the shape of *standing*."""
        return cls.filled(standing, object="host")


class LineOut(Wire):
    """One line of a job's log; *n* rises within the job."""

    n: int
    object: Literal["log_line"] = "log_line"
    at: Instant
    level: str
    message: Text
    url: Text

    @classmethod
    def of(cls, line: LogLine) -> "LineOut":
        """Return the shape of *line*."""
        return cls.filled(line, object="log_line", level=str(line.level))


class PointOut(Wire):
    """What a job did in one stretch of its running time."""

    at: Instant  # its beginning
    seconds: float
    pages: int
    bytes: int
    errors: int
    statuses: Mapping[str, int]  # by class: "2xx"
    latency_ms: float  # the mean
    waiting: int  # URLs, at its end

    @classmethod
    def of(cls, point: Point) -> "PointOut":
        """Return the shape of *point*."""
        return cls.filled(
            point, seconds=round(point.seconds, 3), latency_ms=round(point.latency_ms, 1)
        )


class CourseOut(Wire):
    """How a job went: points of about equal length, the oldest first, at most 120."""

    object: Literal["metrics"] = "metrics"
    step_s: float
    points: tuple[PointOut, ...]

    @classmethod
    def of(cls, course: Course) -> "CourseOut":
        """Return the shape of *course*."""
        return cls(step_s=course.step_s, points=tuple(PointOut.of(p) for p in course.points))
