"""Jobs of a yard in tests: submitted as they are, and looked at as records."""

from datetime import datetime

from crawlyard import LOCAL, Actor, Event, Job, JobSpec, Submission, Yard
from crawlyard.clock import Clock
from crawlyard.core.jobs.job import DIRECT, Origin
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.services.access.policy import Policy
from crawlyard.services.jobs.lookup import read_all_events
from crawlyard.services.jobs.moves import JobWriter
from crawlyard.services.jobs.submission import Submitter
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store


def a_submitter(store: Store, clock: Clock) -> Submitter:
    return Submitter(store, LocalDispatcher(), clock)


def a_writer(
    store: Store,
    clock: Clock,
    dispatcher: Dispatcher | None = None,
    submitter: Submitter | None = None,
) -> JobWriter:
    submitter = submitter or a_submitter(store, clock)
    return JobWriter(store, dispatcher or LocalDispatcher(), clock, Policy(store), submitter)


async def submit(
    yard: Yard,
    spec: JobSpec,
    *,
    actor: Actor = LOCAL,
    start_at: datetime | None = None,
    origin: Origin = DIRECT,
) -> Job:
    submitter = yard.services.submitter
    return await submit_to(submitter, actor, spec, start_at=start_at, origin=origin)


async def submit_to(
    submitter: Submitter,
    actor: Actor,
    spec: JobSpec,
    *,
    start_at: datetime | None = None,
    origin: Origin = DIRECT,
) -> Job:
    """Return a new job of *actor*, which is stored."""
    submission = Submission(spec=spec, start_at=start_at, origin=origin)
    return await submitter.enter(await submitter.draft(actor, submission))


async def events_of(yard: Yard, job_id: str) -> list[Event]:
    """Return all events of a job, oldest first."""
    return await read_all_events(yard.store.events, EventQuery(subject=job_id))
