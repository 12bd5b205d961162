"""Handover of credentials to the schedules of a template's owner when it is published."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import asdict, replace

from crawlyard.core.access.user import Actor
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.quantity import count_noun
from crawlyard.core.schedules.schedule import CrawlSchedule, event_for
from crawlyard.core.templates.publication import Takeover, takeover
from crawlyard.core.templates.template import CrawlTemplate, KeptTemplate
from crawlyard.errors import Unconfirmed

_NAMED = 20  # schedules listed in a message


class Handover(Struct):
    """The values that the owner's schedules take over when a template is published."""

    before: CrawlTemplate
    actor: Actor
    confirmed: bool
    kept_templates: tuple[KeptTemplate, ...] = ()

    def carry(
        self, after: CrawlTemplate, schedules: Sequence[CrawlSchedule]
    ) -> Sequence[tuple[CrawlSchedule, Event]]:
        """Return the schedules that take something over; see `TemplateStore.save`.

        Raises:
            Unconfirmed: there are some, and *confirmed* is not set.
        """
        takeovers = [
            takeover(schedule, self.before, after) for schedule in schedules if not schedule.flaw
        ]
        changes = [change for change in takeovers if change is not None]
        self.kept_templates = tuple(change.kept_template for change in changes)
        if changes and not self.confirmed:
            raise _unconfirmed_error(self.before, self.kept_templates)
        return [self._write(change, after.updated_at) for change in changes]

    def _write(self, change: Takeover, now: datetime) -> tuple[CrawlSchedule, Event]:
        schedule = change.after
        new = replace(
            schedule, version=schedule.version + 1, beat=schedule.beat + 1, updated_at=now
        )
        changed = sorted({path.partition(".")[0] for path in change.kept_template.fields})
        return new, event_for(new, EventName.SCHEDULE_UPDATED, now, self.actor.id, changed=changed)


def _unconfirmed_error(template: CrawlTemplate, schedules: Sequence[KeptTemplate]) -> Unconfirmed:
    named = ", ".join(
        f"{schedule.name} ({', '.join(schedule.fields)})" for schedule in schedules[:_NAMED]
    )
    more = f" and {len(schedules) - _NAMED:,} more" if schedules[_NAMED:] else ""
    return Unconfirmed(
        f"publishing template {template.name} removes credentials used by "
        f"{count_noun(len(schedules), 'schedule')} of {template.owner}; "
        f"confirm to keep them there: {named}{more}",
        [asdict(schedule) for schedule in schedules],
    )
