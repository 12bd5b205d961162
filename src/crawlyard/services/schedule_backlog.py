"""How many jobs of each owner may wait."""

from crawlyard.clock import Clock
from crawlyard.core.lifecycle import State
from crawlyard.store.base import Store

_RECOUNT_S = 10.0  # a count reads all jobs of an owner


class Backlog:
    """How many more jobs each owner may have waiting; counted now and then, not each time."""

    def __init__(self, store: Store, clock: Clock, most: int) -> None:
        self._store = store
        self._clock = clock
        self._most = most
        self._waiting: dict[str, tuple[float, int]] = {}  # counted when, and what was added since

    async def has_room(self, owner: str) -> bool:
        """Tell whether one more job of *owner* may wait; good to some seconds."""
        now = self._clock.monotonic()
        counted_at, waiting = self._waiting.get(owner, (-_RECOUNT_S, 0))
        if now - counted_at >= _RECOUNT_S:
            counts = await self._store.jobs.counts(owner)
            waiting = sum(n for (state, _), n in counts.items() if state is State.PENDING)
            self._waiting[owner] = (now, waiting)
        return waiting < self._most

    def add(self, owner: str) -> None:
        """Count one more."""
        counted_at, waiting = self._waiting[owner]
        self._waiting[owner] = (counted_at, waiting + 1)
