"""Previews and estimates of a job."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.fields import after
from crawlyard.core.jobs.estimate import Basis, Bound, Estimate
from crawlyard.core.jobs.job import Standing


class TestedOut(Wire, frozen=True, kw_only=True):
    """True if a URL would be fetched if a page linked to it; *rule* excludes it, if any."""

    url: str
    inside: bool
    rule: str


class SeenOriginOut(Wire, frozen=True, kw_only=True):
    """Contents of an origin's robots.txt that apply to us."""

    origin: str
    robots: str  # had, or missing: `problem` says why
    crawl_delay_s: float | None
    start_allowed: bool | None  # of `/`; null: not known
    rule: str  # the line that forbids it
    sitemaps: tuple[str, ...]  # listed in it
    problem: str
    blocked: bool  # its address is not public, and not allowed for this job


class SitemapOut(Wire, frozen=True, kw_only=True):
    """A sitemap that was read for a preview."""

    url: str
    urls: int | None  # null: it could not be read
    inside: int  # of these, in scope and in no earlier sitemap; an estimate if there are many
    sitemaps: int
    sample: tuple[str, ...]
    problem: str


class EarlierOut(Wire, frozen=True, kw_only=True):
    """Your last completed crawl that started at the same host."""

    job_id: str
    ended_at: datetime
    pages: int
    bytes: int
    duration_s: float

    @classmethod
    def of(cls, standing: Standing) -> "EarlierOut":
        """Return the answer for a job that has ended."""
        job, usage = standing.job, standing.shard.usage
        return cls(
            job_id=job.id,
            ended_at=job.since,
            pages=usage.pages,
            bytes=usage.bytes,
            duration_s=usage.duration_s,
        )


@derive_answer
class EstimateOut(Estimate, Wire, frozen=True, kw_only=True):
    """Extent of a job, estimated from sitemaps, robots.txt and earlier jobs; null: unknown."""

    basis: Basis
    bound: Bound
    # between two requests to the host of the first start URL
    delay_s: Annotated[float, after("bytes")]
    delay_by: Annotated[Literal["spec", "robots"], after("delay_s")]  # the source of the delay
    earlier: Annotated[EarlierOut | None, after("delay_by")]


class PreviewOut(Wire, frozen=True, kw_only=True):
    """Preview of a job: no page was fetched, and nothing was written."""

    object: Literal["preview"] = "preview"
    config: Mapping[str, Any]  # as in `POST /jobs`, every field; credentials are hidden
    sources: Mapping[str, str]  # by path: default, settings, template v3, ceiling, this job
    user_agent: str
    start_urls: tuple[TestedOut, ...]  # the first hundred, in canonical spelling
    start_count: int
    origins: tuple[SeenOriginOut, ...]
    sitemaps: tuple[SitemapOut, ...]
    tested: tuple[TestedOut, ...]  # `test_urls`, in order
    missing: tuple[str, ...]  # sentences about files that could not be fetched
    estimate: EstimateOut
    existing_id: str | None = None  # existing job with its unique key, which would be returned
