"""Catch-up: events that a reconnecting client has missed."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.errors import StoreUnavailable
from crawlyard.store.events.events import EventLog
from crawlyard.store.queries import EventQuery
from crawlyard.web.live.sse import EventEncoder
from crawlyard.web.live.stream import Stream, resync_message

MAX_REPLAYED = 1_000
"""Limit of replayed events; beyond it, or for older events, the client reads the lists."""

MAX_REPLAY_AGE = timedelta(minutes=10)

_PORTION = 100

_log = logging.getLogger(__name__)


class CatchUp:
    """Replays missed events to reconnecting clients."""

    def __init__(self, events: EventLog, encoder: EventEncoder, clock: Clock) -> None:
        self._events = events
        self._encoder = encoder
        self._clock = clock

    async def replay(self, stream: Stream) -> AsyncIterator[bytes]:
        """Yield the events that a client has missed, or a message that some are missing."""
        until, after = stream.replay_to, stream.subscription.after or 0
        if until is None or after >= until or not stream.wants_events:
            return
        query = replace(stream.query, before=until + 1)
        try:
            if await self._is_gap(query, after, until):
                yield resync_message("gap", until).data
                return
            while events := await self._events.events(query, after, _PORTION):
                if stream.ended:
                    return
                yield b"".join(message.data for message in await self._encoder.encode(events))
                after = events[-1].seq
        except StoreUnavailable as error:
            _log.warning("store unavailable, closing a stream: %s", error)
            stream.end()

    async def _is_gap(self, query: EventQuery, after: int, until: int) -> bool:
        """Return whether the missed events are too many, too old, or partly deleted."""
        if after:
            last_heard = await self._events.events(after=after - 1, limit=1)
            if not last_heard or last_heard[0].seq != after:
                return True
        first = await self._events.events(query, after, 1)
        if first and first[0].at < self._clock.now() - MAX_REPLAY_AGE:
            return True
        if until - after <= MAX_REPLAYED:
            return False
        return len(await self._events.events(query, after, MAX_REPLAYED + 1)) > MAX_REPLAYED
