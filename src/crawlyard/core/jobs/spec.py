"""Job spec: all options of one crawl."""

import re
from collections.abc import Sequence
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.field_types import check_types
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.retry import RetryPolicy
from crawlyard.core.jobs.spread import Asked, check_spread
from crawlyard.core.quantity import LARGEST
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.errors import Invalid


class Scope(StrEnum):
    """Which URLs belong to a crawl, relative to its start URLs."""

    HOST = auto()  # the same host and port
    SUBDOMAINS = auto()  # the same host, and every name below it
    DOMAIN = auto()  # the same registrable domain (public suffix list)
    PREFIX = auto()  # the same host, below the folder of the start URL
    ANY = auto()  # everything


class Strategy(StrEnum):
    """The order in which the frontier is processed."""

    BREADTH_FIRST = "breadth-first"
    DEPTH_FIRST = "depth-first"


class TextMode(StrEnum):
    """What part of a page's text is stored."""

    NONE = auto()
    TEXT = auto()  # all that a reader sees
    MAIN = auto()  # the main content alone
    MARKDOWN = auto()  # all of it, as Markdown


MAX_SEEDS = 100_000
MAX_PATTERNS = 1_000
MAX_PATTERN = 2_000  # characters of one
MAX_WEBHOOKS = 10
MAX_WORKER_TAGS = 20

FOREVER_S = 36_500 * 86_400.0
"""As a retention: one hundred years."""

_SECRET = re.compile(
    r"auth|cookie|token|secret|key|passw|pwd|session|credential|jwt|bearer|signature",
    re.IGNORECASE,
)


_WORKER_TAG = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def is_secret(header: str) -> bool:
    """Return whether a header of this name probably carries credentials."""
    return _SECRET.search(header) is not None


class JobSpec(Struct, frozen=True, kw_only=True):
    """One crawl as requested. A job keeps its spec; edits replace it.

    Raises:
        Invalid: a value has the wrong type or is out of range; the message names the field.
    """

    urls: tuple[str, ...] = ()
    sitemaps: tuple[str, ...] = ()  # URLs of sitemaps; "robots" takes those that robots.txt names
    name: str = ""
    tags: tuple[str, ...] = ()
    priority: Priority = Priority.NORMAL
    worker_tags: tuple[str, ...] = ()  # only a worker that has all of them takes the job
    spread: Asked = 0  # over so many workers at once; 0 and 1: one has it all
    limits: Limits = Limits()
    retry: RetryPolicy = RetryPolicy()

    scope: Scope = Scope.HOST
    include: tuple[str, ...] = ()  # globs, or "re:" and a regular expression: one must match
    exclude: tuple[str, ...] = ()  # the same: none may match
    max_depth: int | None = None  # links from a start URL; 0 is the start URLs alone
    strategy: Strategy = Strategy.BREADTH_FIRST
    ignore_robots: bool = False
    follow_nofollow: bool = False  # follow links that say rel=nofollow, meta or X-Robots-Tag too
    store_noindex: bool = False  # keep the text of pages that say noindex

    delay_s: float = 0.5  # between two requests to one host
    per_host: int = 2  # requests under way at once to one host
    concurrency: int = 16  # and to all of them
    crawl_delay_cap_s: float = 30.0  # the most that robots.txt can ask for

    timeout_s: float = 30.0  # for one request as a whole
    max_body: int = 8 * 1024 * 1024  # bytes, on the wire and decoded alike
    url_retries: int = 2  # further tries of a URL after a transient failure
    user_agent: str = ""  # empty: the yard's own
    headers: tuple[tuple[str, str], ...] = ()
    allow_addresses: tuple[str, ...] = ()  # host, CIDR or either with :PORT
    allow_private: bool = False

    text: TextMode = TextMode.TEXT
    extract: tuple[tuple[str, str], ...] = ()  # (name, "CSS" or "CSS@attribute")
    keep_html: bool = False

    retention_s: float | None = None  # of the job once it has ended; None: the yard's own
    webhooks: tuple[JobWebhook, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        if not self.urls and not self.sitemaps:
            raise Invalid("urls", "expected at least one start URL or sitemap, got none")
        _at_most("urls", len(self.urls), MAX_SEEDS)
        _at_most("include", len(self.include), MAX_PATTERNS)
        _at_most("exclude", len(self.exclude), MAX_PATTERNS)
        _at_most("name", len(self.name), 200)
        _at_most("tags", len(self.tags), 50)
        check_worker_tags("worker_tags", self.worker_tags)
        check_spread(self.spread)
        _at_most("webhooks", len(self.webhooks), MAX_WEBHOOKS)
        _between("per_host", self.per_host, 1, 256)
        _between("concurrency", self.concurrency, 1, 1024)
        _between("max_body", self.max_body, 1, 1024**3)
        _between("url_retries", self.url_retries, 0, 10)
        if self.max_depth is not None:
            _between("max_depth", self.max_depth, 0, LARGEST)
        _seconds("delay_s", self.delay_s)
        _seconds("crawl_delay_cap_s", self.crawl_delay_cap_s)
        if self.retention_s is not None:
            _seconds("retention_s", self.retention_s)
        if self.timeout_s <= 0:
            raise Invalid("timeout_s", f"expected more than 0 s, got {self.timeout_s:g} s")
        _seconds("timeout_s", self.timeout_s)


def check_worker_tags(name: str, tags: Sequence[str]) -> None:
    """Check the tags that a worker has or a job requires; *name* is the field for errors.

    Raises:
        Invalid: there are too many, or one is not a valid tag.
    """
    _at_most(name, len(tags), MAX_WORKER_TAGS)
    for tag in tags:
        if not _WORKER_TAG.fullmatch(tag):
            raise Invalid(name, f"expected 1 to 64 letters, digits or . _ : - each, got {tag!r}")


def _at_most(name: str, got: int, most: int) -> None:
    if got > most:
        raise Invalid(name, f"expected at most {most}, got {got}")


def _between(name: str, got: int, least: int, most: int) -> None:
    if not least <= got <= most:
        raise Invalid(name, f"expected {least} to {most}, got {got}")


def _seconds(name: str, got_s: float) -> None:
    if not 0 <= got_s <= FOREVER_S:  # also rejects NaN
        raise Invalid(name, f"expected 0 s to {FOREVER_S:,.0f} s, got {got_s:g} s")
