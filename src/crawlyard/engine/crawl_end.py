"""Where a crawl begins, and how it ends."""

from collections.abc import Awaitable, Callable, Collection, Sequence

from msgspec import Struct, field

from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import Usage, Used
from crawlyard.engine.shard import Limiter, Whole


class Start(Struct, frozen=True):
    """Where a crawl begins or goes on."""

    key: str  # of the job, for the host gate
    usage: Usage
    known: set[int] = field(default_factory=set)  # fp of every URL ever found; taken over
    waiting: Sequence[Target] = ()  # the first window of the frontier, in its order
    roots: Sequence[str] = ()  # where redirects of start URLs led
    load: Callable[[int, Collection[str]], Awaitable[Sequence[Target]]] | None = None
    part: Whole = field(default_factory=Whole)
    may_send: Callable[[], bool] = lambda: True  # while not, no request is begun


NO_START = "no start URL could be fetched"


class Breach(Struct, frozen=True):
    """A limit that ended a crawl, and its ceilings as they were."""

    limit: str
    limiter: Limiter

    def describe(self, usage: Used) -> str:
        """Return a sentence about the limit, and by how much it was passed."""
        return self.limiter.describe(self.limit, usage)


class CrawlEnd(Struct, frozen=True):
    """How a crawl ended by itself."""

    reason: StateReason
    detail: str = ""
