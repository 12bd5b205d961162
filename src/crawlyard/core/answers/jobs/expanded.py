"""The shapes of jobs and schedules with what `expand` adds."""

from collections.abc import Sequence
from datetime import datetime
from zlib import crc32

from msgspec import UNSET, UnsetType

from crawlyard.core.answers.base import Wire
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.answers.schedules import ScheduleOut
from crawlyard.core.answers.templates import TemplateOut
from crawlyard.core.schedules.schedule import RecentTick


class RecentTickOut(Wire, frozen=True, kw_only=True):
    """What became of one instant at which a schedule was due, and of its job."""

    due_at: datetime
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

    @property
    def versions(self) -> tuple[object, ...]:
        """Return what changes when one of them does."""
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


class ExpandedScheduleOut(ScheduleOut, frozen=True, kw_only=True, dict=True):
    """One schedule, and what became of its last instants if that was asked for."""

    expanded: ScheduleTiesOut | UnsetType = UNSET

    @classmethod
    def with_recent(
        cls, shape: ScheduleOut, recent: Sequence[RecentTick] | None
    ) -> "ExpandedScheduleOut":
        """Return *shape* with the last ticks of its schedule, if there are to be any."""
        if recent is None:
            return cls.filled(shape, expanded=UNSET).at_beat(shape.beat)
        ties = ScheduleTiesOut(recent=tuple(map(RecentTickOut.of, recent)))
        # its tag is another whenever one of them changes
        beat = crc32(repr((shape.beat, ties)).encode())
        return cls.filled(shape, expanded=ties).at_beat(beat)
