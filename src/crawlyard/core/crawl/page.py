"""Targets, pages and outcomes: URLs on their way through a crawl."""

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum, StrEnum, auto
from typing import Annotated, Any

from msgspec import Struct, field

from crawlyard.core.fields import HIDDEN


class Via(StrEnum):
    """Source of a discovered URL."""

    SEED = auto()
    SITEMAP = auto()  # a sitemap: read for the URLs it lists, not kept as a page
    LISTED = auto()  # by a sitemap
    LINK = auto()
    REFRESH = auto()  # a meta refresh
    EXTERNAL = auto()  # a link out of scope: checked, not followed


class TargetState(IntEnum):
    """Progress of a target; the numbers are those stored in the database."""

    WAITING = 0
    DONE = 1  # a final response; its page is stored
    FAILED = 2  # given up; its page record says why
    SKIPPED = 3  # excluded by a rule, before or after a request
    REDIRECTED = 4  # its response led to another target


class ErrorKind(StrEnum):
    """Why a URL failed; this list is closed."""

    TIMEOUT = auto()  # no complete response within the timeout
    DNS = auto()  # the name has no address
    CONNECT = auto()  # connection refused or reset, or host unreachable
    TLS = auto()  # no trusted encrypted connection
    PROTOCOL = auto()  # the response is not HTTP
    HTTP_4XX = auto()  # a status from 400 to 499
    HTTP_5XX = auto()  # a status from 500 to 599, also on the last retry
    RATE_LIMITED = auto()  # 429, or 503 with Retry-After, also on the last retry
    TOO_LARGE = auto()  # response headers over the size limit
    DECODE = auto()  # a content coding that cannot be decoded
    ROBOTS = auto()  # robots.txt could not be fetched
    BLOCKED_ADDRESS = auto()  # connections to this address are not allowed
    PROXY = auto()  # no proxy of the job could connect
    BAD_REDIRECT = auto()  # no usable Location, a loop, or too many hops
    RENDER = auto()  # a browser could not finish rendering the page
    UNREADABLE = auto()  # a PDF or a page that is damaged, encrypted or too costly to read
    INTERNAL = auto()  # a bug in Crawlyard


UNREACHABLE = frozenset(
    {
        ErrorKind.TIMEOUT,
        ErrorKind.DNS,
        ErrorKind.CONNECT,
        ErrorKind.TLS,
        ErrorKind.PROTOCOL,
        ErrorKind.PROXY,
        ErrorKind.HTTP_5XX,
        ErrorKind.RATE_LIMITED,
        ErrorKind.ROBOTS,
    }
)
"""Failures of a whole site that may be gone in an hour, unlike a 404 or a blocked address."""


class Target(Struct, frozen=True):
    """One URL to fetch. Within a job, *fp* (the signed 64-bit hash of *url*) is its key."""

    url: str
    fp: int
    host: str  # as in the URL, with a non-default port
    depth: int = 0
    via: Via = Via.SEED
    parent: int | None = None  # fp of the target whose page named it
    hops: int = 0  # redirects that led here
    origin: str | None = None  # the URL before the first redirect
    tries: int = 0  # requests that failed
    due_at: datetime | None = None  # not before


class PageError(Struct, frozen=True, kw_only=True):
    """Why a URL failed: a kind from the closed list, and a sentence."""

    kind: ErrorKind
    detail: str = ""


TEXT_CUT = "the text is cut"
ELEMENTS_CUT = "what follows the last of too many elements is not read"
LINKS_CUT = "links are left out"
NOT_READABLE = "not readable"


def is_body_cut(truncated: str) -> bool:
    """Return whether `Page.truncated` says that the body is not whole.

    Its other notes say what was left out when the whole body was read.
    """
    notes = (TEXT_CUT, ELEMENTS_CUT, LINKS_CUT, NOT_READABLE)
    return any(not note.startswith(notes) for note in truncated.split("; ") if note)


class Page(Struct, frozen=True, kw_only=True):
    """The record of a target that got a final response or was given up.

    Answers, exports and the columns of the store follow its fields, in their order.
    """

    url: str  # as discovered, before redirects
    final_url: str
    status: int | None = None  # None: no response
    content_type: str = ""
    title: str = ""
    description: str = ""
    lang: str = ""
    canonical: str = ""
    depth: int = 0
    parent: str | None = None  # the URL of the page that named it
    fetched_at: datetime
    elapsed_ms: int = 0
    bytes: int = 0  # of the body, on the wire
    sha256: str = ""  # of the decoded body or, for a rendered page, of the rendered document; hex
    etag: str = ""
    last_modified: str = ""
    links: int = 0  # distinct http(s) URLs that the page names
    content_rule: str = ""  # rule that selected its text; empty: there is none
    content_hash: str = ""  # of its text, hex; empty: there is none
    content_version: int = 0  # of the rules: hashes of different versions are not comparable
    nearly_empty: bool = False  # its main content is nearly empty, unlike the page
    extracted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    structured: Mapping[str, Any] = field(default_factory=dict)  # JSON-LD and Open Graph
    truncated: str = ""  # why the body, or what was parsed of it, is incomplete
    noindex: bool = False
    unchanged_since: datetime | None = None  # when its content was downloaded; None: in this run
    session: str = ""  # source of the credentials sent: NAME@VERSION, or "job"; empty: none
    needs_scripts: bool = False  # its text is empty or partial without them
    rendered_by: str = ""  # "lightpanda 1.0.2"; empty: its scripts were not run
    render_reason: str = ""  # why its scripts were run: a `RenderReason`
    error: PageError | None = None


class Body(StrEnum):
    """Page content that is stored beside the record, compressed."""

    TEXT = auto()  # text or Markdown, as requested
    HTML = auto()  # the decoded body, byte for byte as it was sent
    HEADERS = auto()  # the response headers, a JSON list of pairs
    LINKS = auto()  # its links, as `link.encoded` returns them
    RENDERED = auto()  # the document after its scripts have run, in UTF-8
    SCREENSHOT = auto()  # a picture of it, PNG or WebP
    ANCHORS = auto()  # targets of fragments: ids of its elements, a JSON list
    RESTLESS = auto()  # lines of its text that differ each time it is fetched, a JSON list
    RECURRING = auto()  # lines that differed in each of the last runs of a schedule, likewise


class Outcome(Struct, frozen=True):
    """Result of one visit to a target.

    DONE and FAILED carry a page; SKIPPED and REDIRECTED carry *rule*; WAITING is a failed try
    that returns to the frontier (with the target's new *tries* and *due_at*).
    """

    target: Target
    state: TargetState
    page: Page | None = None
    bodies: Mapping[Body, bytes] = field(default_factory=dict)
    targets: bytes = b""  # keys of the targets of its links, 8 bytes each
    rule: str = ""
    body_of: int | None = None  # key of an earlier page, whose bodies and links it has
    spared: bool = False  # no request was sent

    @property
    def redirects(self) -> bool:
        """True if the response was a redirect, to any URL."""
        if self.page is not None:
            error = self.page.error
            return error is not None and error.kind is ErrorKind.BAD_REDIRECT
        kept_out = self.state is TargetState.SKIPPED and self.rule.startswith(RuleKind.REDIRECT)
        return kept_out or self.state is TargetState.REDIRECTED


class Skipped(Struct, frozen=True):
    """A URL that was skipped without a request, and the rule that excluded it."""

    target: Target
    rule: str


class SkippedURL(Struct, frozen=True, kw_only=True):
    """A URL that was not fetched, as shown in lists."""

    url: str
    depth: int
    rule: str


class RuleKind(StrEnum):
    """Kinds of rules that skip URLs: the word with which the text of a rule begins."""

    SCOPE = auto()
    EXCLUDE = auto()
    INCLUDE = auto()
    DEPTH = auto()
    ROBOTS = auto()
    REDIRECT = auto()  # it led to a URL that is excluded or already known
    SITEMAP = auto()  # a sitemap: read, but not kept as a page
    HOST = auto()  # an operator has blocked the host


class SkippedGroup(Struct, frozen=True, kw_only=True):
    """The URLs skipped by rules of one kind."""

    kind: RuleKind
    count: int
    samples: tuple[str, ...] = ()  # at most five URLs, the oldest first


class StoredPage(Struct, frozen=True, kw_only=True):
    """A stored page record, with its key for paging and bodies."""

    id: int
    page: Page


class ErrorGroup(Struct, frozen=True, kw_only=True):
    """The failed URLs of one kind."""

    kind: ErrorKind
    status: int | None = None  # of all of them, if grouped by status
    count: int
    # URLs with a final HTTP response: they count as pages
    answered: Annotated[int, HIDDEN] = 0
    first_at: datetime
    last_at: datetime
    samples: tuple[str, ...] = ()  # at most five URLs, the oldest first
    referrers: Mapping[str, tuple[str, ...]] = {}  # of these, if requested: pages that link to them


def starts_of(host: str) -> tuple[str, ...]:
    """Return the prefixes of canonical URLs on *host*; one without a port matches any port."""
    ends = ("/",) if host.rpartition(":")[2].isdigit() and not host.endswith("]") else ("/", ":")
    return tuple(f"{scheme}://{host}{end}" for scheme in ("http", "https") for end in ends)


def parse_status(word: str) -> int:
    """Return the HTTP status that *word* names, or its class: 4 for ``4xx``.

    Raises:
        ValueError: it is neither.
    """
    digits = word.lower().removesuffix("xx")
    least, most = (1, 5) if digits != word.lower() else (100, 999)  # some servers answer 999
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else -1
    if not least <= number <= most:
        raise ValueError(f"expected a status such as 404, or a class: 4xx, got {word[:100]!r}")
    return number


class KnownURL(Struct, frozen=True, kw_only=True):
    """A URL that a job has discovered, and its state so far."""

    key: Annotated[int, HIDDEN]  # increases in order of discovery
    url: str
    host: str
    depth: int
    via: Via
    parent: str | None  # the URL of the page that named it
    state: Annotated[TargetState, HIDDEN]
    rule: Annotated[str, HIDDEN]  # of a skipped or redirected one
    tries: int
    due_at: datetime | None


class UrlOutcomeKind(StrEnum):
    """Fates of a URL in a job."""

    FETCHED = auto()
    FAILED = auto()
    REDIRECTED = auto()  # it led to another URL
    WAITING = auto()
    SKIPPED = auto()  # excluded by a rule, or redirected to a URL that was excluded or known
    NEVER_FOUND = auto()  # no page, seed or sitemap named it


class UrlOutcome(Struct, frozen=True, kw_only=True):
    """Fate of a URL in a job, with the rule or page that explains it."""

    url: str  # in its canonical spelling
    kind: UrlOutcomeKind
    detail: str  # a sentence
    known: KnownURL | None = None
    page: StoredPage | None = None  # of a URL that was fetched or failed
    redirected_to: str | None = None
    rule: str = ""  # the rule that excludes it, or would
    position: int | None = None  # of a waiting URL that will be requested, from 1
