"""Catch-up: the events that a reconnecting client has missed."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.errors import StoreUnavailable
from crawlyard.store.events.events import EventLog
from crawlyard.store.queries import EventQuery
from crawlyard.web.live.sse import Teller
from crawlyard.web.live.stream import Stream, missed

MOST_REPLAYED = 1_000
"""Events that are sent again; if there are more, or older ones, the client reads the lists."""

REPLAYED_FOR = timedelta(minutes=10)

_PORTION = 100

_log = logging.getLogger(__name__)


class CatchUp:
    """Sends reconnecting clients what has happened meanwhile."""

    def __init__(self, events: EventLog, teller: Teller, clock: Clock) -> None:
        self._events = events
        self._teller = teller
        self._clock = clock

    async def of(self, stream: Stream) -> AsyncIterator[bytes]:
        """Yield the events that a client has missed, or a message that something is missing."""
        until, after = stream.replay_to, stream.wish.after or 0
        if until is None or after >= until or not stream.hears_any:
            return
        query = replace(stream.query, before=until + 1)
        try:
            if await self._is_gap(query, after, until):
                yield missed("gap", until).data
                return
            while found := await self._events.events(query, after, _PORTION):
                if stream.ended:
                    return
                yield b"".join(message.data for message in await self._teller.told(found))
                after = found[-1].seq
        except StoreUnavailable as error:
            _log.warning("the store is away, a stream ends: %s", error)
            stream.end()

    async def _is_gap(self, query: EventQuery, after: int, until: int) -> bool:
        """Return whether too much was missed, too long ago, or has been deleted since."""
        if after:
            last_heard = await self._events.events(after=after - 1, limit=1)
            if not last_heard or last_heard[0].seq != after:
                return True
        first = await self._events.events(query, after, 1)
        if first and first[0].at < self._clock.now() - REPLAYED_FOR:
            return True
        if until - after <= MOST_REPLAYED:
            return False
        return len(await self._events.events(query, after, MOST_REPLAYED + 1)) > MOST_REPLAYED
