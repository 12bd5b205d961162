"""Monitoring data: worker reports, a job's log, and its course over time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum, StrEnum, auto

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.hosts.rule import HostRule, HostState
from crawlyard.core.jobs.lifecycle import State


class Level(IntEnum):
    """The severity of a log line."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40

    def __str__(self) -> str:
        return self.name.lower()


MOST_LINES = 2_000
"""Lines of a job's log that are kept, the newest ones."""

MAX_MESSAGE = 500


class LogLine(Struct, frozen=True, kw_only=True):
    """One line of a job's log."""

    at: datetime
    level: Level
    message: str
    url: str = ""
    n: int = 0  # assigned by the store: increases within a job


class LogEnd(Struct, frozen=True, kw_only=True):
    """Where a job's log ends at one moment, and whether more may follow."""

    n: int  # of the newest line; 0 if there is none
    state: State  # of the job
    held_until: datetime | None  # when its lease expires; None: not leased

    @property
    def forgotten(self) -> int:
        """Return the highest line number that is no longer kept."""
        return max(0, self.n - MOST_LINES)

    def over(self, now: datetime) -> bool:
        """Return whether no more lines follow.

        That is not so as soon as a job has ended: a worker that was told to stop still writes its
        last batch.
        """
        return self.state.ended and (self.held_until is None or self.held_until <= now)


class HostReport(Struct, frozen=True, kw_only=True):
    """What one worker does on one host."""

    host: str
    in_flight: int = 0
    at_once: int = 1
    delay_s: float = 0.0
    held_until: datetime | None = None  # because of its last refusal
    refusals: int = 0  # consecutive
    state: HostState = HostState.OPEN
    idle: bool = False  # no URLs wait for it
    waiting: int = 0  # waiting URLs that its jobs have in memory
    jobs: tuple[str, ...] = ()  # ids

    def is_held(self, now: datetime) -> bool:
        """Return whether requests are on hold because of a refusal."""
        return self.held_until is not None and self.held_until > now


class HostBooking(Struct, frozen=True, kw_only=True):
    """How far ahead all workers together have booked a host."""

    booked_until: datetime | None = None  # the first time that is not booked
    held_until: datetime | None = None  # when the host accepts requests again


class WorkerWish(StrEnum):
    """What an operator asks of a worker."""

    NONE = ""  # that it works
    QUIET = auto()  # that it claims no more, and goes on with what it runs
    STOP = auto()  # that it gives its jobs back and ends


class WorkerState(StrEnum):
    """The state of a worker, in one word."""

    IDLE = auto()  # it has no job
    RUNNING = auto()
    QUIET = auto()  # it claims no more jobs
    STOPPING = auto()  # it gives its jobs back, and ends
    GONE = auto()  # it has said nothing lately


class WorkerReport(Struct, frozen=True, kw_only=True):
    """A worker, as it reports itself every few seconds; only its wish comes from others."""

    id: str
    host: str
    pid: int
    version: str
    slots: int
    reserved: int = 0  # its last free slots, reserved for urgent jobs
    tags: tuple[str, ...] = ()  # it can run jobs that require these; sorted
    running: tuple[str, ...] = ()  # ids of jobs
    pages: int = 0  # since its start
    bytes: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)  # by kind
    waits: tuple[int, ...] = ()  # jobs started, by how long they had been due: `WAIT_BOUNDS_S`
    waited_s: float = 0.0  # total of these waits
    pages_per_s: float = 0.0  # recently
    memory_bytes: int = 0
    cpu: float = 0.0  # of one processor, recently: 0.5 is half of its time
    load: float = 0.0  # of its machine, over the last minute
    quiet: bool = False
    stopping: bool = False
    wish: WorkerWish = WorkerWish.NONE  # set by the store; a value in its own report is ignored
    hosts: tuple[HostReport, ...] = ()
    started_at: datetime
    beat_at: datetime

    @property
    def claims(self) -> bool:
        """Return whether it takes jobs, as far as is known."""
        return not (self.quiet or self.stopping or self.wish is not WorkerWish.NONE)

    def state(self, *, alive: bool) -> WorkerState:
        """Return its state; what an operator asks of it counts at once."""
        if not alive:
            return WorkerState.GONE
        if self.stopping or self.wish is WorkerWish.STOP:
            return WorkerState.STOPPING
        if self.quiet or self.wish is WorkerWish.QUIET:
            return WorkerState.QUIET
        return WorkerState.RUNNING if self.running else WorkerState.IDLE


class Point(Struct, frozen=True, kw_only=True):
    """What a job did in one step of its running time."""

    at: datetime  # start of the step
    seconds: float = 0.0
    pages: int = 0
    bytes: int = 0
    errors: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)  # by class: "2xx"
    latency_ms: float = 0.0  # the mean
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
            points[-1] = _joined(points[-1], point)
        else:
            points.append(point)
        step_s = self.step_s
        while len(points) > MOST_POINTS:
            points = [_joined_all(points[n : n + 2]) for n in range(0, len(points), 2)]
            step_s *= 2
        return replace(self, step_s=step_s, points=tuple(points))

    @property
    def at_a_step(self) -> bool:
        """Return whether its last point is complete."""
        return bool(self.points) and self.points[-1].seconds >= self.step_s


def _joined(first: Point, second: Point) -> Point:
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


def _joined_all(points: Sequence[Point]) -> Point:
    joined, *rest = points
    for point in rest:
        joined = _joined(joined, point)
    return joined


class HostStanding(Struct, frozen=True, kw_only=True):
    """What all workers together do on one host, and its rule."""

    host: str
    in_flight: int = 0
    at_once: int  # the lowest that any of its jobs asks for; 0: no job uses it
    delay_s: float  # the longest
    refusals: int = 0  # consecutive
    held_until: datetime | None = None
    booked_until: datetime | None = None
    waiting: int = 0  # URLs that workers have in memory, at most about 10,000 per job
    jobs: tuple[str, ...] = ()  # ids, of those that the actor may see
    others: int = 0  # number of other users' jobs on this host
    workers: tuple[str, ...] = ()
    rule: HostRule | None = None
