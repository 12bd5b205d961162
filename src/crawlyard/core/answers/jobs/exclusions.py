"""The shapes of patterns that are added to a job."""

from typing import Literal

from crawlyard.core.answers.base import Wire
from crawlyard.core.jobs.exclusion import Excluded


class ExclusionOut(Wire, frozen=True, kw_only=True):
    """Which waiting URLs of a job will be skipped because of a pattern, or would be."""

    object: Literal["exclusion"] = "exclusion"
    job_id: str
    version: int  # of the job
    pattern: str
    dry_run: bool
    pending_removed: int  # waiting URLs that match: they will be skipped
    samples: tuple[str, ...]  # the first of them
    exclude: tuple[str, ...]  # all patterns of the job now

    @classmethod
    def of(cls, excluded: Excluded, *, dry_run: bool) -> "ExclusionOut":
        """Return the shape of *excluded*."""
        job = excluded.job
        return cls(
            job_id=job.id,
            version=job.version,
            pattern=excluded.pattern,
            dry_run=dry_run,
            pending_removed=excluded.count,
            samples=excluded.samples,
            exclude=job.spec.exclude,
        )
