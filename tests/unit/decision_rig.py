"""A schedule in memory, and short forms of the decisions on it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.schedules.decision import (
    TickDecision,
)
from crawlyard.core.schedules.planning import plan_next
from crawlyard.core.schedules.schedule import (
    CrawlSchedule,
    Tick,
)
from tests.builders import a_job
from tests.builders_schedules import a_schedule

START = datetime(2027, 3, 27, 0, 30, tzinfo=UTC)  # a day before the clocks of Berlin go forward
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ALL = 1000


def planned_one(**fields: Any) -> CrawlSchedule:
    """Return an hourly schedule that was created at `START`."""
    defaults: dict[str, Any] = {"created_at": START, "next_at": None, "fire_at": None}
    return plan_next(a_schedule(**(defaults | fields)), START)


def at(hours: float) -> datetime:
    """Return the instant *hours* after midnight of the day of `START`."""
    return START.replace(minute=0) + hours * HOUR


def its_job(schedule: CrawlSchedule, due_at: datetime | None = None, **fields: Any) -> Job:
    return a_job(origin=Origin(schedule_id=schedule.id, tick_at=due_at), **fields)


def rows(decision: TickDecision) -> list[tuple[datetime, str, str]]:
    """Return instants with outcome and reason, jobs included, in order."""
    every: list[Tick] = [*decision.ticks, *decision.runs]
    return sorted((each.due_at, each.outcome.value, each.reason.value) for each in every)


def outcomes(decision: TickDecision) -> list[str]:
    """Return the outcomes alone, in the order of the instants."""
    return [outcome for _, outcome, _ in rows(decision)]
