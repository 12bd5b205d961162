"""Queue: its order (level, then turn between owners, then age), and wakeups when work is due."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import Priority


def claim_key(job: Job) -> tuple[int, int, datetime, str]:
    """Return the sort key of pending jobs: the smallest is claimed first."""
    return (-job.level.rank, job.turn, job.queued_at, job.id)


def claimable(job: Job, now: datetime) -> bool:
    """Return whether *job* is pending and due; its lease must be free as well."""
    return job.state is State.PENDING and job.due_at <= now


def takes(asker: Asker, job: Job) -> bool:
    """Return whether *asker* may claim *job* once it is due.

    A worker that requests a specific job was told to run it, regardless of required tags.
    """
    if asker.only is not None:
        return job.id == asker.only
    return job.level >= asker.least and can_run(asker.tags, job.spec.worker_tags)


def can_run(tags: frozenset[str], needs: Iterable[str]) -> bool:
    """Return whether a worker with *tags* has all that a job *needs*."""
    return tags.issuperset(needs)


class QueueEntry(Struct, frozen=True, kw_only=True):
    """The turns of one level at the time when a job of an owner enters it."""

    head: int | None = None  # the lowest turn of waiting jobs; None if none waits
    served: int | None = None  # the highest turn of running jobs
    last: int | None = None  # the highest turn of the owner's own waiting jobs


def turn_of_new(line: QueueEntry) -> int:
    """Return the turn of a job that is new in a level: one after its owner's last waiting job.

    An owner without waiting jobs starts where the others are. So no backlog delays another
    owner's first job, and no owner saves up turns by submitting nothing.

    Source: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), each job
    counting as one.
    """
    reached = max(line.head or 0, line.served or 0)
    return reached if line.last is None else max(reached, line.last + 1)


def turn_of_returned(turn: int, line: QueueEntry) -> int:
    """Return the turn of a job that had *turn* and is queued again without having ended.

    It keeps *turn*, unless turns have started over meanwhile: then it is first, or after its
    owner's other jobs. If all jobs of one user are paused and resumed, they keep their distances.
    """
    if line.head is None:
        return turn
    return min(turn, line.head if line.last is None else max(line.head, line.last + 1))


def waits_since(job: Job) -> datetime:
    """Return since when a pending job could have started."""
    return max(job.since, job.due_at)


def levels_risen(priority: Priority, since: datetime, now: datetime, step: timedelta) -> int:
    """Return how many levels a job has risen that has waited since *since*: one for each *step*.

    It rises up to `Priority.HIGH`: a job is urgent only if its submitter says so.
    """
    most = max(0, Priority.HIGH.rank - priority.rank)
    return min(most, max(0, (now - since) // step))


def may_preempt(job: Job, now: datetime, patience: timedelta) -> bool:
    """Return whether a waiting job may take the slot of a job that `yields`."""
    return job.level is Priority.URGENT and waits_since(job) <= now - patience


def yields(job: Job) -> bool:
    """Return whether a running job gives up its slot to an urgent job that has waited."""
    return job.state is State.RUNNING and job.level is Priority.LOW


class PriorityQueue:
    """The queue order over a set of jobs, with which every store's claim must agree."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = tuple(jobs)

    def next(self, now: datetime) -> Job | None:
        """Return the job to claim at *now*; ``None`` if none is due."""
        return min((j for j in self._jobs if claimable(j, now)), key=claim_key, default=None)

    def pending(self, priority: Priority | None = None) -> list[Job]:
        """Return the pending jobs, of one priority or of all, in the order they will be claimed."""
        waiting = (j for j in self._jobs if j.state is State.PENDING)
        return sorted((j for j in waiting if priority in (None, j.priority)), key=claim_key)

    def counts(self) -> Mapping[Priority, int]:
        """Return how many jobs wait at each priority, highest first, zeros included."""
        waiting = Counter(j.priority for j in self._jobs if j.state is State.PENDING)
        return {p: waiting[p] for p in sorted(Priority, reverse=True)}


class Wakeup(Struct, frozen=True, order=True):
    """Work waits from *at* on. It names no job: a worker takes the first one in the queue."""

    at: datetime
    needs: str = ""  # required worker tags: sorted, one per line
    urgent: bool = False  # reserved slots take it as well
    shard: bool = False  # a shard of a running job: not every free worker may take it at once


def due_of(job: Job) -> Wakeup:
    """Return the wakeup at the due time of a pending job, for workers that can run it."""
    needs = needs_text(job.spec.worker_tags)
    return Wakeup(at=job.due_at, needs=needs, urgent=job.level is Priority.URGENT)


def needs_text(tags: Collection[str]) -> str:
    """Return the tags that a job requires, in the form used by `Wakeup` and in the store."""
    return "\n".join(sorted(set(tags))) if tags else ""
