"""Event log in commit order."""

from sqlalchemy import ColumnElement, Connection, and_, exists, or_, select

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.events.event import Event, EventName
from crawlyard.store.codec.records import EVENTS
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import equal
from crawlyard.store.events.numbering import number
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.jobs.where import shown_to
from crawlyard.store.queries import EVERY_EVENT, EventQuery
from crawlyard.store.tables.jobs import AUDITED, PRESENT, events, jobs
from crawlyard.store.tables.schedules import schedules

_OF_JOBS = [name for name in EventName if name.kind == "job"]
_OF_SCHEDULES = [name for name in EventName if name.kind == "schedule"]


class EventLog(StorePart):
    """Stored events, in commit order."""

    @reads
    def events(
        self, conn: Connection, query: EventQuery = EVERY_EVENT, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        """Return at most *limit* events that match *query*, with a seq above *after*.

        Oldest first, unless *query* asks for the newest first: then the *limit* newest.
        """
        number(conn)
        statement = select(events).where(events.c.seq > after, *_conditions(query))
        order = events.c.seq.desc() if query.newest_first else events.c.seq
        return EVENTS.all(conn, statement.order_by(order).limit(limit))

    @writes
    def add(self, conn: Connection, event: Event) -> None:
        """Add an event that belongs to no other change."""
        add_events(conn, [event])

    @reads
    def audit(self, conn: Connection, query: EventQuery, limit: int) -> list[Event]:
        """Return the newest *limit* events that users caused and *query* selects."""
        number(conn)
        statement = select(events).where(AUDITED, *_conditions(query))
        return EVENTS.all(conn, statement.order_by(events.c.seq.desc()).limit(limit))

    async def last(self) -> int:
        """Return the seq of the newest event, 0 if there is none."""
        return await self._database.read_cached(number)


def _of_others(user: str) -> ColumnElement[bool]:
    """Return the condition that an event is about a job or schedule that *user* may see."""
    job = exists().where(jobs.c.id == events.c.subject, PRESENT, shown_to(user, JobPart.STATE))
    schedule = exists().where(schedules.c.id == events.c.subject, schedules.c.private.is_(False))
    return or_(
        and_(events.c.name.in_(_OF_JOBS), job), and_(events.c.name.in_(_OF_SCHEDULES), schedule)
    )


def _conditions(query: EventQuery) -> list[ColumnElement[bool]]:
    filters = equal(
        (events.c.subject, query.subject),
        (events.c.owner, query.owner),
        (events.c.actor, query.actor),
    )
    if query.seen_by is not None:
        filters.append(or_(events.c.owner == query.seen_by, _of_others(query.seen_by)))
    if query.names:
        filters.append(events.c.name.in_(sorted(query.names)))
    if query.since is not None:
        filters.append(events.c.at >= query.since)
    if query.until is not None:
        filters.append(events.c.at < query.until)
    if query.before is not None:
        filters.append(events.c.seq < query.before)
    return filters
