"""What has happened: one row per change, written in the transaction that made it true."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class EventName(StrEnum):
    """The closed list of what happens to jobs."""

    CREATED = "job.created"
    STARTED = "job.started"
    REQUEUED = "job.requeued"
    PAUSED = "job.paused"
    RESUMED = "job.resumed"
    RETRIED = "job.retried"
    COMPLETED = "job.completed"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    EDITED = "job.edited"
    DELETED = "job.deleted"
    NOTED = "job.noted"  # something about the crawl worth knowing, such as a capped crawl-delay


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a job; *data* holds only JSON values."""

    name: EventName
    job_id: str
    at: datetime
    actor: str  # a user's id, or "worker:…"
    data: Mapping[str, object] = field(default_factory=dict)
    seq: int = 0  # given by the store, in commit order; 0 until then
