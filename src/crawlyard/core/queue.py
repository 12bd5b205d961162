"""Which job is next: by priority, then by who has waited longest."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.priority import Priority


def claim_key(job: Job) -> tuple[int, int, datetime, str]:
    """Return what pending jobs are sorted by: the smallest is claimed first."""
    return (-job.priority, job.turn, job.queued_at, job.id)


def claimable(job: Job, now: datetime) -> bool:
    """Tell whether *job* waits and is due; its lease must be free as well."""
    return job.state is State.PENDING and job.due_at <= now


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
