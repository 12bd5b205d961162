"""Work that has become due, or will: what those who queue jobs tell those who run them."""

from collections.abc import Collection
from datetime import datetime

from msgspec import Struct

from crawlyard.core.job import Job
from crawlyard.core.priority import Priority


class Due(Struct, frozen=True, order=True):
    """That work waits from *at* on. It names no job: who comes takes what is first by then."""

    at: datetime
    needs: str = ""  # the tags that a worker must have: sorted, one a line
    urgent: bool = False  # slots that are reserved take it as well
    shard: bool = False  # of a job that runs: not all who have room may have it at once


def due_of(job: Job) -> Due:
    """Return what a job that waits is to workers."""
    needs = needs_text(job.spec.worker_tags)
    return Due(at=job.due_at, needs=needs, urgent=job.level is Priority.URGENT)


def needs_text(tags: Collection[str]) -> str:
    """Return the tags that a job asks of a worker, as `Due` has them and as they are stored."""
    return "\n".join(sorted(set(tags))) if tags else ""
