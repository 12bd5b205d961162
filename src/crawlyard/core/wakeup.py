"""Wakeups: work that has become due, or will, announced to workers."""

from collections.abc import Collection
from datetime import datetime

from msgspec import Struct

from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.priority import Priority


class Wakeup(Struct, frozen=True, order=True):
    """Work waits from *at* on. It names no job: a worker takes whatever is first by then."""

    at: datetime
    needs: str = ""  # required worker tags: sorted, one per line
    urgent: bool = False  # reserved slots take it as well
    shard: bool = False  # a shard of a running job: not every free worker may take it at once


def due_of(job: Job) -> Wakeup:
    """Return the wakeup for a pending job."""
    needs = needs_text(job.spec.worker_tags)
    return Wakeup(at=job.due_at, needs=needs, urgent=job.level is Priority.URGENT)


def needs_text(tags: Collection[str]) -> str:
    """Return the tags that a job requires, in the form used by `Wakeup` and in the store."""
    return "\n".join(sorted(set(tags))) if tags else ""
