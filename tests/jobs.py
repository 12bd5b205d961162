"""Jobs of a yard, as tests look at them: records instead of answers."""

from crawlyard import Event, Yard
from crawlyard.services.jobs.lookup import every_event
from crawlyard.store.queries import EventQuery


async def events_of(yard: Yard, job_id: str) -> list[Event]:
    """Return all events of a job, oldest first."""
    return await every_event(yard.store.events, EventQuery(subject=job_id))
