"""Backlog limit: how many pending jobs an owner may have before their ticks are skipped."""

from crawlyard.clock import Clock
from crawlyard.services.access.policy import Policy

_RECOUNT_S = 10.0  # a count reads all jobs of an owner


class Backlog:
    """Counts the pending jobs of each owner, from the store at most every `_RECOUNT_S` seconds."""

    def __init__(self, policy: Policy, clock: Clock, most: int) -> None:
        self._policy = policy
        self._clock = clock
        self._most = most
        self._quotas: dict[str, int] = {}  # limit of each owner, as of the last count
        self._waiting: dict[str, tuple[float, int]] = {}  # when counted, and the count

    def most(self, owner: str) -> int:
        """Return how many jobs of *owner* may wait: the general limit, or their quota if lower."""
        return min(self._most, self._quotas.get(owner, self._most))

    async def has_room(self, owner: str) -> bool:
        """Return whether one more job of *owner* may wait; the count may be some seconds old."""
        now = self._clock.monotonic()
        counted_at, waiting = self._waiting.get(owner, (-_RECOUNT_S, 0))
        if now - counted_at >= _RECOUNT_S:
            waiting = await self._policy.waiting(owner)
            self._waiting[owner] = (now, waiting)
            quota = (await self._policy.quota(owner)).pending
            self._quotas[owner] = self._most if quota is None else quota
        return waiting < self.most(owner)

    def add(self, owner: str) -> None:
        """Count one more job of *owner*."""
        counted_at, waiting = self._waiting[owner]
        self._waiting[owner] = (counted_at, waiting + 1)
