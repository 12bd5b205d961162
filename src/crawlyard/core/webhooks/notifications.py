"""Notifications to people: the events of a channel, repeats, and quiet hours."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.events.event import SCHEDULER, Event, EventName
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.errors import Invalid

GATHERED = timedelta(seconds=10)
"""Delay of a message, so that events at the same time are one message."""

DIGEST_S = 300.0
"""Default of the shortest time between two messages of a channel."""

LEAST_DIGEST_S = 10.0
MOST_DIGEST_S = 86_400.0

MOST_SERIES = 1_000
"""Failing series of jobs that a channel remembers: at most 60 kB."""

MOST_IN_DIGEST = 500

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class Occasion(StrEnum):
    """Kinds of events that a channel can be for."""

    FAILED = auto()  # a job failed
    STOPPED = auto()  # its limit of errors stopped a job
    LOGGED_OUT = auto()  # a job was paused because its session is logged out
    CHANGED = auto()  # a run of a schedule has other pages than the previous one
    ATTENTION = auto()  # the server paused a job or a schedule, or disabled a webhook


class Recurrence(StrEnum):
    """Position of an event in the history of its schedule or name."""

    FIRST = auto()
    AGAIN = auto()  # the second failure in a row; later ones are not sent
    OVER = auto()  # a success after a failure


EVENTS_OF: Mapping[Occasion, tuple[EventName, ...]] = {
    # a completion is sent only if it follows a failure
    Occasion.FAILED: (EventName.FAILED, EventName.COMPLETED),
    Occasion.STOPPED: (EventName.COMPLETED,),
    Occasion.LOGGED_OUT: (EventName.PAUSED, EventName.COMPLETED),
    Occasion.CHANGED: (EventName.RUN_CHANGED,),
    Occasion.ATTENTION: (
        EventName.PAUSED,
        EventName.EXPIRING,
        EventName.SCHEDULE_PAUSED,
        EventName.WEBHOOK_DISABLED,
    ),
}

FAILURES = frozenset({Occasion.FAILED, Occasion.STOPPED, Occasion.LOGGED_OUT})
"""Occasions that are over once a job completes."""


class NotificationRules(Struct, frozen=True, kw_only=True):
    """Events that a channel receives, and times at which it does."""

    on: tuple[Occasion, ...] = tuple(Occasion)
    quiet_hours: str = ""  # "22:00-07:00" in `zone`; empty: none
    zone: str = "UTC"
    digest_s: float = DIGEST_S
    named_only: bool = False  # only jobs whose spec names the channel

    def wants(self, event: Event, name: str) -> bool:
        """Return whether *event* concerns the channel called *name*; see also `recur`."""
        names = event.data.get("notify")
        named = name in names if isinstance(names, Sequence) and names else not self.named_only
        occasion = occasion_of(event)
        if occasion is None:
            return named and is_success(event) and not FAILURES.isdisjoint(self.on)
        return named and occasion in self.on

    def quiet_until(self, now: datetime, zone: tzinfo) -> datetime | None:
        """Return when the quiet hours, which are in *zone*, end; ``None`` outside of them."""
        if not self.quiet_hours:
            return None
        start, end = parse_hours(self.quiet_hours)
        local = now.astimezone(zone)
        at = local.time()
        inside = start <= at < end if start < end else at >= start or at < end
        if not inside:
            return None
        day = local.date() + timedelta(days=at >= end)
        return datetime.combine(day, end, zone).astimezone(UTC)


def parse_hours(text: str) -> tuple[time, time]:
    """Return the start and end of quiet hours.

    Raises:
        Invalid: *text* is not like "22:00-07:00".
    """
    match = _HOURS.fullmatch(text)
    if match is None:
        raise Invalid("quiet_hours", f"expected hours such as 22:00-07:00, got {text[:40]!r}")
    hours = [int(part) for part in match.groups()]
    start, end = time(hours[0], hours[1]), time(hours[2], hours[3])
    if start == end:
        raise Invalid("quiet_hours", f"expected two different times, got {text}")
    return start, end


def occasion_of(event: Event) -> Occasion | None:
    """Return the occasion that an event is, ``None`` if people need not hear of it."""
    if event.name is EventName.SCHEDULE_PAUSED:
        return Occasion.ATTENTION if event.actor == SCHEDULER else None
    return _ALWAYS.get(event.name) or _OF_REASON.get((event.name, str(event.data.get("reason"))))


_ALWAYS: Mapping[EventName, Occasion] = {
    EventName.FAILED: Occasion.FAILED,
    EventName.RUN_CHANGED: Occasion.CHANGED,
    EventName.EXPIRING: Occasion.ATTENTION,
    EventName.WEBHOOK_DISABLED: Occasion.ATTENTION,
}
_OF_REASON: Mapping[tuple[EventName, str], Occasion] = {
    (EventName.COMPLETED, StateReason.LIMIT_ERRORS): Occasion.STOPPED,
    (EventName.PAUSED, StateReason.LOGGED_OUT): Occasion.LOGGED_OUT,
    (EventName.PAUSED, StateReason.DISK_FULL): Occasion.ATTENTION,
    (EventName.PAUSED, StateReason.NOT_GRANTED): Occasion.ATTENTION,
}


def is_success(event: Event) -> bool:
    """Return whether *event* is the end of a job that its limit of errors did not stop."""
    return event.name is EventName.COMPLETED and occasion_of(event) is None


def series_key(event: Event) -> str:
    """Return a key of the series of a job: its schedule, else its name; empty if it has neither."""
    schedule, name = event.data.get("schedule_id"), event.data.get("name")
    if event.job_id is None:
        return ""
    return f"schedule:{schedule}" if schedule else f"name:{name}" if name else ""


def recur(failing: Mapping[str, int], event: Event) -> tuple[Mapping[str, int], Recurrence | None]:
    """Return the failures in a row by series after *event*, and its recurrence.

    The recurrence is ``None`` if the event is not sent: a third failure in a row, or a success
    that follows a success.
    """
    series = series_key(event)
    before = failing.get(series, 0)
    if is_success(event):
        if not before:
            return failing, None
        return {key: n for key, n in failing.items() if key != series}, Recurrence.OVER
    if occasion_of(event) not in FAILURES or not series:
        return failing, Recurrence.FIRST
    if before >= 2:  # the second one is the last that is sent
        return failing, None
    recent = dict(list(failing.items())[-MOST_SERIES + 1 :])
    return recent | {series: before + 1}, Recurrence.AGAIN if before else Recurrence.FIRST
