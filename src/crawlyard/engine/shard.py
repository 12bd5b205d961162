"""Share of a job that one crawl works on: all of it, or the hosts of one shard."""

from typing import Protocol

from crawlyard.core.jobs.limits import Decision, ResourceLimiter, Usage, Used
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spread import LINGER, Allowance, Share, shard_of

STARVING_S = 1.0  # between two loads from the store while no host in memory is ready


class Limiter(Protocol):
    """Decides whether one more request may start; see `ResourceLimiter`."""

    def decide(self, usage: Used, in_flight: int = 0) -> Decision:
        """Return whether one more request may start while *in_flight* others are running."""
        ...

    def describe(self, name: str, usage: Used) -> str:
        """Return a sentence about the limit *name*."""
        ...


class Whole:
    """Share of a job that isn't spread: all hosts and all of the limits."""

    open = False  # other shards may still find targets for this one
    hungry = False  # its portion of a limit is used up, and more may be granted

    def owns(self, host: str) -> bool:  # noqa: ARG002 - see `Part.owns`
        """Return whether targets of *host* belong to this crawl."""
        return True

    def limiter(self, spec: JobSpec) -> Limiter:
        """Return the limiter that decides whether one more request may start."""
        return ResourceLimiter(spec.limits)

    def allow(self, share: Share, told: Usage) -> None:
        """Apply the store's reply to a batch; *told* is this crawl's usage as of that batch."""

    def looks(self, in_memory: int, since_s: float, *, idle: bool) -> bool:  # noqa: ARG002
        """Return whether to load targets that other shards have found from the store."""
        return False

    def looked(self, now: float, *, dry: bool) -> bool:  # noqa: ARG002
        """Record a load; return whether to send a batch at once, to learn the job's state."""
        return False


class Part(Whole):
    """Share of a spread job: the hosts of one shard.

    It closes when no target waits in the whole job, or soon after it has run dry.
    """

    def __init__(self, shard: int, of: int, share: Share) -> None:
        self._shard, self._of = shard, of
        self._share = share
        self._allowance = Allowance(Usage(), share)
        self._dry_since: float | None = None
        self.open = True

    def owns(self, host: str) -> bool:
        """Return whether *host* belongs to this shard."""
        return shard_of(host, self._of) == self._shard

    def limiter(self, spec: JobSpec) -> Limiter:  # noqa: ARG002
        """Return itself, because the store hands out what is left of the limits."""
        return self

    def allow(self, share: Share, told: Usage) -> None:
        """Apply a new portion of the limits."""
        self._share = share
        self._allowance = Allowance(told, share)

    def decide(self, usage: Used, in_flight: int = 0) -> Decision:
        """Return whether a request may start; see `Allowance.decide`."""
        decision = self._allowance.decide(usage, in_flight)
        self.hungry = not decision.allowed
        return decision

    def describe(self, name: str, usage: Used) -> str:  # noqa: ARG002
        """Return "": only the store knows by how much a limit of the job was exceeded."""
        return ""

    def looks(self, in_memory: int, since_s: float, *, idle: bool) -> bool:
        """Return whether to load: nothing is in memory, or no host in memory is ready.

        In the second case (*idle*), at least `STARVING_S` after the last load, which was
        *since_s* seconds ago.
        """
        return self.open and (not in_memory or (idle and since_s >= STARVING_S))

    def looked(self, now: float, *, dry: bool) -> bool:
        """Record a load; *dry* if it found nothing and nothing is in flight or unrecorded."""
        if not dry:
            self._dry_since = None
            return False
        self._dry_since = now if self._dry_since is None else self._dry_since
        if self._share.waiting is None:
            return True
        lingered = now - self._dry_since >= LINGER.total_seconds()
        self.open = self._share.waiting and self._share.stay and not lingered
        return False
