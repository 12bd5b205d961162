"""Traces of a run under faults: the log of the server, the events, the store.

Instants are seconds of the monotonic clock, which all processes of a machine share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.spec import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that the server got."""

    job: str  # empty: robots.txt, which is no job's own
    worker: str
    host: str
    path: str
    at: float
    ended_at: float | None = None  # answered, or left by its client; None: neither

    @property
    def url(self) -> str:
        return f"http://{self.host}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    job: str
    name: EventName
    state: State  # after it
    at: float
    worker: str = ""  # the worker that started or released the job
    reason: StateReason | None = None  # of the state


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """An operator was answered that a job is paused or cancelled now."""

    job: str
    state: State
    at: float


class FaultKind(StrEnum):
    """Kinds of faults injected into a fleet."""

    KILL = auto()  # SIGKILL; another process takes its place
    STOP = auto()  # SIGSTOP for longer than a lease, then SIGCONT
    LOCK = (
        auto()
    )  # SIGSTOP within a transaction: until SIGCONT, no other process can write to the SQLite file
    RESTART = auto()  # of Postgres, immediate
    CUT = auto()  # all connections to Postgres, by pg_terminate_backend
    STEP = auto()  # of the wall clock of one process
    REDIS_KILL = auto()  # and a new, empty one in its place
    REDIS_FLUSH = auto()
    REDIS_STOP = auto()  # it hangs for some seconds


HARMFUL = frozenset(
    {FaultKind.KILL, FaultKind.STOP, FaultKind.LOCK, FaultKind.RESTART, FaultKind.CUT}
)
"""What may cost a worker its jobs; clocks and Redis do not matter to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that was done."""

    kind: FaultKind
    since: float
    until: float
    worker: str = ""  # the affected worker; empty: all

    def befell(self, worker: str) -> bool:
        """Tell whether it may have kept a worker from its store, or ended it."""
        return self.kind in HARMFUL and self.worker in ("", worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A job that was submitted, and what it can reach."""

    job: str
    urls: frozenset[str]
    pages: int | None = None  # its limit
    spread: bool = False  # over several workers at once
    priority: Priority = Priority.NORMAL
    fails: frozenset[str] = frozenset()  # of its URLs, until an operator has them retried
    ends: State = State.COMPLETED  # cancelled: an operator did that

    @property
    def due_pages(self) -> int:
        """Number of pages that it must have in the end."""
        reach = len(self.urls)
        return reach if self.pages is None else min(self.pages, reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A job as the store has it in the end."""

    job: str
    state: State
    urls: Sequence[str]  # of its page records
    counted: int  # pages, by its usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A schedule: the instants at which it was due, those of its ledger and of its jobs."""

    schedule: str
    due: frozenset[str]
    rows: Sequence[str]
    jobs: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Rate limits of all hosts."""

    delay_s: float
    at_once: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All of it."""

    wanted: Sequence[Wanted]
    found: Sequence[Found]
    told: Sequence[JobEvent]  # in the order in which they became true
    asked: Sequence[Asked]
    faults: Sequence[Fault]
    said: Sequence[Acknowledgement] = ()
    ledgers: Sequence[Ledger] = ()
    pace: Pace | None = None
    slowness: float = 1.0  # delay of a process beyond its processor time


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The time from a claim of a job to the event that took it from its worker."""

    job: str
    worker: str
    since: float
    until: float = field(default=float("inf"))


def holds(events: Sequence[JobEvent]) -> Mapping[str, Sequence[Hold]]:
    """Return who held each job, the earliest first."""
    holds_by_job: dict[str, list[Hold]] = {}
    running: dict[str, JobEvent] = {}
    for event in events:
        begun = running.get(event.job)
        ends = event.name is EventName.STARTED or event.state is not State.RUNNING
        if begun is not None and ends:
            del running[event.job]
            holds_by_job.setdefault(event.job, []).append(
                Hold(job=event.job, worker=begun.worker, since=begun.at, until=event.at)
            )
        if event.name is EventName.STARTED:
            running[event.job] = event
    for begun in running.values():
        holds_by_job.setdefault(begun.job, []).append(
            Hold(job=begun.job, worker=begun.worker, since=begun.at)
        )
    return holds_by_job
