"""What a pattern that is added to a job keeps out."""

from msgspec import Struct

from crawlyard.core.jobs.job import Job


class Excluded(Struct, frozen=True, kw_only=True):
    """Which waiting URLs of a job will be skipped because of a pattern, or would be."""

    job: Job
    pattern: str
    count: int  # waiting URLs that match
    samples: tuple[str, ...]  # the first of them, in the order they were found
    changed: bool  # False: a dry run, or the job excluded it before
