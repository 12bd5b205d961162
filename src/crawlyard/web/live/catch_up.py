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
"""Maximum number of replayed events; a client that missed more, or older ones, reloads lists."""

MAX_REPLAY_AGE = timedelta(minutes=10)

_BATCH_SIZE = 100  # events per query

_log = logging.getLogger(__name__)


class CatchUp:
    """Replays missed events to reconnecting clients."""

    def __init__(self, events: EventLog, encoder: EventEncoder, clock: Clock) -> None:
        self._events = events
        self._encoder = encoder
        self._clock = clock

    async def replay(self, stream: Stream) -> AsyncIterator[bytes]:
        """Yield the events that a client has missed, or `resync` if it missed too much."""
        until, after = stream.replay_to, stream.subscription.after or 0
        if until is None or after >= until or not stream.wants_events:
            return
        query = replace(stream.query, before=until + 1)
        try:
            # events of others are not replayed
            if stream.sees_shared or await self._needs_resync(query, after, until):
                yield resync_message("gap", until).data
                return
            while events := await self._events.events(query, after, _BATCH_SIZE):
                if stream.ended:
                    return
                yield b"".join(message.data for message in await self._encoder.encode(events))
                after = events[-1].seq
        except StoreUnavailable as error:
            _log.warning("store unavailable, closing a stream: %s", error)
            stream.end()

    async def _needs_resync(self, query: EventQuery, after: int, until: int) -> bool:
        """Return whether the missed events are too many, too old, or partly deleted."""
        if after:
            last_received = await self._events.events(after=after - 1, limit=1)
            if not last_received or last_received[0].seq != after:
                return True
        first = await self._events.events(query, after, 1)
        if first and first[0].at < self._clock.now() - MAX_REPLAY_AGE:
            return True
        if until - after <= MAX_REPLAYED:
            return False
        return len(await self._events.events(query, after, MAX_REPLAYED + 1)) > MAX_REPLAYED
