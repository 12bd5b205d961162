"""Effective settings of a job, and the source of each value."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from crawlyard.core.jobs.job import Job
from crawlyard.core.templates.template import CrawlTemplate


class Difference(Struct, frozen=True, kw_only=True):
    """A field in which a job differs from its template."""

    path: str
    template: object  # with its placeholders; the default if it does not set the field
    job: object


class Config(Struct, frozen=True, kw_only=True):
    """The effective settings of a job; credentials are hidden."""

    job: Job
    form: Mapping[str, object]
    sources: Mapping[str, str]  # by path: default, settings, template v3, ceiling, this job
    template: CrawlTemplate | None  # the job's template, if the actor can still see it
    differences: Sequence[Difference] = ()
