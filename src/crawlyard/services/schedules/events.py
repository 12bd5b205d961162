"""Records written along with schedules: events, rows of the ledger, cancelled jobs."""

from datetime import datetime

from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.schedules.schedule import (
    BY_ITSELF,
    CrawlSchedule,
    Tick,
    TickOutcome,
    TickReason,
)

BY = BY_ITSELF
"""The actor of what the scheduler does by itself."""


def told(
    schedule: CrawlSchedule, name: EventName, now: datetime, actor: str, **data: object
) -> Event:
    """Return an event about a schedule."""
    return Event(
        name=name,
        subject=schedule.id,
        owner=schedule.owner,
        at=now,
        actor=actor,
        data={"name": schedule.name, "version": schedule.version, **data},
    )


def ticked(schedule: CrawlSchedule, tick: Tick, actor: str) -> Event:
    """Return the event of a tick."""
    return told(
        schedule,
        EventName.SCHEDULE_TICKED,
        tick.decided_at,
        actor,
        due_at=tick.due_at.isoformat(),
        outcome=tick.outcome.value,
        reason=tick.reason.value,
        detail=tick.detail,
        job_id=tick.job_id,
    )


def backfilled(
    schedule: CrawlSchedule, at: datetime, now: datetime, job_id: str | None = None
) -> Tick:
    """Return the ledger row of a backfilled instant."""
    return Tick(
        schedule_id=schedule.id,
        due_at=at,
        outcome=TickOutcome.CAUGHT_UP,
        reason=TickReason.BACKFILL,
        job_id=job_id,
        decided_at=now,
    )


def is_open(tick: Tick) -> bool:
    """Return whether a tick neither has a job nor waits for one."""
    return tick.job_id is None and tick.outcome is not TickOutcome.WAITING


def cancelled(job: Job, now: datetime, by: str) -> tuple[Job, Event]:
    """Return a job, cancelled to make room for the next one of its schedule, and its event."""
    return job.moved(Move.CANCEL, now, actor=by, reason=StateReason.BY_SCHEDULE)
