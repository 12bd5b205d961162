"""Part of a job that one crawl works on: all of it, or the hosts of one shard."""

from collections.abc import Callable

from crawlyard.core.jobs.limits import Counters, Decision, ResourceLimiter, Usage
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spread import LINGER, Allowance, Share, Starts, shard_of

STARVING_S = 1.0  # between two loads from the store while no host in memory is ready


class Part:
    """Shard *shard* of *of*; shard 0 is the whole job, with all hosts and all of the limits.

    `decide` returns whether one more request may start while so many others are running. The part
    of a spread job is open while other shards may find targets for it: until no target
    waits in the whole job, or until soon after it has run out of targets.
    """

    def __init__(self, shard: int = 0, of: int = 0, starts: Starts = ()) -> None:
        self._shard, self._of, self._starts = shard, of, starts
        self._share = Share()
        self._allowance = Allowance(Usage(), self._share)
        self._empty_since: float | None = None
        self.limiter = ResourceLimiter()
        self.decide: Callable[[Counters, int], Decision] = self.limiter.decide
        self.open = shard > 0
        self.wants_more = False  # its allowance of a limit is used up, and more may be granted

    def adopt(self, spec: JobSpec) -> None:
        """Apply the limits of *spec*."""
        self.limiter = ResourceLimiter(spec.limits)
        self.decide = self._decide_share if self._shard else self.limiter.decide

    @property
    def owns(self) -> Callable[[str], bool] | None:
        """Filter of the hosts whose targets belong to this part; ``None``: all do."""
        return self._owns if self._shard else None

    def allow(self, share: Share, usage: Usage) -> None:
        """Apply the store's reply to a batch; *usage* is this crawl's usage as of that batch."""
        self._share = share
        self._allowance = Allowance(usage, share)

    def should_load(self, in_memory: int, since_s: float, *, idle: bool) -> bool:
        """Return whether to load targets that other shards have found from the store.

        True when no target is in memory, or when no host in memory is ready (*idle*) and the
        last load was at least `STARVING_S` ago.
        """
        return self.open and (not in_memory or (idle and since_s >= STARVING_S))

    def record_load(self, now: float, *, is_empty: bool) -> bool:
        """Record a load; return whether to send a batch at once, to learn the job's state.

        *is_empty* if the load found nothing and nothing is in flight or unrecorded.
        """
        if not is_empty or not self._shard:
            self._empty_since = None
            return False
        self._empty_since = now if self._empty_since is None else self._empty_since
        if self._share.waiting is None:
            return True
        lingered = now - self._empty_since >= LINGER.total_seconds()
        self.open = self._share.waiting and self._share.stay and not lingered
        return False

    def _owns(self, host: str) -> bool:
        return shard_of(host, self._of, self._starts) == self._shard

    def _decide_share(self, usage: Counters, in_flight: int) -> Decision:
        """Decide by what the store has granted of the limits of a spread job."""
        decision = self._allowance.decide(usage, in_flight)
        self.wants_more = not decision.allowed
        return decision
