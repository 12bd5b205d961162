"""Start and end of a crawl."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from msgspec import Struct, field

from crawlyard.core.crawl.lastmod import LastmodRecord
from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.engine.conditional import Earlier
from crawlyard.engine.http.cookies import CookieJar
from crawlyard.engine.shard import Part
from crawlyard.engine.site_session import ActiveSession

NO_START = "no start URL could be fetched"


class Start(Struct, frozen=True):
    """State from which a crawl starts or resumes."""

    key: str  # names the job at the rate limiter
    usage: Usage
    known: set[int] = field(default_factory=set)  # fingerprints of the URLs found; mutated
    waiting: Sequence[Target] = ()  # the first window of the frontier, in its order
    roots: Sequence[str] = ()  # targets of redirects from start URLs
    externals: int = 0  # links out of scope that were accepted so far
    load: Callable[[int, Collection[str]], Awaitable[Sequence[Target]]] | None = None
    part: Part = field(default_factory=Part)
    may_send: Callable[[], bool] = lambda: True  # while false, no request starts
    earlier: Earlier | None = None  # pages of an earlier run; None: all are requested again
    whole: bool = False  # request all pages again, only compare them with the earlier run
    lastmods: Mapping[str, LastmodRecord] = field(default_factory=dict)  # of this run, by host
    lastmods_before: Mapping[str, LastmodRecord] = field(default_factory=dict)
    jar: CookieJar = field(default_factory=CookieJar)  # of the job, up to its last checkpoint
    session: ActiveSession | None = None
    note: str = ""  # for the job's events


class CrawlEnd(Struct, frozen=True):
    """Reason why a crawl ended by itself."""

    reason: StateReason
    detail: str = ""
