"""Answers about jobs: their spec, progress, waits and events."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from zlib import crc32

from msgspec.structs import replace

from crawlyard.core.access.job_parts import OWNERS_FIELDS
from crawlyard.core.answer import API, Tagged, Wire, derive_answer, seconds
from crawlyard.core.events.event import Event
from crawlyard.core.fields import after
from crawlyard.core.jobs.job import Job, JobVerb, Origin, Standing, actions_on, damage_of
from crawlyard.core.jobs.lifecycle import ENDED
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.outcome import outcome_of
from crawlyard.core.jobs.progress import Eta, Progress
from crawlyard.core.jobs.pulse import ProxyUse
from crawlyard.core.jobs.retry import RetryPolicy
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.waiting import Wait, reason_shown
from crawlyard.core.templates.secrets import hide_credentials, hide_urls
from crawlyard.core.webhooks.webhook import PAYLOAD_VERSION, JobWebhook
from crawlyard.errors import Conflict, Invalid, Refused


@derive_answer
class UsageOut(Usage, Wire, frozen=True, kw_only=True):  # type: ignore[misc]  # as `Usage`
    """Resources that a job has used, and its counters so far."""


@derive_answer
class EtaOut(Eta, Wire, frozen=True, kw_only=True):
    """Seconds of running time until the job ends on its own, and the limit that will end it.

    One of ten such jobs ends before *p10_s*, half before *p50_s*, nine of ten before *p90_s*.
    """


@derive_answer
class ProgressOut(Progress, Wire, frozen=True, kw_only=True):
    """Progress of a job; *eta_unknown*: why there is no *eta*, *remark*: why it is slow."""

    eta: EtaOut | None
    proxies: tuple[ProxyUse, ...] = ()


@derive_answer
class RetryOut(RetryPolicy, Wire, frozen=True, kw_only=True):
    """Number and timing of retries of a whole job."""


@derive_answer
class JobWebhookOut(JobWebhook, Wire, frozen=True, kw_only=True):
    """An endpoint for the events of one job; its secret is not shown."""


_MAY_HIDE = ("urls", "sitemaps", "include", "exclude", "headers", "proxies")


@derive_answer
class SpecOut(JobSpec, Wire, frozen=True, kw_only=True):
    """Settings of a job as requested; values of credentials are hidden."""

    spread: int | Literal["auto"]  # type: ignore[assignment]
    retry: RetryOut
    webhooks: tuple[JobWebhookOut, ...]

    @classmethod
    def of(cls, spec: JobSpec) -> Self:
        """Return the answer without credentials."""
        # not of the whole form: writing that took half of the time of a job in a list
        masked = hide_credentials({name: getattr(spec, name) for name in _MAY_HIDE})
        return cls.filled(spec, name=hide_urls(spec.name), **masked)


@derive_answer
class WaitOut(Wait, Wire, frozen=True, kw_only=True):
    """One reason why a job waits."""


_ABOUT = (
    *("progress", "events", "attempts", "shards", "config"),
    *("pages", "errors", "skipped", "frontier"),
)


def links_of(job_id: str) -> Mapping[str, str]:
    """Return the paths of a job and of its subresources, by name."""
    own = f"{API}/jobs/{job_id}"
    return {"self": own} | {name: f"{own}/{name}" for name in (*_ABOUT, "export")}


class JobOut(Tagged, frozen=True, kw_only=True, dict=True):
    """One job: its spec, state, progress and waits."""

    id: str
    object: Literal["job"] = "job"
    owner: str
    state: str
    state_reason: str
    outcome: str  # its end, in a sentence; empty until then
    detail: str
    damaged: str = ""  # why its row cannot be read, apart from *spec*; empty: intact
    allowed_actions: tuple[str, ...]  # actions that its state allows to users who may change it
    url: str  # its first start URL
    created_at: datetime
    queued_at: datetime
    due_at: datetime
    due_in_s: float  # seconds until it may run, 0 once it may
    failures: int  # attempts of the whole job that failed
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    version: int
    usage: UsageOut
    progress: ProgressOut
    current_url: str
    worker: str | None  # null: not leased, or spread: see its shards
    workers: int  # number that run it, or a part of it
    spec: SpecOut
    retry_of: str | None
    source: str  # direct, template, schedule or retry
    origin: Origin
    waits_for: tuple[WaitOut, ...] = ()  # the one that ends first comes first
    links: Mapping[str, str]  # paths of its subresources

    @classmethod
    def of(
        cls, standing: Standing, progress: Progress, now: datetime, waits: Sequence[Wait] = ()
    ) -> "JobOut":
        """Return the answer for a job at *now*; *progress* is from the same moment."""
        job, shard = standing.job, standing.shard
        due_in = job.due_at - now if job.waits_at(now) else timedelta(0)
        answer = cls.filled(
            job,
            state_reason=reason_shown(job, waits),
            damaged=hide_urls(job.damaged),
            outcome=outcome_of(job, shard.usage) if job.state in ENDED else "",
            detail=detail_of(job),
            allowed_actions=actions_on(job, shard.usage),
            url=first_url(job),
            source=str(job.source),
            waits_for=tuple(map(WaitOut.filled, waits)),
            due_in_s=seconds(due_in),
            updated_at=standing.changed_at,
            usage=UsageOut.filled(shard.usage),
            progress=ProgressOut.filled(progress),
            current_url=progress.current_url,
            worker=shard.worker,
            workers=standing.workers,
            spec=SpecOut.of(job.spec),
            links=links_of(job.id),
        )
        # without checkpoints, a waiting job has no `seq` that increases
        return answer.at_beat(crc32(repr(waits).encode()) if waits else shard.seq)

    def for_others(self, *, may_change: bool, shows_pages: bool) -> Self:
        """Return the answer for a user who does not own the job."""
        spec = replace(self.spec, **OWNERS_FIELDS)
        changes = (action for action in self.allowed_actions if action != JobVerb.DELETE)
        actions = tuple(changes) if may_change else ()
        answer = replace(self, spec=spec, allowed_actions=actions)
        if not shows_pages:
            answer = replace(answer, current_url="", detail="")  # it may name the session
        return answer.at_beat(self.beat)


JOB_LISTED = (
    *("id", "object", "owner", "version", "state", "state_reason", "outcome", "allowed_actions"),
    *("damaged", "url", "spec.name", "spec.tags", "created_at", "started_at", "ended_at"),
    *("progress.done", "progress.discovered", "progress.failed", "progress.pages"),
)
"""Fields of a job in a list over HTTP if the request names no others."""


class RetriedOut(JobOut, frozen=True, kw_only=True, dict=True):
    """The job that is retried: the same one, or a new one."""

    urls: int | None  # failed URLs that wait again; null: the whole job is retried


def detail_of(job: Job) -> str:
    """Return the sentence about the state of a job, or about its damage."""
    return str(hide_urls(damage_of(job))) if job.damaged else job.detail


def first_url(job: Job) -> str:
    """Return the first URL that a job begins with, without user and password."""
    spec = job.spec
    return str(hide_urls(next(iter(spec.urls + spec.sitemaps), "")))


class JobPlanOut(Wire, frozen=True, kw_only=True):
    """The job that a request would create; nothing was written."""

    object: Literal["job_plan"] = "job_plan"
    dry_run: bool = True
    owner: str
    name: str
    state: str
    state_reason: str
    priority: str
    tags: tuple[str, ...]
    due_at: datetime
    waits_for: tuple[WaitOut, ...]  # the one that ends first comes first
    limits: Limits  # within the ceilings
    cut: tuple[str, ...]  # paths of limits that were above the ceilings
    config: Mapping[str, Any]  # as in `POST /jobs`, every field; credentials are hidden
    sources: Mapping[str, str]  # by path: default, settings, template v3, ceiling, this job
    origin: Origin
    existing_id: str | None = None  # existing job with its unique key, which would be returned

    @classmethod
    def of(
        cls,
        job: Job,
        waits: Sequence[Wait],
        form: Mapping[str, Any],
        sources: Mapping[str, str],
        cut: Sequence[str],
    ) -> "JobPlanOut":
        """Return the answer for an unsaved *job*, and the sources of its settings."""
        return cls(
            owner=job.owner,
            name=hide_urls(job.spec.name),
            state=job.state,
            state_reason=reason_shown(job, waits),
            priority=str(job.priority),
            tags=job.spec.tags,
            due_at=job.due_at,
            waits_for=tuple(map(WaitOut.filled, waits)),
            limits=job.limits,
            cut=tuple(cut),
            config=form,
            sources=sources,
            origin=job.origin,
        )


class SubmittedOut(Wire, frozen=True, kw_only=True):
    """Result for one job of a batch; *code* is that of a problem, null: it was submitted."""

    ok: bool
    id: str | None
    state: str | None
    code: str | None
    field: str | None  # the offending field of the request, if any
    detail: str

    @classmethod
    def of(cls, answer: Job | Refused | Conflict) -> "SubmittedOut":
        """Return the result for a job, or for the error in its place."""
        if isinstance(answer, Job):
            return cls(ok=True, id=answer.id, state=answer.state, code=None, field=None, detail="")
        field = answer.field if isinstance(answer, Invalid) else None
        return cls(ok=False, id=None, state=None, code=answer.code, field=field, detail=str(answer))


class BatchOut(Wire, frozen=True, kw_only=True):
    """Results of a batch of jobs, in the order of the request."""

    object: Literal["batch"] = "batch"
    count: int
    succeeded: int
    failed: int
    group_id: str | None  # of the new jobs; null: none was created
    results: tuple[SubmittedOut, ...]

    @classmethod
    def of(cls, answers: Sequence[Job | Refused | Conflict], group_id: str | None) -> "BatchOut":
        """Return the results, and how many of each kind there are."""
        results = tuple(map(SubmittedOut.of, answers))
        good = sum(result.ok for result in results)
        return cls(
            count=len(results),
            succeeded=good,
            failed=len(results) - good,
            group_id=group_id,
            results=results,
        )


@derive_answer
class EventOut(Event, Wire, frozen=True, kw_only=True):
    """One event; *seq* is its position among all events of the instance."""

    # the version of the answer and of *data*: within it, names are only added
    v: Annotated[int, after("")]
    job_id: Annotated[str | None, after("subject")]  # the subject, if that is a job

    @classmethod
    def of(cls, event: Event) -> "EventOut":
        """Return the answer, with the version of its fields."""
        return cls.filled(event, v=PAYLOAD_VERSION)
