"""Which job is next: by level, then in turn between owners, then by who has waited longest."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.priority import Priority


def claim_key(job: Job) -> tuple[int, int, datetime, str]:
    """Return what pending jobs are sorted by: the smallest is claimed first."""
    return (-job.level, job.turn, job.queued_at, job.id)


def claimable(job: Job, now: datetime) -> bool:
    """Tell whether *job* waits and is due; its lease must be free as well."""
    return job.state is State.PENDING and job.due_at <= now


def takes(asker: Asker, job: Job) -> bool:
    """Tell whether *job*, once it is due, is one that *asker* may claim.

    Whoever asks for one job alone was told to run it, whatever tags it needs.
    """
    if asker.only is not None:
        return job.id == asker.only
    return job.level >= asker.least and can_run(asker.tags, job.spec.worker_tags)


def can_run(tags: frozenset[str], needs: Iterable[str]) -> bool:
    """Tell whether a worker with *tags* has all that a job *needs*."""
    return tags.issuperset(needs)


class QueueEntry(Struct, frozen=True, kw_only=True):
    """How far the turns of one level have come, as a job of an owner comes into it."""

    head: int | None = None  # the lowest turn of the jobs that wait; None: none does
    served: int | None = None  # the highest of those that run
    last: int | None = None  # the highest of the owner's own that wait


def turn_of_new(line: QueueEntry) -> int:
    """Return the turn of a job that is new in a level: one behind its owner's last.

    Who has none waiting begins where the others are, so that nobody's backlog holds up
    another's first job, and nobody saves up turns while he asks for nothing.

    Source: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), each job
    counting as one.
    """
    reached = max(line.head or 0, line.served or 0)
    return reached if line.last is None else max(reached, line.last + 1)


def turn_of_returned(turn: int, line: QueueEntry) -> int:
    """Return the turn of a job that had *turn* and waits again without having ended.

    It is that, unless turns began anew meanwhile: then it is first, or behind its owner's.
    All of one user's jobs that are paused and resumed are as far apart as they were.
    """
    if line.head is None:
        return turn
    return min(turn, line.head if line.last is None else max(line.head, line.last + 1))


def waits_since(job: Job) -> datetime:
    """Return since when a pending job could have begun."""
    return max(job.since, job.due_at)


def aged(priority: Priority, since: datetime, now: datetime, step: timedelta) -> int:
    """Return how many levels a job has risen that waits *since*: one each *step*.

    Up to `Priority.HIGH`: only who asks for it is urgent.
    """
    most = max(0, Priority.HIGH - priority)
    return min(most, max(0, (now - since) // step))


def may_preempt(job: Job, now: datetime, patience: timedelta) -> bool:
    """Tell whether a job that waits may take the slot of one that `yields`."""
    return job.level is Priority.URGENT and waits_since(job) <= now - patience


def yields(job: Job) -> bool:
    """Tell whether a running job gives its slot up to an urgent one that has waited."""
    return job.state is State.RUNNING and job.level is Priority.LOW


class PriorityQueue:
    """The order of the queue over a set of jobs: what every store's claim must agree with."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = tuple(jobs)

    def next(self, now: datetime) -> Job | None:
        """Return the job to be claimed at *now*, ``None`` when none is due."""
        return min((j for j in self._jobs if claimable(j, now)), key=claim_key, default=None)

    def pending(self, priority: Priority | None = None) -> list[Job]:
        """Return the jobs that wait, of one priority or of all, in the order of their claim."""
        waiting = (j for j in self._jobs if j.state is State.PENDING)
        return sorted((j for j in waiting if priority in (None, j.priority)), key=claim_key)

    def counts(self) -> Mapping[Priority, int]:
        """Return how many jobs wait at each priority, the highest first, zeros included."""
        waiting = Counter(j.priority for j in self._jobs if j.state is State.PENDING)
        return {p: waiting[p] for p in sorted(Priority, reverse=True)}
