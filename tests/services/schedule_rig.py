"""A scheduler on a store, with time that stands still."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move, State
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick
from crawlyard.engine.http.dns import addresses_of
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.services.jobs.moves import JobWriter
from crawlyard.services.jobs.submission import Submitter
from crawlyard.services.schedules.loop import SchedulerLoop
from crawlyard.services.schedules.schedules import Schedules
from crawlyard.services.schedules.ticker import Ticker, TickerOptions
from crawlyard.services.templates.templates import Templates
from crawlyard.services.webhooks.receivers import Resolve
from crawlyard.store.queries import EventQuery, JobQuery
from crawlyard.store.store import Store
from crawlyard.yard import Yard
from tests.clock import FakeClock
from tests.jobs import a_writer
from tests.services.hooks import yard_of
from tests.surfaces import as_user

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TO_ONE = HOUR - MINUTE
"""From where a rig begins to the first full hour."""


@dataclass(frozen=True, slots=True)
class ScheduleRig:
    """A scheduler with its store, clock and services."""

    store: Store
    clock: FakeClock
    yard: Yard

    @property
    def submitter(self) -> Submitter:
        return self.yard.services.submitter

    @property
    def writer(self) -> JobWriter:
        return self.yard.services.writer

    @property
    def ticker(self) -> Ticker:
        return self.yard.services.ticker

    @property
    def scheduler(self) -> SchedulerLoop:
        return self.yard.scheduler

    def schedules(self, actor: Actor = LOCAL) -> Schedules:
        return as_user(self.yard, actor).schedules

    def templates(self, actor: Actor = LOCAL) -> Templates:
        return as_user(self.yard, actor).templates

    async def run(self, schedule_id: str, actor: Actor = LOCAL) -> Job:
        job_id = (await self.schedules(actor).run(schedule_id)).id
        return (await self.store.jobs.get(job_id)).job

    async def next_runs(self, schedule_id: str, count: int = 5) -> tuple[datetime, ...]:
        ahead = await self.schedules().next(schedule_id, count)
        return tuple(run.at for run in ahead.next)

    async def create(self, when: str = "@hourly", actor: Actor = LOCAL, **fields: Any) -> str:
        """Return the id of a new schedule; its fields are those of `POST /schedules`."""
        fields = {"name": "nightly", "overrides": {"urls": ["https://example.com/"]}} | fields
        return (await self.schedules(actor)._create(when=when, **fields)).id

    async def schedule(self, schedule_id: str) -> CrawlSchedule:
        """Return a schedule as it is stored."""
        return await self.store.schedules.get(schedule_id)

    async def after(self, duration: timedelta) -> None:
        """Advance the clock, and let the scheduler poll."""
        await self.clock.advance(duration)
        await self.scheduler.round()

    async def ledger(self, schedule_id: str) -> list[str]:
        """Return the rows, the earliest first: hours since midnight, outcome, reason."""
        ticks = await self.store.ticks.ticks(schedule_id, limit=10_000)
        return [row(tick) for tick in reversed(ticks)]

    async def submitted(self, schedule_id: str) -> list[Job]:
        """Return the jobs of a schedule, the oldest first."""
        standings = await self.store.jobs.find(JobQuery(schedule_id=schedule_id), 10_000)
        return [standing.job for standing in reversed(standings)]

    async def ends(self, job: Job, state: State = State.COMPLETED) -> Job:
        path = {
            State.COMPLETED: (Move.CLAIM, Move.COMPLETE),
            State.FAILED: (Move.CLAIM, Move.FAIL),
            State.CANCELLED: (Move.CANCEL,),
        }[state]
        for move in path:
            if move in LIFECYCLE[job.state]:
                job, event = job.apply_move(move, self.clock.now(), actor="worker:w")
                await self.store.jobs.save(job, event)
        return job

    async def after_run(self, job: Job) -> None:
        """React to the end of a job of a schedule."""
        assert job.origin.schedule_id is not None
        await self.ticker.after_run(job.origin.schedule_id)

    async def event_names(self, schedule_id: str) -> list[str]:
        """Return the names of a schedule's events, except ticks."""
        events = await self.store.events.events(EventQuery(subject=schedule_id))
        names = [event.name for event in events if event.name is not EventName.SCHEDULE_TICKED]
        return [name.removeprefix("schedule.") for name in names]


def row(tick: Tick) -> str:
    hours = (tick.due_at - MIDNIGHT) / HOUR
    return f"{hours:g} {tick.outcome} {tick.reason}"


def a_rig(
    store: Store, clock: FakeClock | None = None, resolve: Resolve = addresses_of, **options: Any
) -> ScheduleRig:
    """Return a rig on *clock*, by default one at a minute past midnight."""
    clock = clock or FakeClock(MIDNIGHT + MINUTE)
    yard, dispatcher = yard_of(store, clock), LocalDispatcher()
    services, chosen = yard.services, TickerOptions(**options)
    services.submitter = Submitter(store, dispatcher, clock, resolve=resolve)
    services.writer = a_writer(store, clock, dispatcher, services.submitter)
    services.ticker = Ticker(store, services.submitter, dispatcher, clock, chosen)
    return ScheduleRig(store, clock, yard)


ADA = Actor(id="ada")


async def broken(rig: ScheduleRig, schedule_id: str) -> None:
    """Give a schedule a time zone that does not exist."""
    schedule = await rig.schedule(schedule_id)
    zoneless = replace(schedule, zone="Mars/Olympus", version=2, beat=schedule.beat + 1)
    await rig.store.schedules.save(zoneless, (await rig.store.events.events())[0])
