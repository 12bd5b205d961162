"""Messages of event streams."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.answer import Wire
from crawlyard.core.crawl.page import StoredPage
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.answers import detail_of, first_url
from crawlyard.core.jobs.job import JobVerb, Origin, Standing, actions_on
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.log_answers import LineOut
from crawlyard.core.jobs.outcome import outcome_of
from crawlyard.core.jobs.progress import Progress
from crawlyard.core.templates.secrets import hide_urls
from crawlyard.core.workers.answers import WorkerOut


class HelloOut(Wire, frozen=True, kw_only=True):
    """The first message of a stream: all later messages are newer than *seq*."""

    seq: int
    server_time: datetime
    version: str
    heartbeat_s: float
    progress_hz: float


class PingOut(Wire, frozen=True, kw_only=True):
    """Heartbeat: no event has occurred, and the stream is open."""

    at: datetime
    stale: bool = False  # the store does not respond: events may be missing


class ByeOut(Wire, frozen=True, kw_only=True):
    """The last message of a stream: the credential that opened it is no longer valid."""

    reason: Literal["auth"] = "auth"


class ResyncOut(Wire, frozen=True, kw_only=True):
    """Events may have been missed: read the lists again."""

    reason: Literal["gap", "restart", "slow_consumer"]


class LogHelloOut(Wire, frozen=True, kw_only=True):
    """The first message of a stream of one job's log: lines above *after* follow."""

    job_id: str
    after: int
    server_time: datetime
    version: str
    heartbeat_s: float


class LogLinesOut(Wire, frozen=True, kw_only=True):
    """The next lines of a job's log, the oldest first, at most 100."""

    job_id: str
    lines: Sequence[LineOut]


class LogEndedOut(Wire, frozen=True, kw_only=True):
    """The last message of a log stream: the job has ended and all its lines were sent."""

    job_id: str
    state: Annotated[str | None, Meta(description="Of the job; null once it is deleted.")]


class _Progressing(Wire, frozen=True, kw_only=True):
    id: str
    done: int
    found: int
    failed: int
    pages: int
    bytes: int
    elapsed_s: float
    rate: float
    eta_p10_s: float | None
    eta_p50_s: float | None
    eta_p90_s: float | None
    eta_confidence: str | None
    eta_limit: str | None  # the limit that will end it, if any
    eta_unknown: str  # why there is no estimate
    remark: str  # why it is slow, or the estimate rough
    current_url: str
    v: int  # the version of the job


class JobRowOut(_Progressing, frozen=True, kw_only=True):
    """A job as a row of a list, with fields of `JobOut`."""

    name: str
    url: str  # its first start URL
    owner: str
    state: str
    state_reason: str
    outcome: str
    detail: str
    damaged: str = ""
    allowed_actions: tuple[str, ...]
    priority: str
    tags: tuple[str, ...]
    source: str  # direct, template, schedule or retry
    origin: Origin
    retry_of: str | None
    created_at: datetime
    queued_at: datetime
    due_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    limits: Limits
    worker: str | None

    @classmethod
    def of(cls, standing: Standing, progress: Progress, reason: StateReason) -> "JobRowOut":
        """Return the row of a job; *progress* and *reason* are from the same moment."""
        job = standing.job
        return cls.filled(
            job,
            name=hide_urls(job.spec.name),
            url=first_url(job),
            state_reason=reason,
            outcome=outcome_of(job, standing.shard.usage),
            detail=detail_of(job),
            damaged=hide_urls(job.damaged),
            allowed_actions=actions_on(job, standing.shard.usage),
            priority=str(job.priority),
            tags=job.spec.tags,
            source=str(job.source),
            updated_at=standing.changed_at,
            current_url=progress.current_url,
            worker=standing.shard.worker,
            v=job.version,
            **_numbers(progress),
        )

    def for_others(self, *, may_change: bool, shows_pages: bool) -> "JobRowOut":
        """Return the row for users who do not own the job."""
        changes = (action for action in self.allowed_actions if action != JobVerb.DELETE)
        return replace(
            self,
            allowed_actions=tuple(changes) if may_change else (),
            current_url=self.current_url if shows_pages else "",
            detail=self.detail if shows_pages else "",
        )


class RunningJobOut(_Progressing, frozen=True, kw_only=True):
    """Live figures of a running job, without its spec."""

    @classmethod
    def of(cls, standing: Standing, progress: Progress) -> "RunningJobOut":
        """Return the message with the figures of *progress*."""
        return cls(
            id=standing.job.id,
            current_url=progress.current_url,
            v=standing.job.version,
            **_numbers(progress),
        )


class JobsProgressOut(Wire, frozen=True, kw_only=True):
    """Running jobs that made progress; at the start of a stream, all running jobs."""

    at: datetime
    jobs: Sequence[RunningJobOut]


class LatestPageOut(Wire, frozen=True, kw_only=True):
    """A page that has just been stored."""

    id: int
    url: str
    final_url: str
    status: int | None
    error: str | None  # the kind
    bytes: int
    elapsed_ms: int
    fetched_at: datetime

    @classmethod
    def of(cls, stored: StoredPage) -> "LatestPageOut":
        """Return the fields of a page that the list of latest pages shows."""
        page = stored.page
        return cls.filled(page, id=stored.id, error=page.error and str(page.error.kind))


class JobPagesOut(Wire, frozen=True, kw_only=True):
    """The latest pages of a job, newest first, at most 8; sent to followers of that job."""

    job_id: str
    pages: Sequence[LatestPageOut]


class StateCountsOut(Wire, frozen=True, kw_only=True):
    """Numbers of jobs by state."""

    pending: int = 0
    running: int = 0
    paused: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


class WorkersOut(Wire, frozen=True, kw_only=True):
    """All workers, sent when a worker starts, stops, or begins or ends a job."""

    workers: Sequence[WorkerOut]


class HappenedOut(Wire, frozen=True, kw_only=True):
    """One event; for a job event, *job* is its current row, null once it is deleted."""

    id: int  # its position among all events of the instance
    type: str  # its name, such as job.paused
    subject: str  # id of its subject
    job_id: str | None  # the same, where it is a job
    owner: str
    at: datetime
    actor: str
    to: Annotated[str | None, Meta(description="The state of the job since then.")]
    reason: Annotated[str | None, Meta(description="Why it is in that state.")]
    data: Mapping[str, Any]
    job: JobRowOut | None

    @classmethod
    def of(cls, event: Event, job: JobRowOut | None) -> "HappenedOut":
        """Return the message about *event*."""
        is_job = event.name.kind == "job"
        return cls.filled(
            event,
            id=event.seq,
            type=event.name.value,
            job_id=event.job_id,
            to=_word(event, "state") if is_job else None,
            reason=_word(event, "reason") if is_job else None,
            job=job,
        )


def _word(event: Event, name: str) -> str | None:
    value = event.data.get(name)
    return value if isinstance(value, str) else None


def _numbers(progress: Progress) -> dict[str, Any]:
    eta = progress.eta
    return {
        "done": progress.done,
        "found": progress.discovered,
        "failed": progress.failed,
        "pages": progress.pages,
        "bytes": progress.bytes,
        "elapsed_s": round(progress.elapsed_s, 3),
        "rate": round(progress.rate, 3),
        "eta_p10_s": None if eta is None else round(eta.p10_s, 3),
        "eta_p50_s": None if eta is None else round(eta.p50_s, 3),
        "eta_p90_s": None if eta is None else round(eta.p90_s, 3),
        "eta_confidence": None if eta is None else str(eta.confidence),
        "eta_limit": None if eta is None else eta.limit,
        "eta_unknown": progress.eta_unknown,
        "remark": progress.remark,
    }
