"""Starting point and end of a crawl."""

from collections.abc import Awaitable, Callable, Collection, Sequence

from msgspec import Struct, field

from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import Usage, Used
from crawlyard.engine.shard import Limiter, Whole


class Start(Struct, frozen=True):
    """Where a crawl starts or resumes."""

    key: str  # names the job at the host gate
    usage: Usage
    known: set[int] = field(default_factory=set)  # fingerprints of all found URLs; mutated
    waiting: Sequence[Target] = ()  # the first window of the frontier, in its order
    roots: Sequence[str] = ()  # targets of redirects from start URLs
    load: Callable[[int, Collection[str]], Awaitable[Sequence[Target]]] | None = None
    part: Whole = field(default_factory=Whole)
    may_send: Callable[[], bool] = lambda: True  # while false, no request starts


NO_START = "no start URL could be fetched"


class Breach(Struct, frozen=True):
    """Limit that ended a crawl, with the limiter in force at the time."""

    limit: str
    limiter: Limiter

    def describe(self, usage: Used) -> str:
        """Return a sentence about the limit and by how much it was exceeded."""
        return self.limiter.describe(self.limit, usage)


class CrawlEnd(Struct, frozen=True):
    """Reason why a crawl ended by itself."""

    reason: StateReason
    detail: str = ""
