"""What the command line asks of a yard about what has happened in it."""

from collections.abc import AsyncIterator
from typing import Protocol

from crawlyard.core.answers.jobs.jobs import EventOut
from crawlyard.store.queries import EventQuery


class EventClient(Protocol):
    """Reads events of the user's, oldest first; an admin's are all of them."""

    async def newest(self, query: EventQuery, limit: int) -> list[EventOut]:
        """Return the newest *limit* events."""
        ...

    def every(self, query: EventQuery) -> AsyncIterator[EventOut]:
        """Yield all events up to the newest."""
        ...

    def follow(self, query: EventQuery) -> AsyncIterator[EventOut]:
        """Yield events as they happen, without end.

        Those that happened before come first if *query* says since when; each comes once.
        """
        ...
