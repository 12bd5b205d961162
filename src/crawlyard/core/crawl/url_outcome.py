"""URL outcomes: what happened to a URL in a job, or what would happen."""

from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.crawl.page import KnownURL, StoredPage


class UrlOutcomeKind(StrEnum):
    """What happened to a URL."""

    FETCHED = auto()
    FAILED = auto()
    REDIRECTED = auto()  # it led to another URL
    WAITING = auto()
    SKIPPED = auto()  # a rule kept it out, or it led to a URL that was kept out or known
    NEVER_FOUND = auto()  # no page, seed or sitemap named it


class UrlOutcome(Struct, frozen=True, kw_only=True):
    """What happened to a URL in a job."""

    url: str  # in its canonical spelling
    kind: UrlOutcomeKind
    detail: str  # a sentence
    known: KnownURL | None = None
    page: StoredPage | None = None  # of a URL that was fetched or failed
    redirected_to: str | None = None
    rule: str = ""  # the rule that excludes it, or would
    position: int | None = None  # of a waiting URL that will be requested, from 1
