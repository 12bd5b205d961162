"""Job spec: all options of one crawl."""

from collections.abc import Callable, Iterator
from enum import StrEnum, auto
from functools import partial
from typing import Annotated

from crawlyard.core.access.logged_out import LoggedOutWords, SessionName
from crawlyard.core.access.sharing import SharedWith, SharesPages, Sharing
from crawlyard.core.crawl.cookie import CookieMode, Cookies
from crawlyard.core.crawl.earlier_job import EarlierJob, FullEvery, check_earlier_job
from crawlyard.core.crawl.proxy_urls import ProxyURLs
from crawlyard.core.crawl.render_options import (
    Actions,
    BrowserChoice,
    ChromiumPages,
    FullPage,
    Renderer,
    RenderPages,
    RenderRule,
    Screenshot,
    ScreenshotChoice,
    WaitFor,
    check_rendering,
)
from crawlyard.core.fields import Bytes, Count, OptionRecord, Panel, Seconds, about, check_record
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.retry import RetryPolicy
from crawlyard.core.jobs.unique_key import UniqueKey, check_unique_key
from crawlyard.core.parse import none_of
from crawlyard.core.quantity import FOREVER_S, LARGEST
from crawlyard.core.webhooks.channel_names import ChannelNames, check_channel_names
from crawlyard.core.webhooks.webhook import JobWebhooks
from crawlyard.core.workers.tags import MAX_WORKER_TAGS, check_worker_tags
from crawlyard.errors import Invalid


class Priority(StrEnum):
    """Priorities, as words and ordered by rank: ``LOW < NORMAL < HIGH < URGENT``."""

    LOW = auto()
    NORMAL = auto()
    HIGH = auto()
    URGENT = auto()

    @property
    def rank(self) -> int:
        """Its number in the database: 0 for low to 3 for urgent."""
        return _RANKS[self]

    @staticmethod
    def from_rank(rank: int) -> "Priority":
        """Return the priority of a rank.

        Raises:
            ValueError: there is no such rank.
        """
        if rank not in _BY_RANK:
            raise ValueError(f"{rank} is not the rank of a priority")
        return _BY_RANK[rank]

    def __lt__(self, other: str) -> bool:
        return self.rank < _rank(other)

    def __le__(self, other: str) -> bool:
        return self.rank <= _rank(other)

    def __gt__(self, other: str) -> bool:
        return self.rank > _rank(other)

    def __ge__(self, other: str) -> bool:
        return self.rank >= _rank(other)

    @classmethod
    def of(cls, word: str) -> "Priority":
        """Return the priority named *word*.

        Raises:
            Invalid: there is no priority of that name.
        """
        try:
            return cls(word.lower())
        except ValueError:
            raise Invalid("priority", none_of(word, reversed(cls))) from None


_BY_RANK = dict(enumerate(Priority))

_RANKS = {priority: rank for rank, priority in _BY_RANK.items()}


def _rank(other: object) -> int:
    if not isinstance(other, Priority):
        raise TypeError(f"a priority has no order with {other!r}")
    return other.rank


class Spread(StrEnum):
    """The word that, as a number of shards, lets the server choose."""

    AUTO = "auto"


SpreadOver = int | Spread
"""How many shards a spec asks for; 0 and 1 both mean one worker."""

MOST_SHARDS = 64


class Scope(StrEnum):
    """URLs that belong to a crawl, relative to its start URLs."""

    HOST = auto()  # the same host and port
    SUBDOMAINS = auto()  # the same host, and every name below it
    DOMAIN = auto()  # the same registrable domain (public suffix list)
    PREFIX = auto()  # the same host, below the folder of the start URL
    ANY = auto()  # everything


class Strategy(StrEnum):
    """Order in which the frontier is processed."""

    BREADTH_FIRST = "breadth-first"
    DEPTH_FIRST = "depth-first"


class TextMode(StrEnum):
    """Parts of a page's text that are stored."""

    NONE = auto()
    TEXT = auto()  # all visible text
    MAIN = auto()  # the main content only
    MARKDOWN = auto()  # the main content, as Markdown
    PAGE_MARKDOWN = "page-markdown"  # all visible text, as Markdown


MAX_SEEDS = 100_000
MAX_PATTERNS = 1_000
MAX_PATTERN = 2_000  # characters of one
MAX_URL = 8_192
"""Characters. Servers commonly accept about as many (Apache 8,190; nginx 8 kB per line);
RFC 9110 §4.1 asks for at least 8,000."""
MAX_IGNORED = 10


class JobSpec(OptionRecord, frozen=True, kw_only=True):
    """One crawl as requested. A job keeps its spec; edits replace it.

    Raises:
        Invalid: a value has the wrong type or is out of range; the message names the field.
    """

    urls: Annotated[
        tuple[str, ...], about("start URLs", label="Start URLs", of="URLs", longest=MAX_SEEDS)
    ] = ()
    sitemaps: Annotated[
        tuple[str, ...],
        about(
            'URLs of sitemaps; "robots" stands for those in robots.txt',
            help="Start from the URLs of a sitemap; 'robots' reads the sitemaps in robots.txt. "
            "Repeatable.",
            panel=Panel.SCOPE,
            flag="--sitemap",
            metavar="URL",
            of="URLs or `robots`",
        ),
    ] = ()
    name: Annotated[
        str,
        about(
            "display name; need not be unique",
            label="Job name",
            help="Name of the job.",
            panel=Panel.JOB,
            metavar="TEXT",
            editable=True,
            longest=200,
        ),
    ] = ""
    tags: Annotated[
        tuple[str, ...],
        about(
            "labels to find jobs by",
            help="Add this tag to the job. Repeatable.",
            panel=Panel.JOB,
            flag="--tag",
            metavar="TEXT",
            of="texts",
            editable=True,
            longest=50,
        ),
    ] = ()
    priority: Annotated[
        Priority,
        about(
            "order in which workers take jobs",
            help="Priority in the queue: urgent, high, normal or low; default {default}.",
            panel=Panel.JOB,
            metavar="WORD",
            editable=True,
        ),
    ] = Priority.NORMAL
    worker_tags: Annotated[
        tuple[str, ...],
        about(
            "only a worker with all these tags takes the job",
            help="Run only on workers with this tag. Repeatable.",
            panel=Panel.JOB,
            flag="--worker-tag",
            metavar="TAG",
            of="texts",
            editable=True,
            longest=MAX_WORKER_TAGS,
        ),
    ] = ()
    spread: Annotated[
        SpreadOver,
        about(
            "number of workers that crawl at once; 0 and 1: one worker",
            label="Workers per crawl",
            help="Spread the crawl over N workers; 'auto' chooses N.",
            panel=Panel.JOB,
            metavar="N",
            editable=True,
        ),
    ] = 0
    limits: Limits = Limits()
    retry: RetryPolicy = RetryPolicy()

    scope: Annotated[
        Scope,
        about(
            "URLs that belong to the crawl, relative to the start URLs",
            words={
                "host": "This host",
                "subdomains": "Host and subdomains",
                "domain": "Whole domain",
                "prefix": "This folder",
                "any": "Any host",
            },
            panel=Panel.SCOPE,
        ),
    ] = Scope.HOST
    include: Annotated[
        tuple[str, ...],
        about(
            'globs, or "re:" and a regular expression; only URLs that match one are crawled',
            label="Include only URLs matching",
            help="Crawl only matching URLs: a glob or re:REGEX. Repeatable.",
            panel=Panel.SCOPE,
            metavar="GLOB",
            of="patterns",
            editable=True,
            longest=MAX_PATTERNS,
        ),
    ] = ()
    exclude: Annotated[
        tuple[str, ...],
        about(
            'globs, or "re:" and a regular expression; URLs that match one are skipped',
            label="Exclude URLs matching",
            help="Skip matching URLs: a glob or re:REGEX. Repeatable.",
            panel=Panel.SCOPE,
            metavar="GLOB",
            of="patterns",
            editable=True,
            longest=MAX_PATTERNS,
        ),
    ] = ()
    ignore_query: Annotated[
        bool,
        about(
            "URLs that differ only in their query are one page: the first one found is fetched",
            label="Ignore queries of URLs",
            help="Fetch one of the URLs that differ only in their query.",
            panel=Panel.SCOPE,
        ),
    ] = False
    max_depth: Annotated[
        Count | None,
        about(
            "maximum number of links between a start URL and a page; 0: only the start URLs",
            label="Link depth",
            help="Maximum number of links between a start URL and a page.",
            panel=Panel.SCOPE,
            null="no limit",
            editable=True,
            least=0,
            most=LARGEST,
        ),
    ] = None
    max_externals: Annotated[
        Count,
        about(
            "maximum links out of scope to check without following them",
            label="External links checked",
            least=0,
            most=LARGEST,
        ),
    ] = 0
    strategy: Annotated[Strategy, about("crawl order", label="Order", panel=Panel.SCOPE)] = (
        Strategy.BREADTH_FIRST
    )
    ignore_robots: Annotated[
        bool, about("ignore robots.txt", label="Ignore robots.txt", panel=Panel.ACCESS)
    ] = False
    follow_nofollow: Annotated[
        bool,
        about(
            "follow links marked nofollow by rel, meta or X-Robots-Tag",
            label="Follow nofollow links",
            help="Follow links marked nofollow.",
            panel=Panel.SCOPE,
        ),
    ] = False
    store_noindex: Annotated[
        bool,
        about(
            "store the text of pages marked noindex",
            label="Keep text of noindex pages",
            help="Store the text of pages marked noindex.",
            panel=Panel.OUTPUT,
        ),
    ] = False

    delay_s: Annotated[
        Seconds,
        about(
            "delay between two requests to a host",
            label="Delay between requests",
            help="Delay between requests to a host; default {default}.",
            panel=Panel.PACE,
            editable=True,
            least=0,
            most=FOREVER_S,
        ),
    ] = 0.5
    per_host: Annotated[
        Count,
        about(
            "concurrent requests to one host",
            label="Concurrent requests per host",
            help="Maximum concurrent requests per host; default {default}.",
            panel=Panel.PACE,
            editable=True,
            least=1,
            most=256,
        ),
    ] = 2
    concurrency: Annotated[
        Count,
        about(
            "concurrent requests to all hosts",
            label="Concurrent requests in total",
            help="Maximum concurrent requests in total; default {default}.",
            panel=Panel.PACE,
            editable=True,
            least=1,
            most=1024,
        ),
    ] = 16
    crawl_delay_cap_s: Annotated[
        Seconds,
        about(
            "upper limit of the delay that robots.txt can set",
            label="Longest delay for robots.txt",
            least=0,
            most=FOREVER_S,
        ),
    ] = 30.0

    timeout_s: Annotated[
        Seconds,
        about(
            "maximum duration of a request",
            label="Request timeout",
            help="Maximum duration of a request; default {default}.",
            panel=Panel.PACE,
            above=0,
            most=FOREVER_S,
        ),
    ] = 30.0
    max_body: Annotated[
        Bytes,
        about(
            "maximum size of a response body, both on the wire and decoded",
            label="Largest response",
            help="Maximum size of a response body; default {default}.",
            panel=Panel.PACE,
            least=1,
            most=1024**3,
        ),
    ] = 8 * 1024 * 1024
    url_retries: Annotated[
        Count,
        about(
            "retries of a URL after transient failures",
            label="Retries per URL",
            least=0,
            most=10,
        ),
    ] = 2
    user_agent: Annotated[
        str,
        about(
            "User-Agent to send; empty: the one in the settings of the instance",
            help="User-Agent header to send.",
            panel=Panel.ACCESS,
            metavar="TEXT",
        ),
    ] = ""
    headers: Annotated[
        tuple[tuple[str, str], ...],
        about(
            "headers sent with each request",
            help="Send this header with each request. Repeatable.",
            panel=Panel.ACCESS,
            flag="--header",
            metavar="'N: V'",
            of="texts",
            secret=True,
        ),
    ] = ()
    cookies: Cookies = CookieMode.JOB
    session: SessionName = ""
    logged_out: LoggedOutWords = ()
    proxies: ProxyURLs = ()
    allow_addresses: Annotated[
        tuple[str, ...],
        about(
            "private addresses that the job may connect to",
            label="Allow private addresses",
            help="Allow a private HOST, IP or CIDR, optionally with :PORT. Repeatable.",
            panel=Panel.ACCESS,
            flag="--allow-address",
            metavar="ADDR",
            of="hosts or CIDRs, optionally with `:PORT`",
        ),
    ] = ()
    allow_private: Annotated[
        bool,
        about(
            "allow all private addresses",
            help="Allow connections to all private addresses.",
            label="Allow all private addresses",
            panel=Panel.ACCESS,
        ),
    ] = False

    render: RenderPages = RenderRule.AUTO.value
    renderer: Renderer = BrowserChoice.AUTO
    chromium: ChromiumPages = ()
    wait_for: WaitFor = ""
    actions: Actions = ()
    screenshot: Screenshot = ScreenshotChoice.OFF
    full_page: FullPage = True

    since: EarlierJob = None
    full_every: FullEvery = None
    confirm_changes: Annotated[
        bool,
        about(
            "fetch a changed page a second time; what differs between the two fetches is noise",
            label="Fetch changed pages twice",
            help="Fetch changed pages again, and ignore what differs between the two fetches.",
            panel=Panel.RECRAWL,
        ),
    ] = False
    noise_after: Annotated[
        Count | None,
        about(
            "lines that changed in each of this many consecutive runs of a schedule are noise",
            label="Ignore lines that differ in N runs",
            help="Ignore lines that changed in each of N consecutive runs.",
            panel=Panel.RECRAWL,
            null="never ignored",
            editable=True,
            least=2,
            most=10,
        ),
    ] = None
    ignore_text: Annotated[
        tuple[str, ...],
        about(
            '"re:" and a regular expression: changes in matching lines are ignored',
            label="Ignore lines matching",
            help="Ignore changes in lines that match re:REGEX. Repeatable.",
            panel=Panel.RECRAWL,
            metavar="PATTERN",
            of="patterns",
            editable=True,
            longest=MAX_IGNORED,
        ),
    ] = ()
    ignore_css: Annotated[
        tuple[str, ...],
        about(
            "CSS selectors of elements to leave out of the text, and so of comparisons",
            label="Leave out elements",
            help="Leave matching elements out of the text and of comparisons. Repeatable.",
            panel=Panel.RECRAWL,
            metavar="CSS",
            of="selectors",
            longest=MAX_IGNORED,
        ),
    ] = ()
    text: Annotated[
        TextMode,
        about(
            "text to store",
            words={
                "none": "None",
                "text": "All text",
                "main": "Main text",
                "markdown": "Main text as Markdown",
                "page-markdown": "All text as Markdown",
            },
            panel=Panel.OUTPUT,
        ),
    ] = TextMode.MARKDOWN
    extract: Annotated[
        tuple[tuple[str, str], ...],
        about(
            'fields to extract, by name: "CSS", "CSS@attribute" or "jsonld:PATH"',
            help="Extract field N: CSS, CSS@attribute or jsonld:PATH. Repeatable.",
            panel=Panel.OUTPUT,
            metavar="N=CSS",
            of="selectors",
        ),
    ] = ()
    keep_html: Annotated[
        bool,
        about(
            "store response bodies and headers",
            label="Keep HTML and headers",
            panel=Panel.OUTPUT,
            flag="--keep",
        ),
    ] = False

    keep_links: Annotated[
        bool, about("store the links of each page", label="Keep links", panel=Panel.OUTPUT)
    ] = True
    keep_anchors: Annotated[
        bool, about("store the ids of elements, to check fragments", label="Keep ids of elements")
    ] = False

    retention_s: Annotated[
        Seconds | None,
        about(
            "how long the job is kept after it ends",
            label="Keep the job for",
            help="Keep the job for TIME after it ends, such as 90d, or 'forever'.",
            panel=Panel.JOB,
            null="the period in the settings",
            editable=True,
            least=0,
            most=FOREVER_S,
        ),
    ] = None
    unique_key: UniqueKey = None
    webhooks: JobWebhooks = ()
    notify: ChannelNames = ()
    shared: SharedWith = Sharing.READ
    share_pages: SharesPages = False

    def __post_init__(self) -> None:
        check_record(self, self._checks())

    def _checks(self) -> Iterator[Callable[[], None]]:
        yield self._check_start
        if self.worker_tags:
            yield partial(check_worker_tags, "worker_tags", self.worker_tags)
        if self.unique_key is not None:
            yield partial(check_unique_key, self.unique_key)
        if self.notify:
            yield partial(check_channel_names, self.notify)
        if self.since is not None:
            yield partial(check_earlier_job, self.since)
        if not self.render or self.actions or self.screenshot is not ScreenshotChoice.OFF:
            yield partial(
                check_rendering, self.render, self.actions, self.screenshot, self.renderer
            )
        yield self._check_spread

    def _check_start(self) -> None:
        if not self.urls and not self.sitemaps:
            raise Invalid("urls", "expected at least one start URL or sitemap, got none")

    def _check_spread(self) -> None:
        if not isinstance(self.spread, Spread) and not 0 <= self.spread <= MOST_SHARDS:
            raise Invalid("spread", f'expected 0 to {MOST_SHARDS}, or "auto", got {self.spread}')
        if self.max_externals and self.spread:
            raise Invalid("max_externals", "expected 0 for a job that is spread")
