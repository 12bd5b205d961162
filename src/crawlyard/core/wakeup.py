"""Work that has become due, or will: what those who queue jobs tell those who run them."""

from collections.abc import Collection
from datetime import datetime

from msgspec import Struct

from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.priority import Priority


class Wakeup(Struct, frozen=True, order=True):
    """That work waits from *at* on. It names no job: who comes takes what is first by then."""

    at: datetime
    needs: str = ""  # the tags that a worker must have: sorted, one a line
    urgent: bool = False  # slots that are reserved take it as well
    shard: bool = False  # of a job that runs: not all who have room may have it at once


def due_of(job: Job) -> Wakeup:
    """Return what a job that waits is to workers."""
    needs = needs_text(job.spec.worker_tags)
    return Wakeup(at=job.due_at, needs=needs, urgent=job.level is Priority.URGENT)


def needs_text(tags: Collection[str]) -> str:
    """Return the tags that a job asks of a worker, as `Wakeup` has them and as they are stored."""
    return "\n".join(sorted(set(tags))) if tags else ""
