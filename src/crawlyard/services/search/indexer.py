"""Indexer: keeps the search index of pages up to date while crawls run."""

import logging
from datetime import timedelta

from crawlyard.clock import Clock
from crawlyard.errors import StoreUnavailable
from crawlyard.ids import new_id
from crawlyard.services.upkeep.janitor import BREATH
from crawlyard.store.search.index import IndexState, Turn
from crawlyard.store.store import Store

EVERY = timedelta(seconds=1)
"""Interval between polls for new pages, in the process that indexes."""

OTHERS_EVERY = timedelta(seconds=4)
"""Interval between attempts of standby processes, which take over if that one is gone."""

TURN = timedelta(seconds=10)
"""Time after a portion in which no other process indexes."""

SWEEP_EVERY_S = 3600.0
"""Interval between searches for terms without pages, if pages were deleted."""

_RETRY_EVERY = timedelta(seconds=30)  # while the store is unavailable
_SETTLING = timedelta(milliseconds=50)
_SETTLES_IN = 100  # looks: a transaction that takes longer is waited for by the next round
_SHARE = 9  # a rest of so many times the duration of the last portion: 10 % of a core
_MOST_KNOWN = 100_000  # terms in memory, about 10 MB

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
        self._stored_terms: set[bytes] = set()  # terms that are stored
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
            if state.is_taken(self._turn()):
                return OTHERS_EVERY
        began = self._clock.monotonic()
        if state.newest > state.high or not state.begun:
            return await self._new(state, began)
        if state.low:
            await self._portion(state, state.high)
        elif not await self._sweep(state):
            return EVERY if state.holder == self._name else OTHERS_EVERY
        spent = timedelta(seconds=self._clock.monotonic() - began)
        return min(EVERY, max(BREATH, _SHARE * spent))

    async def catch_up(self) -> None:
        """Index all pages, unless another process does.

        Raises:
            StoreUnavailable: the store became unavailable; what was indexed stays.
        """
        while (await self._index.state()).unindexed and await self.round() < OTHERS_EVERY:
            await self._clock.sleep(BREATH)

    async def _new(self, state: IndexState, began: float) -> timedelta:
        """Index the pages that are new in *state*; rest until `EVERY` from when it *began*."""
        upto = state.newest
        if not upto or not await self._wait_settled():
            return EVERY
        now: IndexState | None = state
        while now is not None and (upto > now.high or not now.begun):
            now = await self._portion(now, upto)
            await self._clock.sleep(BREATH)
        spent = timedelta(seconds=self._clock.monotonic() - began)
        return OTHERS_EVERY if now is None else max(BREATH, EVERY - spent)

    async def _wait_settled(self) -> bool:
        """Wait until all pages up to the newest that was seen are; return whether they are."""
        writers = await self._index.writers()
        for _ in range(_SETTLES_IN):
            if not writers:
                return True
            await self._clock.sleep(_SETTLING)
            writers &= await self._index.writers()
        return False

    async def _portion(self, state: IndexState, upto: int) -> IndexState | None:
        if len(self._stored_terms) > _MOST_KNOWN:
            self._stored_terms.clear()
        return await self._index.advance(state, upto, self._turn(), self._stored_terms)

    async def _sweep(self, state: IndexState) -> bool:
        """Delete some terms that no page has any more; return whether that was due."""
        now = self._clock.monotonic()
        if state.swept is None:
            recently = self._swept_at is not None and now - self._swept_at < SWEEP_EVERY_S
            if not state.loose or recently:
                return False
            self._swept_at = now
        self._stored_terms.clear()
        await self._index.sweep(state, self._turn())
        return True

    def _turn(self) -> Turn:
        now = self._clock.now()
        return Turn(holder=self._name, now=now, until=now + TURN)
