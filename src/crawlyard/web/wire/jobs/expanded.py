"""The shapes of jobs and schedules with what `expand` adds."""

from collections.abc import Sequence

from crawlyard.core.schedules.records import RecentTick
from crawlyard.web.wire.base import Instant, Wire
from crawlyard.web.wire.jobs.jobs import JobOut
from crawlyard.web.wire.schedules.schedules import ScheduleOut
from crawlyard.web.wire.templates.templates import TemplateOut


class RecentTickOut(Wire, frozen=True, kw_only=True):
    """What became of one instant at which a schedule was due, and of its job."""

    due_at: Instant
    outcome: str
    reason: str
    job_id: str | None
    job_state: str | None  # now; null: there is no job, or it has been deleted

    @classmethod
    def of(cls, recent: RecentTick) -> "RecentTickOut":
        """Return the shape of *recent*."""
        return cls.filled(recent.tick, job_state=recent.state)


class ScheduleTiesOut(Wire, frozen=True, kw_only=True):
    """What is added to a schedule."""

    recent: tuple[RecentTickOut, ...]  # its last 60 ticks, the latest first


class JobTiesOut(Wire, frozen=True, kw_only=True):
    """What a job belongs to; null: nothing, not asked for, or not for you to see.

    The template is that of the version which the job was made of.
    """

    template: TemplateOut | None = None
    schedule: ScheduleOut | None = None


class ExpandedJobOut(JobOut, frozen=True, kw_only=True):
    """One job, how far it has come, and what it belongs to."""

    expanded: JobTiesOut


class ExpandedScheduleOut(ScheduleOut, frozen=True, kw_only=True):
    """One schedule, and what became of its last instants."""

    expanded: ScheduleTiesOut

    @classmethod
    def with_recent(cls, shape: ScheduleOut, recent: Sequence[RecentTick]) -> "ExpandedScheduleOut":
        """Return *shape* with the last ticks of its schedule."""
        ties = ScheduleTiesOut(recent=tuple(map(RecentTickOut.of, recent)))
        return cls.filled(shape, expanded=ties)
