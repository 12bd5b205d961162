"""Events of a yard that is open in this process."""

from collections.abc import AsyncIterator

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.jobs.jobs import EventOut
from crawlyard.store.queries import EventQuery
from crawlyard.yard import Yard


class LocalEvents:
    """Reads the events of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._events = yard.events
        self._actor = actor

    async def newest(self, query: EventQuery, limit: int) -> list[EventOut]:
        """Return the newest *limit* events."""
        return [EventOut.of(e) for e in await self._events.newest(self._actor, query, limit)]

    async def every(self, query: EventQuery) -> AsyncIterator[EventOut]:
        """Yield all events up to the newest."""
        async for event in self._events.every(self._actor, query):
            yield EventOut.of(event)

    async def follow(self, query: EventQuery) -> AsyncIterator[EventOut]:
        """Yield events as they happen, without end."""
        after = None if query.since is None else 0
        async for event in self._events.follow(self._actor, query, after):
            yield EventOut.of(event)
