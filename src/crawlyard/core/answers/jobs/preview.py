"""The shapes of what a job would do."""

from collections.abc import Mapping
from typing import Any, Literal

from crawlyard.core.answers.base import Wire


class TestedOut(Wire, frozen=True, kw_only=True):
    """Whether a URL would be fetched if a page named it; *rule* says what keeps it out."""

    url: str
    inside: bool
    rule: str


class SeenOriginOut(Wire, frozen=True, kw_only=True):
    """What robots.txt of an origin says to us."""

    origin: str
    robots: str  # had, or missing: `problem` says why
    crawl_delay_s: float | None
    start_allowed: bool | None  # of `/`; null: not known
    rule: str  # the line that forbids it
    sitemaps: tuple[str, ...]  # that it names
    problem: str


class SitemapOut(Wire, frozen=True, kw_only=True):
    """What a sitemap names."""

    url: str
    urls: int | None  # null: it could not be read
    sitemaps: int
    sample: tuple[str, ...]
    problem: str


class PreviewOut(Wire, frozen=True, kw_only=True):
    """What a job would do: no page was fetched, and nothing was written."""

    object: Literal["preview"] = "preview"
    config: Mapping[str, Any]  # as `POST /jobs` takes it, every field; credentials are hidden
    sources: Mapping[str, str]  # by path: default, settings, template v3, ceiling, this job
    user_agent: str
    start_urls: tuple[TestedOut, ...]  # the first hundred, in canonical spelling
    start_count: int
    origins: tuple[SeenOriginOut, ...]
    sitemaps: tuple[SitemapOut, ...]
    tested: tuple[TestedOut, ...]  # `test_urls`, in their order
    missing: tuple[str, ...]  # what could not be had, in sentences
