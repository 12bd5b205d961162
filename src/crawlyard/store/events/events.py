"""Event log in commit order."""

from sqlalchemy import ColumnElement, Connection, select

from crawlyard.core.events.event import Event
from crawlyard.store.codec.records import EVENTS
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.db.rows import equal
from crawlyard.store.events.numbering import number
from crawlyard.store.queries import EVERY_EVENT, EventQuery
from crawlyard.store.tables.jobs import events


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

    async def last(self) -> int:
        """Return the seq of the newest event, 0 if there is none."""
        return await self._database.read_cached(number)


def _conditions(query: EventQuery) -> list[ColumnElement[bool]]:
    filters = equal(
        (events.c.subject, query.subject),
        (events.c.owner, query.owner),
        (events.c.actor, query.actor),
    )
    if query.names:
        filters.append(events.c.name.in_(sorted(query.names)))
    if query.since is not None:
        filters.append(events.c.at >= query.since)
    if query.before is not None:
        filters.append(events.c.seq < query.before)
    return filters
