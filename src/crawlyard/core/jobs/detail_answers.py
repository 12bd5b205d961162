"""Answers about jobs in detail: counts, progress, attempts, settings."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from zlib import crc32

from msgspec import UNSET, UnsetType

from crawlyard.core.answer import Tagged, Wire, derive_answer
from crawlyard.core.jobs.answers import JobOut, ProgressOut
from crawlyard.core.jobs.attempts import Attempt
from crawlyard.core.jobs.job import Shard, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.progress import Progress
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.schedules.answers import ScheduleOut
from crawlyard.core.templates.answers import TemplateOut


class CountsOut(Wire, frozen=True, kw_only=True):
    """Number of jobs by state and by priority, zeros included.

    Counts by anything but owner, state and priority stop at 10,000: such a `total` means that
    many or more, and there may be more in each state and priority than are counted.
    """

    object: Literal["job_counts"] = "job_counts"
    total: int
    states: Mapping[str, int]
    priorities: Mapping[str, int]

    @classmethod
    def of(
        cls, counts: Mapping[tuple[State, Priority], int], most: int | None = None
    ) -> "CountsOut":
        """Add up *counts* that stop at *most*."""
        states = dict.fromkeys(map(str, State), 0)
        priorities = dict.fromkeys(map(str, reversed(Priority)), 0)
        for (state, priority), count in counts.items():
            states[str(state)] += count
            priorities[str(priority)] += count
        total = sum(counts.values())
        return cls(total=min(most or total, total), states=states, priorities=priorities)


class QueueOut(Wire, frozen=True, kw_only=True):
    """Waiting jobs, in the order in which they are claimed."""

    object: Literal["job_queue"] = "job_queue"
    items: Sequence[JobOut]
    has_more: bool  # more than were requested
    priorities: Mapping[str, int]  # total waiting, by priority, the highest first


class JobProgressOut(ProgressOut, Tagged, frozen=True, kw_only=True, dict=True):
    """Progress of a job: a small answer for frequent polling."""

    id: str
    object: Literal["job_progress"] = "job_progress"
    state: str
    state_reason: str
    version: int
    updated_at: datetime
    limits: Limits
    current_url: str

    @classmethod
    def now(cls, standing: Standing, progress: Progress) -> "JobProgressOut":
        """Return the answer for the current *progress* of a job."""
        job, shard = standing.job, standing.shard
        answer = cls.filled(
            ProgressOut.filled(progress),
            id=job.id,
            state=job.state,
            state_reason=job.state_reason,
            version=job.version,
            updated_at=standing.changed_at,
            limits=job.limits,
            current_url=progress.current_url,
        )
        return answer.at_beat(shard.seq)


@derive_answer
class AttemptOut(Attempt, Wire, frozen=True, kw_only=True):
    """One attempt of a job on a worker."""

    pages: int | None  # null: unknown, as there were several attempts

    @classmethod
    def list_of(cls, attempts: Sequence[Attempt], pages: int) -> "list[AttemptOut]":
        """Return the answers for *attempts*; *pages* are those of the whole job."""
        attempt_pages = pages if len(attempts) == 1 else None
        return [cls.filled(attempt, pages=attempt_pages) for attempt in attempts]


class ShardOut(Wire, frozen=True, kw_only=True):
    """A shard of a job that is spread: a subset of its hosts, crawled by one worker at a time."""

    number: int  # from 1 on
    worker: str | None  # null: not leased
    free_since: datetime | None  # null: leased
    attempt: int  # number of claims
    pages: int
    bytes: int
    errors: int
    done: int
    discovered: int
    current_url: str
    updated_at: datetime | None  # of its last checkpoint; null: there was none

    @classmethod
    def of(cls, number: int, shard: Shard) -> "ShardOut":
        """Return the answer for a shard; its usage is flat."""
        used, free = shard.usage, shard.worker is None
        return cls.filled(
            shard,
            number=number,
            free_since=shard.freed_at if free else None,
            **{name: getattr(used, name) for name in _SHARD_COUNTS},
        )


_SHARD_COUNTS = ("pages", "bytes", "errors", "done", "discovered")


class DifferenceOut(Wire, frozen=True, kw_only=True):
    """A field of a job that differs from its template."""

    path: str
    template: Any  # with its placeholders; the default if the template does not set it
    job: Any


class MadeOfOut(Wire, frozen=True, kw_only=True):
    """The template of a job."""

    id: str
    name: str
    owner: str
    version: int


class ConfigOut(Wire, frozen=True, kw_only=True):
    """The effective settings of a job, and the source of each; credentials are hidden."""

    object: Literal["job_config"] = "job_config"
    job_id: str
    config: Mapping[str, Any]  # as in `POST /jobs`
    sources: Mapping[str, str]  # by path: default, settings, template v3, ceiling, this job
    template: MadeOfOut | None  # null: none, or no longer visible
    differences: tuple[DifferenceOut, ...]  # from the template


class DeletionOut(Wire, frozen=True, kw_only=True):
    """Extent of a deletion, before it is confirmed."""

    object: Literal["job_deletion"] = "job_deletion"
    job_id: str
    dry_run: bool = True
    pages: int
    bytes: int  # of response bodies, on the wire
    urls: int  # discovered

    @classmethod
    def of(cls, standing: Standing) -> "DeletionOut":
        """Return the extent of deleting a job."""
        usage = standing.shard.usage
        urls = usage.discovered + usage.skipped
        return cls(job_id=standing.job.id, pages=usage.pages, bytes=usage.bytes, urls=urls)


class ExclusionOut(Wire, frozen=True, kw_only=True):
    """Waiting URLs of a job that a pattern excludes, or would exclude."""

    object: Literal["exclusion"] = "exclusion"
    job_id: str
    version: int  # of the job
    pattern: str
    dry_run: bool
    pending_removed: int  # waiting URLs that match: they will be skipped
    samples: tuple[str, ...]  # the first of them
    exclude: tuple[str, ...]  # all patterns of the job now


class JobTiesOut(Wire, frozen=True, kw_only=True):
    """Records that a job belongs to; null: none, not requested, or not visible to you.

    The template is the version that the job was created from.
    """

    template: TemplateOut | None = None
    schedule: ScheduleOut | None = None

    @property
    def versions(self) -> tuple[object, ...]:
        """Versions of the template and of the schedule."""
        template, schedule = self.template, self.schedule
        return template and template.version, schedule and (schedule.version, schedule.beat)


class ExpandedJobOut(JobOut, frozen=True, kw_only=True, dict=True):
    """One job and its progress, with the records it belongs to if requested."""

    expanded: JobTiesOut | UnsetType = UNSET

    @classmethod
    def with_ties(cls, shape: JobOut, ties: JobTiesOut | None) -> "ExpandedJobOut":
        """Return *shape* with the records that its job belongs to."""
        answer = cls.filled(shape, expanded=UNSET if ties is None else ties)
        # the tag also changes with the template and the schedule
        beat = shape.beat if ties is None else crc32(repr((shape.beat, ties.versions)).encode())
        return answer.at_beat(beat)
