"""Indexer: keeps the search index of pages up to date while crawls run."""

import logging
from datetime import timedelta

from crawlyard.clock import Clock
from crawlyard.errors import StoreUnavailable
from crawlyard.ids import new_id
from crawlyard.services.upkeep.janitor import BREATH
from crawlyard.store.search.index import IndexState, Turn
from crawlyard.store.store import Store

POLL_EVERY = timedelta(seconds=1)
"""Interval between polls for new pages, in the process that indexes."""

STANDBY_EVERY = timedelta(seconds=4)
"""Interval between polls in all other processes, which take over if that one is gone."""

TURN_LENGTH = timedelta(seconds=10)
"""Time after a portion in which no other process indexes."""

SWEEP_EVERY_S = 3600.0
"""Interval between searches for terms without pages, if pages were deleted."""

_RETRY_EVERY = timedelta(seconds=30)  # while the store is unavailable
_SETTLING_CHECK_EVERY = timedelta(milliseconds=50)
_MAX_SETTLING_CHECKS = 100  # the next round waits for a transaction that takes longer
_REST_FACTOR = 9  # a rest lasts so many times as long as the last portion took: 10 % of a core
_MAX_STORED_TERMS = 100_000  # terms in memory, about 10 MB

_log = logging.getLogger(__name__)


class Indexer:
    """Indexes pages in small portions, the new ones first.

    Any number of processes may run one: the last one that indexed continues. If it is gone, the
    first that finds new pages takes over. A portion is done completely or not at all.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._index = store.page_index
        self._clock = clock
        self._name = new_id()
        self._stored_terms: set[bytes] = set()  # those known here; the store may have more
        self._swept_at: float | None = None

    async def run(self) -> None:
        """Index stored pages until cancelled. Retries while the store is unavailable."""
        while True:
            try:
                rest = await self.round()
            except StoreUnavailable as error:
                _log.warning("the store is unavailable, indexing later: %s", error)
                rest = _RETRY_EVERY
            await self._clock.sleep(rest)

    async def round(self) -> timedelta:
        """Index all new pages, or some of the others; return how long to rest.

        Raises:
            StoreUnavailable: the store became unavailable; what was indexed stays.
        """
        state = await self._index.state()
        if state.holder != self._name:
            self._stored_terms.clear()  # another process may have deleted some
            if state.is_taken(self._next_turn()):
                return STANDBY_EVERY
        began = self._clock.monotonic()
        if state.newest > state.high or not state.begun:
            return await self._index_new(state, began)
        if state.low:
            await self._index_portion(state, state.high)
        elif not await self._sweep(state):
            return POLL_EVERY if state.holder == self._name else STANDBY_EVERY
        spent = timedelta(seconds=self._clock.monotonic() - began)
        return min(POLL_EVERY, max(BREATH, _REST_FACTOR * spent))

    async def catch_up(self) -> None:
        """Index all pages, unless another process does.

        Raises:
            StoreUnavailable: the store became unavailable; what was indexed stays.
        """
        while (await self._index.state()).unindexed and await self.round() < STANDBY_EVERY:
            await self._clock.sleep(BREATH)

    async def _index_new(self, state: IndexState, began: float) -> timedelta:
        """Index the pages that are new in *state*; return how long to rest.

        The next round is due `POLL_EVERY` after this one *began*.
        """
        newest = state.newest
        if not newest or not await self._wait_settled():
            return POLL_EVERY
        current: IndexState | None = state
        while current is not None and (newest > current.high or not current.begun):
            current = await self._index_portion(current, newest)
            await self._clock.sleep(BREATH)
        spent = timedelta(seconds=self._clock.monotonic() - began)
        return STANDBY_EVERY if current is None else max(BREATH, POLL_EVERY - spent)

    async def _wait_settled(self) -> bool:
        """Wait for the transactions under way, which may have stored pages below the newest.

        Return whether all have ended.
        """
        writers = await self._index.writers()
        for _ in range(_MAX_SETTLING_CHECKS):
            if not writers:
                return True
            await self._clock.sleep(_SETTLING_CHECK_EVERY)
            writers &= await self._index.writers()
        return False

    async def _index_portion(self, state: IndexState, newest: int) -> IndexState | None:
        if len(self._stored_terms) > _MAX_STORED_TERMS:
            self._stored_terms.clear()
        return await self._index.advance(state, newest, self._next_turn(), self._stored_terms)

    async def _sweep(self, state: IndexState) -> bool:
        """Delete some terms that no page has any more; return whether that was due."""
        now = self._clock.monotonic()
        if state.swept is None:
            is_recent = self._swept_at is not None and now - self._swept_at < SWEEP_EVERY_S
            if not state.loose or is_recent:
                return False
            self._swept_at = now
        self._stored_terms.clear()
        await self._index.sweep(state, self._next_turn())
        return True

    def _next_turn(self) -> Turn:
        now = self._clock.now()
        return Turn(holder=self._name, now=now, until=now + TURN_LENGTH)
