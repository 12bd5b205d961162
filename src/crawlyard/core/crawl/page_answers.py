"""Answers about the pages of a job, the state of its other URLs, and its site map."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from msgspec.structs import asdict, fields

from crawlyard.core.answer import API, Wire, derive_answer, json_value, whole
from crawlyard.core.crawl.link import FoundLink
from crawlyard.core.crawl.page import (
    Body,
    ErrorGroup,
    KnownURL,
    Page,
    PageError,
    SkippedGroup,
    SkippedURL,
    StoredPage,
    UrlOutcome,
)
from crawlyard.core.crawl.site_map import Folder, LinkTarget, Neighbours, SiteMap, Step
from crawlyard.core.fields import after


@derive_answer
class PageErrorOut(PageError, Wire, frozen=True, kw_only=True):
    """Why a URL failed: a kind from the closed list, and a sentence."""


@derive_answer
class PageOut(Page, Wire, frozen=True, kw_only=True):
    """Record of one URL that got a final response, or was given up."""

    # stored beside the record; null: not stored, or not requested
    text: Annotated[str | None, after("nearly_empty")]
    html: Annotated[str | None, after("text")]
    headers: Annotated[tuple[tuple[str, str], ...] | None, after("html")]
    error: PageErrorOut | None

    @classmethod
    def of(cls, page: Page, **bodies: Any) -> Self:
        """Return the answer for a page; *bodies* are its text, html and headers, if read."""
        return cls.filled(page, **(_NO_BODIES | bodies))


_NO_BODIES = dict.fromkeys(("text", "html", "headers"))
_READY = frozenset({int, int | None, bool})  # JSON has them as they are
_TO_WRITE = tuple(
    field.name for field in fields(PageOut) if field.type not in _READY and field.name != "headers"
)
_EMPTY = dict.fromkeys(PageOut.__struct_fields__)


def record_of(
    page: Page, bodies: Mapping[str, Any], left_out: Collection[str] = ()
) -> dict[str, Any]:
    """Return a page record for an export: `as_dict` of its `PageOut`, in a third of the time.

    The fields *left_out* are not in it.
    """
    record: dict[str, Any] = {**_EMPTY, **asdict(page), **bodies}
    for name in _TO_WRITE:
        value = record[name]
        if value and not (type(value) is str and value.isascii()):
            record[name] = json_value(value)
    if (pairs := record["headers"]) is not None:  # `json_value` takes three times as long
        record["headers"] = [[whole(name), whole(value)] for name, value in pairs]
    for name in left_out:
        del record[name]
    return record


class StoredPageOut(PageOut, frozen=True, kw_only=True):
    """A page record with its key; *parts* has the path of each stored part."""

    id: int
    object: Literal["page"] = "page"
    parts: Mapping[str, str]

    @classmethod
    def stored(cls, job_id: str, stored: StoredPage, /, **bodies: Any) -> Self:
        """Return the answer for a page of a job; *bodies* as for `PageOut.of`."""
        own = f"{API}/jobs/{job_id}/pages/{stored.id}"
        parts = {kind.value: f"{own}?part={kind}" for kind in Body}
        parts[Body.SCREENSHOT.value] = f"{own}/screenshot"
        return cls.of(stored.page, id=stored.id, parts=parts, **bodies)


@derive_answer
class ErrorGroupOut(ErrorGroup, Wire, frozen=True, kw_only=True):
    """The failed URLs of one kind, with at most five of them."""


class LinkOut(FoundLink, Wire, frozen=True, kw_only=True):
    """A link of a page: *source* is the page, *target* where the link leads, without fragment."""

    source_id: int  # the page
    outcome: str  # of the target: fetched, failed, redirected, waiting, skipped or never_found
    status: int | None  # of the target
    target_id: int | None  # its page

    @classmethod
    def with_target(cls, link: FoundLink, source_id: int, target: LinkTarget) -> Self:
        """Return the answer for *link* on a page, with the state of its target."""
        return cls.filled(
            link,
            source_id=source_id,
            outcome=target.outcome,
            status=target.status,
            target_id=target.page_id,
        )


class SkippedOut(SkippedURL, Wire, frozen=True, kw_only=True):
    """A URL that was not fetched, and the rule that excluded it."""


@derive_answer
class SkippedGroupOut(SkippedGroup, Wire, frozen=True, kw_only=True):
    """The URLs that rules of one kind excluded, with at most five of them."""


class BlockedOut(Wire, frozen=True, kw_only=True):
    """The URLs that robots.txt forbids: not failures, and so listed separately."""

    count: int
    samples: tuple[str, ...]


class ErrorsOut(Wire, frozen=True, kw_only=True):
    """The failed URLs of a job by kind, the most frequent first."""

    object: Literal["job_errors"] = "job_errors"
    total: int
    items: tuple[ErrorGroupOut, ...]
    robots_blocked: BlockedOut

    @classmethod
    def of(cls, groups: Sequence[ErrorGroup], robots: SkippedGroup | None) -> "ErrorsOut":
        """Return the answer for *groups*; *robots*: what robots.txt forbids, if anything."""
        blocked = BlockedOut(count=0, samples=()) if robots is None else BlockedOut.filled(robots)
        return cls(
            total=sum(group.count for group in groups),
            items=tuple(ErrorGroupOut.filled(group) for group in groups),
            robots_blocked=blocked,
        )


@derive_answer
class WaitingOut(KnownURL, Wire, frozen=True, kw_only=True):
    """A URL that waits to be fetched."""


class FateOut(Wire, frozen=True, kw_only=True):
    """State of a URL in a job, or how the job would handle it."""

    object: Literal["fate"] = "fate"
    url: str
    outcome: str  # fetched, failed, redirected, waiting, skipped or never_found
    detail: str
    depth: int | None
    via: str | None  # seed, sitemap, listed, link or refresh
    parent: str | None  # the page that links to it
    page_id: int | None  # of its record, where there is one
    status: int | None
    fetched_at: datetime | None
    error: str | None  # the kind of failure
    redirected_to: str | None
    rule: str  # the rule that excludes it, or would; empty: none
    position: int | None  # of a waiting URL that will be requested, from 1
    tries: int | None  # requests that failed
    due_at: datetime | None  # of a URL that is retried: earliest start

    @classmethod
    def of(cls, fate: UrlOutcome) -> "FateOut":
        """Return the answer in one level: the record of the URL, and of its page."""
        url_record, stored = fate.known, fate.page
        page = stored.page if stored is not None else None
        return cls.filled(
            fate,
            outcome=fate.kind,
            depth=url_record.depth if url_record else None,
            via=url_record.via if url_record else None,
            parent=url_record.parent if url_record else None,
            page_id=stored.id if stored else None,
            status=page.status if page else None,
            fetched_at=page.fetched_at if page else None,
            error=page.error.kind if page and page.error else None,
            tries=url_record.tries if url_record else None,
            due_at=url_record.due_at if url_record else None,
        )


class FolderOut(Folder, Wire, frozen=True, kw_only=True):
    """The URLs of a job in a folder or on a host, by what happened; `""`: in no folder below."""


@derive_answer
class SiteMapOut(SiteMap, Wire, frozen=True, kw_only=True):
    """The folders directly below a place (a URL without its scheme), the largest first."""

    object: Literal["site_map"] = "site_map"
    total: FolderOut
    skipped_elsewhere: int = 0  # on hosts that received no request; not in the total
    items: tuple[FolderOut, ...]


class PathStepOut(Step, Wire, frozen=True, kw_only=True):
    """A URL on the way to another; *text* is that of the link to it, on the page before."""


class NeighboursOut(Neighbours, Wire, frozen=True, kw_only=True):
    """The pages before and after one; `position` and `total` are those of a list of all pages."""

    object: Literal["neighbours"] = "neighbours"
