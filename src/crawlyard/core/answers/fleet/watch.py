"""The shapes of what there is to look at: workers, hosts, logs, courses."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from crawlyard.core.answers.base import Wire, derived
from crawlyard.core.hosts.hosts import HostRule
from crawlyard.core.jobs.job_log import Course, LogLine, Point
from crawlyard.core.overview.worker_status import WorkerReport


class WorkerOut(Wire, frozen=True, kw_only=True):
    """A worker, as it says of itself every two seconds; who is no admin sees less of it."""

    id: str
    object: Literal["worker"] = "worker"
    state: str  # idle, running, quiet, stopping or gone; a wish counts at once
    alive: bool  # it has said something lately
    wish: str  # what was asked of it: quiet, stop, or nothing
    quiet: bool  # it says that it claims no more jobs
    stopping: bool  # it says that it ends
    host: str
    pid: int
    version: str
    slots: int
    tags: tuple[str, ...]  # it takes jobs that ask for these
    browsers: tuple[str, ...]  # that it can render pages with: lightpanda, chromium
    running: tuple[str, ...]  # ids of jobs
    pages: int  # since it began
    bytes: int
    errors: Mapping[str, int]  # by kind
    pages_per_s: float
    memory_bytes: int
    cpu: float  # of one processor, lately: 0.5 is half of its time
    load: float  # of its machine, the last minute
    started_at: datetime
    beat_at: datetime

    @classmethod
    def of(cls, report: WorkerReport, *, alive: bool) -> "WorkerOut":
        """Return the shape of *report*."""
        state = report.state(alive=alive).value
        return cls.filled(report, state=state, alive=alive)


class HostRuleOut(Wire, frozen=True, kw_only=True):
    """What operators say of a host, for all jobs of all users."""

    state: str  # open, paused: nobody asks it; blocked: its URLs are skipped
    delay_s: float | None  # at least; null: as jobs wish
    at_once: int | None  # requests, at most; null: as jobs wish
    note: str
    version: int
    updated_at: datetime
    updated_by: str  # a user's id

    @classmethod
    def of(cls, rule: HostRule) -> "HostRuleOut":
        """Return the shape of *rule*."""
        return cls.filled(rule, updated_by=rule.actor)


class HostOut(Wire, frozen=True, kw_only=True):
    """What is done to one host by all workers together and for whom, and what is said of it."""

    host: str
    object: Literal["host"] = "host"
    state: str  # of its rule; open without one
    version: int  # of its rule; 0: it has none
    rule: HostRuleOut | None
    in_flight: int
    at_once: int  # 0: nobody asks it now
    delay_s: float
    delay_from: str  # job, robots, rule or others: a job of another worker
    refusals: int  # 429 and 503, in a row
    held_until: datetime | None  # it asked for a rest
    booked_until: datetime | None  # the first instant that is not booked
    waiting: int  # URLs that workers have in memory, at most some 10,000 of a job; of all jobs
    jobs: tuple[str, ...]
    others: int  # jobs of others
    workers: tuple[str, ...]

    def under(self, rule: HostRule | None) -> "HostOut":
        """Return the host with its rule."""
        if rule is None:
            return self
        return replace(
            self, state=rule.state.value, version=rule.version, rule=HostRuleOut.of(rule)
        )


@derived
class LineOut(LogLine, Wire, frozen=True, kw_only=True):
    """One line of a job's log; *n* rises within the job."""

    object: Literal["log_line"] = "log_line"
    level: str  # type: ignore[assignment]  # the word for the severity


@derived
class PointOut(Point, Wire, frozen=True, kw_only=True):
    """What a job did in one stretch of its running time."""


@derived
class CourseOut(Course, Wire, frozen=True, kw_only=True):
    """How a job went: points of about equal length, the oldest first, at most 120."""

    object: Literal["metrics"] = "metrics"
    points: tuple[PointOut, ...]
