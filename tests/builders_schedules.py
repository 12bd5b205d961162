"""Schedules, ticks and firings for tests: valid as they are, each field to be had otherwise."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick, TickOutcome, TickReason
from crawlyard.ids import new_id
from crawlyard.store.queries import Firing
from tests.builders import NOW, a_job, its_event


def a_schedule(**fields: Any) -> CrawlSchedule:
    """Return a schedule of its own name that is due every hour, and at `NOW`."""
    schedule_id = new_id()
    defaults: dict[str, Any] = {
        "id": schedule_id,
        "owner": "local",
        "name": f"nightly-{schedule_id[-8:]}",
        "overrides": {"urls": ["https://example.com/"]},
        "when": "@hourly",
        "next_at": NOW,
        "fire_at": NOW,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return CrawlSchedule(**(defaults | fields))


def schedule_event(
    schedule: CrawlSchedule, name: EventName = EventName.SCHEDULE_CREATED, **data: object
) -> Event:
    return Event(
        name=name, subject=schedule.id, owner=schedule.owner, at=NOW, actor="local", data=data
    )


def edited(schedule: CrawlSchedule, **fields: Any) -> CrawlSchedule:
    """Return *schedule* as its next version."""
    return replace(schedule, version=schedule.version + 1, beat=schedule.beat + 1, **fields)


def a_tick(schedule: CrawlSchedule, due_at: datetime = NOW, **fields: Any) -> Tick:
    """Return the tick of *schedule* at *due_at*; by default it was skipped."""
    defaults: dict[str, Any] = {
        "outcome": TickOutcome.SKIPPED,
        "reason": TickReason.OVERLAP,
        "decided_at": NOW,
    }
    return Tick(schedule_id=schedule.id, due_at=due_at, **(defaults | fields))


def its_job(schedule: CrawlSchedule, due_at: datetime = NOW, **fields: Any) -> Job:
    """Return a job that *schedule* has submitted."""
    origin = Origin(schedule_id=schedule.id, tick_at=due_at)
    return a_job(owner=schedule.owner, origin=origin, **fields)


def ran(schedule: CrawlSchedule, job: Job, **fields: Any) -> Tick:
    """Return the tick that submitted *job*."""
    at = job.origin.tick_at or NOW
    defaults: dict[str, Any] = {"outcome": TickOutcome.RAN, "reason": TickReason.ON_TIME}
    return a_tick(schedule, at, job_id=job.id, **(defaults | fields))


def a_firing(
    schedule: CrawlSchedule,
    ticks: Sequence[Tick] = (),
    jobs: Sequence[Job] = (),
    moved: Sequence[tuple[Job, Event]] = (),
    **fields: Any,
) -> Firing:
    """Return the firing after which *schedule* has *fields*, with an event for each tick."""
    return Firing(
        after=replace(schedule, beat=schedule.beat + 1, **fields),
        ticks=tuple(ticks),
        jobs=tuple((job, its_event(job)) for job in jobs),
        moved=tuple(moved),
        events=tuple(schedule_event(schedule, EventName.SCHEDULE_TICKED) for _ in ticks),
    )
