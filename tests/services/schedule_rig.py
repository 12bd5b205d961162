"""A scheduler on a store, with time that stands still."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move, State
from crawlyard.core.schedules.schedule import CrawlSchedule, ScheduleDraft, Tick
from crawlyard.engine.http.dns import addresses_of
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.services.jobs.moves import JobWriter
from crawlyard.services.jobs.submission import Submitter
from crawlyard.services.schedules.scheduler import Scheduler
from crawlyard.services.schedules.ticker import TickerOptions
from crawlyard.services.templates.manager import TemplateManager
from crawlyard.services.webhooks.receivers import Resolve
from crawlyard.store.queries import EventQuery, JobQuery
from crawlyard.store.store import Store
from tests.clock import FakeClock
from tests.jobs import a_writer

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TO_ONE = HOUR - MINUTE
"""From where a rig begins to the first full hour."""


@dataclass(frozen=True, slots=True)
class Rig:
    """One scheduler, with all that it works with."""

    store: Store
    clock: FakeClock
    submitter: Submitter
    writer: JobWriter
    templates: TemplateManager
    scheduler: Scheduler

    async def create(self, when: str = "@hourly", actor: Actor = LOCAL, **fields: Any) -> str:
        """Return the id of a new schedule."""
        fields = {"name": "nightly", "overrides": {"urls": ["https://example.com/"]}} | fields
        draft = ScheduleDraft(when=when, **fields)
        return (await self.scheduler.create(actor, draft)).id

    async def schedule(self, schedule_id: str) -> CrawlSchedule:
        """Return a schedule as it is stored."""
        return await self.store.schedules.get(schedule_id)

    async def after(self, duration: timedelta) -> None:
        """Let time pass, and the scheduler look at what is due then."""
        await self.clock.advance(duration)
        await self.scheduler.round()

    async def ledger(self, schedule_id: str) -> list[str]:
        """Return the rows, the earliest first: hours since midnight, outcome, reason."""
        ticks = await self.store.ticks.ticks(schedule_id, limit=10_000)
        return [row(tick) for tick in reversed(ticks)]

    async def submitted(self, schedule_id: str) -> list[Job]:
        """Return the jobs of a schedule, the oldest first."""
        found = await self.store.jobs.find(JobQuery(schedule_id=schedule_id), 10_000)
        return [standing.job for standing in reversed(found)]

    async def ends(self, job: Job, state: State = State.COMPLETED) -> Job:
        """Let a job end."""
        path = {
            State.COMPLETED: (Move.CLAIM, Move.COMPLETE),
            State.FAILED: (Move.CLAIM, Move.FAIL),
            State.CANCELLED: (Move.CANCEL,),
        }[state]
        for move in path:
            if move in LIFECYCLE[job.state]:
                job, event = job.moved(move, self.clock.now(), actor="worker:w")
                await self.store.jobs.save(job, event)
        return job

    async def told(self, schedule_id: str) -> list[str]:
        """Return the names of a schedule's events but its ticks'."""
        events = await self.store.events.events(EventQuery(subject=schedule_id))
        names = [event.name for event in events if event.name is not EventName.SCHEDULE_TICKED]
        return [name.removeprefix("schedule.") for name in names]


def row(tick: Tick) -> str:
    hours = (tick.due_at - MIDNIGHT) / HOUR
    return f"{hours:g} {tick.outcome} {tick.reason}"


def a_rig(
    store: Store, clock: FakeClock | None = None, resolve: Resolve = addresses_of, **options: Any
) -> Rig:
    """Return a rig a minute after midnight, unless there is a clock."""
    clock = clock or FakeClock(MIDNIGHT + MINUTE)
    dispatcher = LocalDispatcher()
    submitter = Submitter(store, dispatcher, clock, resolve=resolve)
    writer = a_writer(store, clock, dispatcher, submitter)
    templates = TemplateManager(store, clock)
    chosen = TickerOptions(**options)
    scheduler = Scheduler(store, submitter, templates, dispatcher, clock, chosen)
    return Rig(store, clock, submitter, writer, templates, scheduler)


ADA = Actor(id="ada")


async def broken(rig: Rig, schedule_id: str) -> None:
    """Let the zone of a schedule be no more."""
    schedule = await rig.schedule(schedule_id)
    gone = replace(schedule, zone="Mars/Olympus", version=2, beat=schedule.beat + 1)
    await rig.store.schedules.save(gone, (await rig.store.events.events())[0])
