"""Event log: past events, and a live feed, as far as the actor may see them."""

import logging
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.events.event import Event, EventName, event_for_others
from crawlyard.core.webhooks.webhook import check_patterns
from crawlyard.errors import StoreUnavailable
from crawlyard.store.queries import EVERY_EVENT, EventQuery, visible_to

if TYPE_CHECKING:
    from crawlyard.store.events.events import EventLog

LOOK_EVERY = timedelta(milliseconds=300)
_RETRY_EVERY = timedelta(seconds=1)  # while the store is away

_CHUNK = 500

_log = logging.getLogger(__name__)


def match_names(patterns: Iterable[str]) -> frozenset[EventName]:
    """Return the events that match names and patterns such as ``job.*``.

    Raises:
        Invalid: a pattern matches no event; the message lists all names.
    """
    names = tuple(patterns)
    check_patterns(names)
    return frozenset(n for n in EventName if any(fnmatchcase(n, p) for p in names))


class Events:
    """Reads the event log: users see events of what they own or see, an admin sees all."""

    def __init__(self, log: "EventLog", clock: Clock) -> None:
        self._events = log
        self._clock = clock

    async def follow(
        self, actor: Actor, query: EventQuery = EVERY_EVENT, after: int | None = 0
    ) -> AsyncIterator[Event]:
        """Yield all events with a seq above *after*, and then each new one as it happens.

        If *after* is ``None``, yield only events from now on. The iterator never ends by
        itself, and yields each event exactly once; those of other processes arrive within
        `LOOK_EVERY`. It waits while the store is unavailable.
        """
        visible = visible_to(actor, query)
        while True:
            try:
                last = await self._events.last()
                after = last if after is None else after
                events = await self._events.events(visible, after, _CHUNK) if last > after else []
            except StoreUnavailable as error:
                _log.warning("the store is unavailable, retrying: %s", error)
                await self._clock.sleep(_RETRY_EVERY)
                continue
            for event in events:
                yield _as_shown(actor, event)
            if len(events) == _CHUNK:
                after = events[-1].seq
                continue
            # seq follows the order of commits: no event below the last one can appear later
            after = max(after, last, events[-1].seq if events else 0)
            await self._clock.sleep(LOOK_EVERY)

    async def list(
        self, actor: Actor, query: EventQuery = EVERY_EVENT, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        """Return events with a seq above *after*, at most *limit*, in the order of *query*."""
        events = await self._events.events(visible_to(actor, query), after, limit)
        return [_as_shown(actor, event) for event in events]


def _as_shown(actor: Actor, event: Event) -> Event:
    return event if actor.may_see(event.owner) else event_for_others(event)
