"""The shapes that leave the yard: what the API answers and the command line prints as JSON.

Plain Pydantic, so that the command line needs no web framework. Instants are RFC 3339
in UTC, durations are seconds (``*_s``), sizes are bytes. Names only ever get added.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from crawlyard.core.checkpoint import Standing
from crawlyard.core.event import Event
from crawlyard.core.limits import Limits, Usage
from crawlyard.core.page import ErrorGroup, Page, SkippedURL
from crawlyard.core.progress import Progress, TimeLeft
from crawlyard.core.retry import RetryPolicy
from crawlyard.core.spec import JobSpec

HIDDEN = "***"
_SECRET = re.compile(r"auth|cookie|token|secret|key|passw|session|credential", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[datetime, PlainSerializer(_rfc3339, when_used="json")]


def _whole(text: str) -> str:
    """Return *text* without half characters: no encoding of JSON or CSV can hold them."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


Text = Annotated[str, BeforeValidator(_whole)]
"""Text from outside: a page may have named half of a character."""


class Wire(BaseModel):
    """The base of all shapes: frozen, and tolerant of fields that a newer server sends."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def filled(cls, source: object, **other: Any) -> Self:
        """Return a shape with *other*, and from *source* the fields of the same names."""
        same = {name: getattr(source, name) for name in cls.model_fields if name not in other}
        return cls(**same, **other)


class LimitsOut(Wire):
    """The ceilings of a job; null is no ceiling."""

    pages: int | None
    bytes: int | None
    duration_s: float | None
    errors: int | None

    @classmethod
    def of(cls, limits: Limits) -> "LimitsOut":
        """Return the shape of *limits*."""
        seconds = None if limits.duration is None else _seconds(limits.duration)
        return cls.filled(limits, duration_s=seconds)


class UsageOut(Wire):
    """What a job has used and done so far."""

    pages: int
    bytes: int
    duration_s: float
    errors: int
    discovered: int
    done: int
    skipped: int
    redirects: int

    @classmethod
    def of(cls, usage: Usage) -> "UsageOut":
        """Return the shape of *usage*."""
        return cls.filled(usage, duration_s=_seconds(usage.duration))


class EtaOut(Wire):
    """Running time until the job ends by itself; *limit* is what will end it, if one will."""

    p50_s: float
    p90_s: float
    confidence: str
    limit: str | None

    @classmethod
    def of(cls, left: TimeLeft) -> "EtaOut":
        """Return the shape of *left*."""
        return cls.filled(left, p50_s=_seconds(left.p50), p90_s=_seconds(left.p90))


class ProgressOut(Wire):
    """How far a job has come; *eta_unknown* says why there is no *eta*."""

    done: int
    discovered: int
    failed: int
    pages: int
    bytes: int
    elapsed_s: float
    rate: float
    eta: EtaOut | None
    eta_unknown: str

    @classmethod
    def of(cls, progress: Progress) -> "ProgressOut":
        """Return the shape of *progress*."""
        left = progress.time_left
        return cls.filled(
            progress,
            elapsed_s=_seconds(progress.elapsed),
            rate=round(progress.rate, 3),
            eta=None if left is None else EtaOut.of(left),
            eta_unknown=progress.unknown,
        )


class RetryOut(Wire):
    """How often and when a failed attempt of the whole job is repeated."""

    attempts: int
    first_s: float
    factor: float
    jitter: float
    cap_s: float

    @classmethod
    def of(cls, retry: RetryPolicy) -> "RetryOut":
        """Return the shape of *retry*."""
        return cls.filled(retry, first_s=_seconds(retry.first), cap_s=_seconds(retry.cap))


class SpecOut(Wire):
    """What was asked for, but for name, tags, priority and limits: the job shows those itself."""

    urls: tuple[str, ...]
    sitemaps: tuple[str, ...]
    retry: RetryOut
    scope: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    max_depth: int | None
    strategy: str
    ignore_robots: bool
    follow_nofollow: bool
    store_noindex: bool
    delay_s: float
    per_host: int
    concurrency: int
    crawl_delay_cap_s: float
    timeout_s: float
    max_body: int
    url_retries: int
    user_agent: str
    headers: tuple[tuple[str, str], ...]
    allow_addresses: tuple[str, ...]
    allow_private: bool
    text: str
    extract: tuple[tuple[str, str], ...]
    keep_html: bool

    @classmethod
    def of(cls, spec: JobSpec) -> "SpecOut":
        """Return the shape of *spec*; headers that look like credentials show no value."""
        return cls.filled(
            spec,
            retry=RetryOut.of(spec.retry),
            delay_s=_seconds(spec.delay),
            crawl_delay_cap_s=_seconds(spec.crawl_delay_cap),
            timeout_s=_seconds(spec.timeout),
            headers=tuple((n, HIDDEN if _SECRET.search(n) else v) for n, v in spec.headers),
        )


class JobOut(Wire):
    """One job, and how far it has come."""

    id: str
    object: Literal["job"] = "job"
    name: str
    owner: str
    state: str
    state_reason: str
    detail: str
    priority: str
    tags: tuple[str, ...]
    created_at: Instant
    queued_at: Instant
    due_at: Instant
    started_at: Instant | None
    ended_at: Instant | None
    updated_at: Instant
    version: int
    limits: LimitsOut
    usage: UsageOut
    progress: ProgressOut
    current_url: Text
    worker: str | None
    spec: SpecOut
    retry_of: str | None

    @classmethod
    def of(cls, standing: Standing, progress: Progress) -> "JobOut":
        """Return the shape of a job, *progress* being that of the same moment."""
        job, shard = standing.job, standing.shard
        return cls.filled(
            job,
            object="job",
            name=job.spec.name,
            priority=str(job.priority),
            tags=job.spec.tags,
            updated_at=max(job.updated_at, shard.updated_at or job.updated_at),
            limits=LimitsOut.of(job.limits),
            usage=UsageOut.of(shard.usage),
            progress=ProgressOut.of(progress),
            current_url=progress.current_url,
            worker=shard.worker,
            spec=SpecOut.of(job.spec),
        )


class PageErrorOut(Wire):
    """Why a URL failed: a kind from the closed list, and a sentence."""

    kind: str
    detail: Text


class PageOut(Wire):
    """What is kept of one URL that was answered for good, or given up."""

    url: Text
    final_url: Text
    status: int | None
    content_type: Text
    title: Text
    description: Text
    lang: Text
    canonical: Text
    depth: int
    parent: Text | None
    fetched_at: Instant
    elapsed_ms: int
    bytes: int
    sha256: str
    etag: Text
    last_modified: Text
    links: int
    text: Text | None  # null: not kept, or not asked for
    html: Text | None  # the same
    headers: tuple[tuple[Text, Text], ...] | None  # the same; of the response, in its order
    extracted: Mapping[Text, tuple[Text, ...]]
    truncated: Text
    noindex: bool
    error: PageErrorOut | None

    @classmethod
    def of(cls, page: Page, **kept: object) -> "PageOut":
        """Return the shape of a page record; *kept* is its text, html and headers, if at hand."""
        error = page.error
        told = None if error is None else PageErrorOut(kind=error, detail=page.error_detail)
        bodies: dict[str, Any] = {"text": None, "html": None, "headers": None}
        return cls.filled(page, error=told, **(bodies | kept))


class ErrorGroupOut(Wire):
    """The failed URLs of one kind, with at most five of them."""

    kind: str
    count: int
    first_at: Instant
    last_at: Instant
    samples: tuple[Text, ...]

    @classmethod
    def of(cls, group: ErrorGroup) -> "ErrorGroupOut":
        """Return the shape of *group*."""
        return cls.filled(group)


class SkippedOut(Wire):
    """A URL that was not fetched, and the rule that kept it out."""

    url: Text
    depth: int
    rule: str

    @classmethod
    def of(cls, skipped: SkippedURL) -> "SkippedOut":
        """Return the shape of *skipped*."""
        return cls.filled(skipped)


class EventOut(Wire):
    """One thing that happened to a job; *seq* is its place among all events of the yard."""

    seq: int
    name: str
    job_id: str
    at: Instant
    actor: str
    data: Mapping[str, object]

    @classmethod
    def of(cls, event: Event) -> "EventOut":
        """Return the shape of *event*."""
        return cls.filled(event)


def _seconds(duration: timedelta) -> float:
    return round(duration.total_seconds(), 3)
