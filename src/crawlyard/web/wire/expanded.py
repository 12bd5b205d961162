"""The shapes of jobs and schedules with what they belong to, as `expand` asks for it."""

from crawlyard.core.schedule_records import RecentTick
from crawlyard.web.wire.access import UserOut
from crawlyard.web.wire.base import Instant, Wire
from crawlyard.web.wire.jobs import JobOut
from crawlyard.web.wire.schedules import ScheduleOut
from crawlyard.web.wire.templates import TemplateOut


class RecentTickOut(Wire):
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


class TiesOut(Wire):
    """What a thing belongs to."""

    template: TemplateOut | None = None  # at the version that it fixes; else the latest
    owner: UserOut | None = None


class ScheduleTiesOut(TiesOut):
    """What a schedule belongs to; null: nothing, not asked for, or not for you to see."""

    recent: tuple[RecentTickOut, ...] | None = None  # its last 60 ticks, the latest first


class JobTiesOut(TiesOut):
    """What a job belongs to; null: nothing, not asked for, or not for you to see.

    The template is that of the version which the job was made of.
    """

    schedule: ScheduleOut | None = None


class ExpandedJobOut(JobOut):
    """One job, how far it has come, and what it belongs to."""

    expanded: JobTiesOut


class ExpandedScheduleOut(ScheduleOut):
    """One schedule, what it belongs to, and what became of its last instants."""

    expanded: ScheduleTiesOut
