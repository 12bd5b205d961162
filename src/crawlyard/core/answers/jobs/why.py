"""The shape of what a job waits for."""

from datetime import datetime

from crawlyard.core.answers.base import Wire
from crawlyard.core.jobs.waiting import Wait


class WaitOut(Wire, frozen=True, kw_only=True):
    """One thing that a job waits for."""

    reason: str  # due_time, quota, lease, no_worker, worker_tags, slot, queue, host
    detail: str
    until: datetime | None  # when it is over, where that is known
    quota: str | None  # of quota: running, pages_per_day or bytes_per_day
    position: int | None  # of queue, from 1; null: too far back to be counted for a list
    hosts: tuple[str, ...]  # of host

    @classmethod
    def of(cls, wait: Wait) -> "WaitOut":
        """Return the shape of *wait*."""
        return cls.filled(wait)
