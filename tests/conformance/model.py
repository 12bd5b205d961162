"""Reference model of a store, in a hundred lines: jobs, leases, targets.

Written from the Protocols alone and sharing no code with any store, so that a rule
that every store breaks is still found.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind, Target, TargetState
from crawlyard.core.jobs.checkpoint import Batch, Lease, Order
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.queue import claim_key
from tests.builders import LEASE


class Fate(Enum):
    """Expected fate of a batch."""

    WRITTEN = auto()
    ANSWERED = auto()
    LOST = auto()


@dataclass(slots=True)
class ModelTarget:
    """One target, in the order of finding."""

    target: Target
    state: TargetState = TargetState.WAITING
    error: ErrorKind | None = None
    answered: bool = False  # with a status


@dataclass(slots=True)
class ModelJob:
    """A job, its lease, and its targets by fp."""

    job: Job
    worker: str | None = None
    attempt: int = 0
    until: datetime | None = None
    seq: int = 0
    deleted: bool = False
    targets: dict[int, ModelTarget] = field(default_factory=dict)
    pages: list[str] = field(default_factory=list)  # URLs, in the order stored
    counts: dict[str, int] = field(
        default_factory=lambda: {"pages": 0, "errors": 0, "done": 0, "discovered": 0}
    )

    def is_free(self, now: datetime) -> bool:
        return self.worker is None or self.until is None or self.until <= now

    def fate(self, lease: Lease) -> Fate:
        if self.deleted or lease.attempt != self.attempt:
            return Fate.LOST
        return Fate.WRITTEN if lease.seq == self.seq else Fate.ANSWERED

    def order(self, lease: Lease) -> Order:
        if self.deleted or lease.attempt != self.attempt:
            return Order.LOST
        if self.job.state is not State.RUNNING:
            return Order.STOP if self.worker else Order.LOST
        return Order.CHANGED if lease.version != self.job.version else Order.GO_ON

    def claim(self, job: Job, worker: str, now: datetime) -> None:
        self.job, self.worker, self.until = job, worker, now + LEASE
        self.attempt += 1

    def free(self) -> None:
        self.worker = self.until = None

    def write(self, lease: Lease, batch: Batch, now: datetime) -> None:
        self.seq += 1
        if self.job.state is State.RUNNING or (self.worker and not batch.last):
            self.worker, self.until = lease.worker, now + LEASE
        else:
            self.free()
        for name in self.counts:
            self.counts[name] += getattr(batch.usage, name)
        for target in batch.found:
            self.targets.setdefault(target.fp, ModelTarget(target))
        for outcome in batch.outcomes:
            stored_target = self.targets[outcome.target.fp]
            stored_target.state = outcome.state
            if outcome.page is not None:
                error = outcome.page.error
                stored_target.error = None if error is None else error.kind
                stored_target.answered = outcome.page.status is not None
                self.pages.append(outcome.page.url)

    def retry(self, kinds: frozenset[ErrorKind]) -> int:
        again = [t for t in self.targets.values() if t.error and (not kinds or t.error in kinds)]
        for target in again:
            self.counts["pages"] -= target.answered
            self.counts["errors"] -= 1
            self.counts["done"] -= 1
            self.pages.remove(target.target.url)
            target.state, target.error, target.answered = TargetState.WAITING, None, False
        return len(again)

    def waiting(self) -> list[str]:
        """Return the URLs that wait, breadth first: sorting keeps the order of finding."""
        targets = [t.target for t in self.targets.values() if t.state is TargetState.WAITING]
        return [t.url for t in sorted(targets, key=lambda t: t.depth)]


def turn_of(job: Job, before: Job | None, jobs: Iterable[Job]) -> int:
    """Return the expected turn of a job that replaces *before*.

    *jobs* are all jobs of the store; *before* is ``None`` for a new one.
    """
    if job.state is not State.PENDING:
        return job.turn
    here = [j for j in jobs if j.level is job.level and j.id != job.id]
    waiting = [j.turn for j in here if j.state is State.PENDING]
    own = [j.turn + 1 for j in here if j.state is State.PENDING and j.owner == job.owner]
    if before is not None and before.state in (State.RUNNING, State.PAUSED):
        return min(job.turn, max([min(waiting), *own])) if waiting else job.turn
    if before is not None and before.state is State.PENDING and before.level is job.level:
        return job.turn
    running = max((j.turn for j in here if j.state is State.RUNNING), default=0)
    return max([min(waiting, default=0), running, *own])


@dataclass(slots=True)
class Model:
    """All jobs by id."""

    now: datetime
    jobs: dict[str, ModelJob] = field(default_factory=dict)

    def add(self, job: Job) -> None:
        turn = turn_of(job, None, (j.job for j in self.there()))
        self.jobs[job.id] = ModelJob(replace(job, turn=turn))

    def save(self, model_job: ModelJob, job: Job) -> None:
        job = replace(job, turn=model_job.job.turn)
        turn = turn_of(job, model_job.job, (j.job for j in self.there()))
        model_job.job = replace(job, turn=turn)

    def there(self) -> list[ModelJob]:
        return [j for j in self.jobs.values() if not j.deleted]

    def next(self) -> ModelJob | None:
        """Return what a claim has to take."""
        free = [
            j
            for j in self.there()
            if j.job.state is State.PENDING and j.job.due_at <= self.now and j.is_free(self.now)
        ]
        return min(free, key=lambda j: claim_key(j.job), default=None)

    def lapsed(self, dead: set[str]) -> list[ModelJob]:
        """Return the jobs whose leases are to be taken back."""
        return [
            j
            for j in self.there()
            if (j.worker and (j.is_free(self.now) or j.worker in dead))
            or (j.job.state is State.RUNNING and not j.worker)
        ]
