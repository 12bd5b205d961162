"""What a pattern that is added to a job takes away from it."""

from dataclasses import dataclass

from crawlyard.core.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """What a pattern takes away from a job, or would."""

    job: Job
    pattern: str
    count: int  # URLs that waited
    samples: tuple[str, ...]  # the first of them, in the order they were found
    changed: bool  # False: a dry run, or the job excluded it before
