"""What a pattern that is added to a job takes away from it."""

from msgspec import Struct

from crawlyard.core.job import Job


class Excluded(Struct, frozen=True, kw_only=True):
    """What a pattern takes away from a job, or would."""

    job: Job
    pattern: str
    count: int  # URLs that waited
    samples: tuple[str, ...]  # the first of them, in the order they were found
    changed: bool  # False: a dry run, or the job excluded it before
