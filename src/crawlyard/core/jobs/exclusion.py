"""URL exclusion: which URLs a pattern added to a running job skips."""

from msgspec import Struct

from crawlyard.core.jobs.job import Job


class Excluded(Struct, frozen=True, kw_only=True):
    """The waiting URLs of a job that a pattern excludes, or would exclude."""

    job: Job
    pattern: str
    count: int  # waiting URLs that match
    samples: tuple[str, ...]  # the first ones, in the order of discovery
    changed: bool  # False: a dry run, or the job had this pattern already
