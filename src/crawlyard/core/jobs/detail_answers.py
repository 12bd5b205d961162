"""What there is to know about jobs beside their pages: counts, progress, settings."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from zlib import crc32

from msgspec import UNSET, UnsetType

from crawlyard.core.answer import Tagged, Wire, derived
from crawlyard.core.jobs.answers import JobOut, ProgressOut
from crawlyard.core.jobs.attempts import Attempt
from crawlyard.core.jobs.checkpoint import Shard, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.progress import Progress
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.schedules.answers import ScheduleOut
from crawlyard.core.templates.answers import TemplateOut


class CountsOut(Wire, frozen=True, kw_only=True):
    """How many jobs there are, by state and by priority; what has none is there with 0.

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
    """Jobs that wait, in the order that they are claimed."""

    object: Literal["job_queue"] = "job_queue"
    items: Sequence[JobOut]
    has_more: bool  # than were asked for
    priorities: Mapping[str, int]  # how many wait in all, the highest priority first


class JobProgressOut(ProgressOut, Tagged, frozen=True, kw_only=True, dict=True):
    """How far a job has come: a small answer for those who ask often."""

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
        made = cls.filled(
            ProgressOut.filled(progress),
            id=job.id,
            state=job.state,
            state_reason=job.state_reason,
            version=job.version,
            updated_at=standing.changed_at,
            limits=job.limits,
            current_url=progress.current_url,
        )
        return made.at_beat(shard.seq)


@derived
class AttemptOut(Attempt, Wire, frozen=True, kw_only=True):
    """One time that a worker had a job."""

    pages: int | None  # null: not known, where there were several

    @classmethod
    def listed(cls, attempts: Sequence[Attempt], pages: int) -> "list[AttemptOut]":
        """Return the answers for *attempts*; *pages* are those of the whole job."""
        known = pages if len(attempts) == 1 else None
        return [cls.filled(attempt, pages=known) for attempt in attempts]


class ShardOut(Wire, frozen=True, kw_only=True):
    """A part of a job that is spread: some of its hosts, which one worker crawls at a time."""

    number: int  # from 1 on
    worker: str | None  # null: nobody has it
    free_since: datetime | None  # null: a worker has it
    attempt: int  # how often it was taken
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
    """A field of a job that is not as its template says."""

    path: str
    template: Any  # with its open places; the default where it says nothing
    job: Any


class MadeOfOut(Wire, frozen=True, kw_only=True):
    """The template that a job was made of."""

    id: str
    name: str
    owner: str
    version: int


class ConfigOut(Wire, frozen=True, kw_only=True):
    """The settings of a job in force, and where each comes from; credentials are hidden."""

    object: Literal["job_config"] = "job_config"
    job_id: str
    config: Mapping[str, Any]  # as `POST /jobs` takes it
    sources: Mapping[str, str]  # by path: default, settings, template v3, ceiling, this job
    template: MadeOfOut | None  # null: there was none, or it cannot be seen any more
    differences: tuple[DifferenceOut, ...]  # from the template


class DeletionOut(Wire, frozen=True, kw_only=True):
    """What a deletion would delete."""

    object: Literal["job_deletion"] = "job_deletion"
    job_id: str
    dry_run: bool = True
    pages: int
    bytes: int  # of response bodies, as they were on the wire
    urls: int  # that were found

    @classmethod
    def of(cls, standing: Standing) -> "DeletionOut":
        """Return what deleting a job would delete."""
        usage = standing.shard.usage
        found = usage.discovered + usage.skipped
        return cls(job_id=standing.job.id, pages=usage.pages, bytes=usage.bytes, urls=found)


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


class JobTiesOut(Wire, frozen=True, kw_only=True):
    """What a job belongs to; null: nothing, not asked for, or not for you to see.

    The template is that of the version which the job was made of.
    """

    template: TemplateOut | None = None
    schedule: ScheduleOut | None = None

    @property
    def versions(self) -> tuple[object, ...]:
        """Versions of the template and of the schedule."""
        template, schedule = self.template, self.schedule
        return template and template.version, schedule and (schedule.version, schedule.beat)


class ExpandedJobOut(JobOut, frozen=True, kw_only=True, dict=True):
    """One job, how far it has come, and what it belongs to if that was asked for."""

    expanded: JobTiesOut | UnsetType = UNSET

    @classmethod
    def with_ties(cls, shape: JobOut, ties: JobTiesOut | None) -> "ExpandedJobOut":
        """Return *shape* with what its job belongs to."""
        made = cls.filled(shape, expanded=UNSET if ties is None else ties)
        # its tag is another whenever one of them changes
        beat = shape.beat if ties is None else crc32(repr((shape.beat, ties.versions)).encode())
        return made.at_beat(beat)
