"""Scheduler loop: fires schedules as they become due."""

import asyncio
import logging
from datetime import timedelta

from crawlyard.core.events.event import EventName
from crawlyard.errors import StoreUnavailable
from crawlyard.services.schedules.ticker import Ticker
from crawlyard.store.queries import EventQuery

LOOK_EVERY = timedelta(seconds=5)
"""Maximum delay in noticing a clock that was set forward, or a missed event."""

PEEK_EVERY = timedelta(seconds=1)
"""Maximum delay in noticing a change by another process: each change writes an event.

A peek is one query for the newest event number, 0.1 ms on SQLite; a whole round takes four.
"""

_BEHIND = timedelta(milliseconds=20)
_RETRY_EVERY = timedelta(seconds=1)  # while the store is away
_ENDS = EventQuery(names=frozenset({EventName.COMPLETED, EventName.FAILED, EventName.CANCELLED}))
_PORTION = 1000

_log = logging.getLogger(__name__)


class SchedulerLoop:
    """Fires what is due, and reacts to the ends of the jobs of schedules."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._store = ticker.store
        self._clock = ticker.clock
        self._woken = asyncio.Event()
        self._last_seq: int | None = None  # the seq of the last event that was handled

    def wake(self) -> None:
        """Wake `run` in this process after a change."""
        self._woken.set()

    async def run(self) -> None:
        """Fire what is due, until cancelled. Any number may run at once, on any machines.

        It sleeps until the next schedule fires, notices changes by other processes within
        `PEEK_EVERY`, and retries while the store is unavailable.
        """
        away = False
        while True:
            # before the round, so that a change during it starts another one
            self._woken.clear()
            try:
                quiet = await self.round()
                away = False
            except StoreUnavailable as error:
                if not away:
                    _log.warning("the store is unavailable, retrying every second: %s", error)
                quiet, away = _RETRY_EVERY, True
            await self._rest(quiet)

    async def round(self) -> timedelta:
        """Do everything that is due; return how long there is nothing to do, barring changes.

        Raises:
            StoreUnavailable: the store is away.
        """
        await self._follow()
        while await self._ticker.release():
            pass
        while await self._ticker.fire_due():
            pass
        next_at = await self._store.ticks.next_at()
        if next_at is None:
            return LOOK_EVERY
        quiet = next_at - self._clock.wall()
        # anything still due is being fired by another scheduler; check again soon in case it dies
        return min(LOOK_EVERY, quiet if quiet > timedelta(0) else _BEHIND)

    async def _follow(self) -> None:
        """Handle the schedules whose jobs have ended since the last round."""
        last = await self._store.events.last()
        if self._last_seq is None:
            # Events before the start can be ignored: waiting ticks are found without them, and
            # failures in a row are counted again before the next run.
            self._last_seq = last
        ended: set[str] = set()
        while self._last_seq < last:
            portion = await self._store.events.events(_ENDS, self._last_seq, _PORTION)
            ended |= {str(e.data["schedule_id"]) for e in portion if "schedule_id" in e.data}
            self._last_seq = portion[-1].seq if len(portion) == _PORTION else last
        for schedule_id in sorted(ended):
            await self._ticker.after_run(schedule_id)

    async def _rest(self, quiet: timedelta) -> None:
        """Return after *quiet*, or earlier if `wake` is called or an event is new."""
        end = self._clock.monotonic() + quiet.total_seconds()
        while (remaining := timedelta(seconds=end - self._clock.monotonic())) > timedelta(0):
            await self._wait(min(remaining, PEEK_EVERY))
            if self._woken.is_set() or await self._has_news():
                return

    async def _has_news(self) -> bool:
        try:
            return await self._store.events.last() != self._last_seq
        except StoreUnavailable:
            return True  # the round reports it

    async def _wait(self, at_most: timedelta) -> None:
        sleeping = asyncio.ensure_future(self._clock.sleep(at_most))
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait((sleeping, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            woken.cancel()
