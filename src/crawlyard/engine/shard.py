"""What of its job a crawl has: all of it, or the hosts of one shard."""

from typing import Protocol

from crawlyard.core.jobs.limits import Decision, ResourceLimiter, Usage, Used
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spread import LINGER, Allowance, Share, shard_of

STARVING_S = 1.0  # between two looks into the store, while no host in memory may be asked


class Limiter(Protocol):
    """Decides whether one more request may begin: see `ResourceLimiter`."""

    def decide(self, usage: Used, in_flight: int = 0) -> Decision:
        """Return whether it may, *in_flight* others being under way."""
        ...

    def describe(self, name: str, usage: Used) -> str:
        """Return a sentence about the limit *name*."""
        ...


class Whole:
    """All of a job: nobody else finds anything, and the limits are this crawl's own."""

    open = False  # others may bring more
    hungry = False  # its part of a limit is used up, and more may come

    def owns(self, host: str) -> bool:  # noqa: ARG002 - as `Part` is asked
        """Tell whether targets of *host* are this crawl's."""
        return True

    def limiter(self, spec: JobSpec) -> Limiter:
        """Return what decides whether one more request may begin."""
        return ResourceLimiter(spec.limits)

    def allow(self, share: Share, told: Usage) -> None:
        """Take up the answer to a batch, after which this crawl had counted *told*."""

    def looks(self, in_memory: int, since_s: float, *, idle: bool) -> bool:  # noqa: ARG002
        """Tell whether to look in the store for what others have found."""
        return False

    def looked(self, now: float, *, dry: bool) -> bool:  # noqa: ARG002
        """Take note of a look; tell whether the store is to be asked at once how others do."""
        return False


class Part(Whole):
    """The hosts of one shard; other crawls have those of the others.

    It ends when nothing waits in the job, or soon after it has run dry.
    """

    def __init__(self, shard: int, of: int, share: Share) -> None:
        self._shard, self._of = shard, of
        self._share = share
        self._allowance = Allowance(Usage(), share)
        self._dry_since: float | None = None
        self.open = True

    def owns(self, host: str) -> bool:
        """Tell whether *host* is of this shard."""
        return shard_of(host, self._of) == self._shard

    def limiter(self, spec: JobSpec) -> Limiter:  # noqa: ARG002
        """Return itself: what of the limits is left is the store's to say."""
        return self

    def allow(self, share: Share, told: Usage) -> None:
        """Take up a new portion of the limits."""
        self._share = share
        self._allowance = Allowance(told, share)

    def decide(self, usage: Used, in_flight: int = 0) -> Decision:
        """Return whether a request may begin; see `Allowance.decide`."""
        decision = self._allowance.decide(usage, in_flight)
        self.hungry = not decision.allowed
        return decision

    def describe(self, name: str, usage: Used) -> str:  # noqa: ARG002
        """Return nothing: the store knows by how much a limit of the job was passed."""
        return ""

    def looks(self, in_memory: int, since_s: float, *, idle: bool) -> bool:
        """Tell whether it is time to: nothing is in memory, or nothing that may be asked now.

        *since_s* is how long ago the last look was.
        """
        return self.open and (not in_memory or (idle and since_s >= STARVING_S))

    def looked(self, now: float, *, dry: bool) -> bool:
        """Take note that a look has brought nothing and nothing is under way, or the contrary."""
        if not dry:
            self._dry_since = None
            return False
        self._dry_since = now if self._dry_since is None else self._dry_since
        if self._share.waiting is None:
            return True
        lingered = now - self._dry_since >= LINGER.total_seconds()
        self.open = self._share.waiting and self._share.stay and not lingered
        return False
