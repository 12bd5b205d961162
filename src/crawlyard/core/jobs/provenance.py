"""What holds for a job, and where each value of it comes from."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from crawlyard.core.jobs.job import Job
from crawlyard.core.templates.template import CrawlTemplate


class Difference(Struct, frozen=True, kw_only=True):
    """A field of a job that is not as its template says."""

    path: str
    template: object  # with its open places; the default where it says nothing
    job: object


class Config(Struct, frozen=True, kw_only=True):
    """The settings of a job in force; credentials are hidden."""

    job: Job
    form: Mapping[str, object]
    sources: Mapping[str, str]  # by path: default, settings, template v3, ceiling, this job
    template: CrawlTemplate | None  # that it was made of, if it can still be seen
    differences: Sequence[Difference] = ()
