"""Edits of schedules: the new schedule, and the checks and decisions before."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.schedules.planning import never_due_error, plan_next
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.errors import Invalid

_REPLANS = frozenset({"when", "zone", "jitter", "starts_at", "ends_at", "runs_left"})
_CRAWL = frozenset({"template_id", "template_version", "params", "overrides"})


class Edit(Struct, frozen=True):
    """Fields of a schedule that are set by an actor."""

    fields: Mapping[str, Any]
    actor: Actor

    @property
    def replans(self) -> bool:
        """True if the schedule is planned anew; instants due before are fired first."""
        return not self.fields.keys().isdisjoint(_REPLANS)

    @property
    def changes_crawl(self) -> bool:
        """True if the edit changes the crawl."""
        return not self.fields.keys().isdisjoint(_CRAWL)

    def of(self, schedule: CrawlSchedule, now: datetime) -> CrawlSchedule:
        """Return *schedule* with the fields set.

        Raises:
            Invalid: a value is not valid, or the schedule would never be due; the field is the
                cause.
        """
        vouched = self.actor.vouches_for(schedule.owner) or not self.changes_crawl
        new = replace(schedule, **self.fields, trusted=schedule.trusted and vouched)
        if new.pause_after != schedule.pause_after:
            new = replace(new, fresh_beat=schedule.beat + 1)  # restart the count of failures
        if "params" in self.fields:  # older schedules may have some that mean nothing
            check_params(new)
        return first_planned(new, now) if self.replans else new


def first_planned(schedule: CrawlSchedule, now: datetime) -> CrawlSchedule:
    """Return a new or edited schedule with its next instant after *now*.

    Raises:
        Invalid: its timetable is not valid, or never due again; the field is the cause.
    """
    new = plan_next(schedule, now)
    if new.next_at is None:
        raise never_due_error(schedule, now)
    return new


def check_params(schedule: CrawlSchedule) -> None:
    """Check that a schedule has no parameters without a template.

    Raises:
        Invalid: it has.
    """
    if schedule.params and schedule.template_id is None:
        raise Invalid("params", "expected a template that has them")
