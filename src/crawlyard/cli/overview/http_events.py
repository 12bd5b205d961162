"""Events of a yard that is asked over HTTP."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from crawlyard.client import AsyncClient
from crawlyard.core.answers.jobs.jobs import EventOut
from crawlyard.store.queries import EventQuery


class HttpEvents:
    """Reads the events of a server."""

    def __init__(self, client: AsyncClient) -> None:
        self._events = client.events

    async def newest(self, query: EventQuery, limit: int) -> list[EventOut]:
        """Return the newest *limit* events."""
        found = self._events.list(
            type=_names(query), subject=query.subject, since=query.since, limit=limit
        )
        return [event async for event in found][::-1]

    async def every(self, query: EventQuery) -> AsyncIterator[EventOut]:
        """Yield all events up to the newest."""
        found = self._events.list(
            type=_names(query), subject=query.subject, since=query.since, sort="seq"
        )
        async with aclosing(found) as events:
            async for event in events:
                yield event

    async def follow(self, query: EventQuery) -> AsyncIterator[EventOut]:
        """Yield events as they happen, without end."""
        found = self._events.follow(type=_names(query), job=query.subject, since=query.since)
        async with aclosing(found) as events:
            async for event in events:
                yield event


def _names(query: EventQuery) -> list[str] | None:
    return sorted(query.names) or None
