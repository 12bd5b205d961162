"""`EventLog` over a list."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from itertools import islice

from msgspec import Struct

from crawlyard.core.event import Event
from crawlyard.store.base import EVERY_EVENT, EventQuery
from crawlyard.store.memory.shelf import Shelf


class MemoryEvents(Struct, frozen=True):
    """`EventLog` in memory."""

    _shelf: Shelf

    async def events(
        self, query: EventQuery = EVERY_EVENT, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        there = reversed(self._shelf.events) if query.newest_first else self._shelf.events
        found = (e for e in there if e.seq > after and _fits(query, e))
        return list(islice(found, limit))

    async def last(self) -> int:
        return self._shelf.last_event


def _fits(query: EventQuery, event: Event) -> bool:
    return (
        query.subject in (None, event.subject)
        and query.owner in (None, event.owner)
        and query.actor in (None, event.actor)
        and (not query.names or event.name in query.names)
        and (query.since is None or event.at >= query.since)
        and (query.before is None or event.seq < query.before)
    )
