"""Planning: the next due time of a schedule, and when to act on it."""

import hashlib
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.schedules.timetable import timetable
from crawlyard.errors import Invalid

_MICROSECOND = timedelta(microseconds=1)


def fire_at(schedule: CrawlSchedule, due_at: datetime) -> datetime:
    """Return when a scheduler acts on the tick of *due_at*: at that time, or later by its jitter.

    The delay is a hash of the schedule's id and the due time: the same for every process, different
    for each tick, at most `CrawlSchedule.jitter`, and always before the next tick.
    """
    if not schedule.jitter:
        return due_at
    then = timetable(schedule.when, schedule.zone, schedule.anchor).after(due_at)
    most = schedule.jitter if then is None else min(schedule.jitter, then - due_at)
    key = f"{schedule.id} {due_at.astimezone(UTC).isoformat()}"
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
    return due_at + timedelta(microseconds=(most // _MICROSECOND) * number // 2**64)


def planned(schedule: CrawlSchedule, now: datetime) -> CrawlSchedule:
    """Return *schedule* with its next due time set to the first one after *now*.

    There is none before `starts_at`, after `ends_at` (a tick exactly then counts), without runs
    left, or up to `decided_to`: if the clock was set back, what was decided before is not decided
    again. Use this for a new or an edited schedule. It passes over ticks up to *now* that have not
    been decided yet, so decide them first.

    Raises:
        Invalid: ``when`` or ``zone`` is invalid.
    """
    next_at, then = following(schedule, max(now, schedule.decided_to or now))
    if schedule.runs_left == 0:
        next_at = then = None
    return replace(schedule, next_at=next_at, fire_at=then)


def never_due(schedule: CrawlSchedule, now: datetime) -> Invalid:
    """Return the error for a schedule that is never due again; its field is the cause."""
    if schedule.runs_left == 0:
        return Invalid("runs_left", "no run is left; expected at least 1, or null for no end")
    alone = replace(schedule, starts_at=None, ends_at=None)
    if planned(alone, now).next_at is None:
        return Invalid("when", f"no instant of {schedule.when!r} is to come")
    bound = "ends_at" if planned(replace(schedule, ends_at=None), now).next_at else "starts_at"
    side = "up to" if bound == "ends_at" else "from"
    limit = schedule.ends_at if bound == "ends_at" else schedule.starts_at
    at = "" if limit is None else f" {side} {limit.isoformat()}"
    return Invalid(bound, f"no instant of {schedule.when!r} is to come{at}")


def following(
    schedule: CrawlSchedule, instant: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return the first due time after *instant*, and its `fire_at`."""
    start = instant
    if schedule.starts_at is not None:
        start = max(start, schedule.starts_at - _MICROSECOND)
    due_at = timetable(schedule.when, schedule.zone, schedule.anchor).after(start)
    if due_at is None or (schedule.ends_at is not None and due_at > schedule.ends_at):
        return None, None
    return due_at, fire_at(schedule, due_at)
