"""Pages of a job, what happened to its other URLs, and its site, as answers show them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from msgspec import defstruct
from msgspec.structs import asdict

from crawlyard.core.answer import API, Wire, derived, fields_as, json_value, whole
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


@derived
class PageErrorOut(PageError, Wire, frozen=True, kw_only=True):
    """Why a URL failed: a kind from the closed list, and a sentence."""


_BODIES = {"text": str | None, "html": str | None, "headers": tuple[tuple[str, str], ...] | None}
"""What is stored beside a record; null: not stored, or not asked for."""


class _PageOut(Wire, frozen=True, kw_only=True):
    @classmethod
    def of(cls, page: Page, **bodies: Any) -> Self:
        """Return the shape of a page record; *bodies* are its text, html and headers, if read."""
        error = None if page.error is None else PageErrorOut.filled(page.error)
        return cls.filled(page, error=error, **(dict.fromkeys(_BODIES) | bodies))


def _fields() -> Iterator[tuple[str, Any]]:
    """Yield the fields of a page record, with those of its bodies before what is extracted."""
    for field in fields_as(Page, error=PageErrorOut | None):
        if field[0] == "extracted":
            yield from _BODIES.items()
        yield field


if TYPE_CHECKING:

    class PageOut(_PageOut, Page, frozen=True, kw_only=True):
        """A page record as answers and exports have it."""

        text: str | None
        html: str | None
        headers: tuple[tuple[str, str], ...] | None
else:
    PageOut = defstruct(
        "PageOut",
        list(_fields()),
        bases=(_PageOut,),
        namespace={"__doc__": "What is kept of one URL that was answered for good, or given up."},
        kw_only=True,
        frozen=True,
    )


_READY = frozenset({int, int | None, bool})  # JSON has them as they are
_TO_WRITE = ("text", "html", *(name for name, kind in fields_as(Page) if kind not in _READY))
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
    """A page record with its key; *parts* has the paths of what is kept, each for itself."""

    id: int
    object: Literal["page"] = "page"
    parts: Mapping[str, str]

    @classmethod
    def stored(cls, job_id: str, stored: StoredPage, /, **kept: Any) -> Self:
        """Return the shape of a page of a job; *kept* as for `PageOut.of`."""
        own = f"{API}/jobs/{job_id}/pages/{stored.id}"
        parts = {kind.value: f"{own}?part={kind}" for kind in Body}
        parts[Body.SCREENSHOT.value] = f"{own}/screenshot"
        return cls.of(stored.page, id=stored.id, parts=parts, **kept)


@derived
class ErrorGroupOut(ErrorGroup, Wire, frozen=True, kw_only=True):
    """The failed URLs of one kind, with at most five of them."""


class LinkOut(FoundLink, Wire, frozen=True, kw_only=True):
    """A link of a page: *source* is the page, *target* where the link leads, without fragment."""

    source_id: int  # the page
    outcome: str  # of the target: fetched, failed, redirected, waiting, skipped or never_found
    status: int | None  # of the target
    target_id: int | None  # its page

    @classmethod
    def led(cls, link: FoundLink, source_id: int, target: LinkTarget) -> Self:
        """Return the shape of *link* on a page, with what is known of its target."""
        return cls.filled(
            link,
            source_id=source_id,
            outcome=target.outcome,
            status=target.status,
            target_id=target.page_id,
        )


class SkippedOut(SkippedURL, Wire, frozen=True, kw_only=True):
    """A URL that was not fetched, and the rule that kept it out."""


@derived
class SkippedGroupOut(SkippedGroup, Wire, frozen=True, kw_only=True):
    """The URLs that rules of one kind kept out, with at most five of them."""


class BlockedOut(Wire, frozen=True, kw_only=True):
    """The URLs that robots.txt forbids: no failures, and so apart from them."""

    count: int
    samples: tuple[str, ...]


class ErrorsOut(Wire, frozen=True, kw_only=True):
    """The failed URLs of a job by kinds, the most frequent first."""

    object: Literal["job_errors"] = "job_errors"
    total: int
    items: tuple[ErrorGroupOut, ...]
    robots_blocked: BlockedOut

    @classmethod
    def of(cls, groups: Sequence[ErrorGroup], robots: SkippedGroup | None) -> "ErrorsOut":
        """Return the shape of *groups*; *robots*: what robots.txt forbids, if anything."""
        blocked = BlockedOut(count=0, samples=()) if robots is None else BlockedOut.filled(robots)
        return cls(
            total=sum(group.count for group in groups),
            items=tuple(ErrorGroupOut.filled(group) for group in groups),
            robots_blocked=blocked,
        )


@derived
class WaitingOut(KnownURL, Wire, frozen=True, kw_only=True):
    """A URL that waits to be fetched."""


class FateOut(Wire, frozen=True, kw_only=True):
    """What became of a URL in a job, or what would."""

    object: Literal["fate"] = "fate"
    url: str
    outcome: str  # fetched, failed, redirected, waiting, skipped or never_found
    detail: str
    depth: int | None
    via: str | None  # seed, sitemap, listed, link or refresh
    parent: str | None  # the page that named it
    page_id: int | None  # of its record, where there is one
    status: int | None
    fetched_at: datetime | None
    error: str | None  # the kind of failure
    redirected_to: str | None
    rule: str  # that keeps it out, or would; empty: none
    position: int | None  # of a waiting URL that will be requested, from 1
    tries: int | None  # requests that failed
    due_at: datetime | None  # of one that is tried again: not before

    @classmethod
    def of(cls, fate: UrlOutcome) -> "FateOut":
        """Return the shape of *fate*."""
        known, stored = fate.known, fate.page
        page = stored.page if stored is not None else None
        return cls.filled(
            fate,
            outcome=fate.kind,
            depth=known.depth if known else None,
            via=known.via if known else None,
            parent=known.parent if known else None,
            page_id=stored.id if stored else None,
            status=page.status if page else None,
            fetched_at=page.fetched_at if page else None,
            error=page.error.kind if page and page.error else None,
            tries=known.tries if known else None,
            due_at=known.due_at if known else None,
        )


class FolderOut(Folder, Wire, frozen=True, kw_only=True):
    """The URLs of a job in a folder or on a host, by what happened; `""`: in no folder below."""


class SiteMapOut(Wire, frozen=True, kw_only=True):
    """The folders right below a place (a URL without its scheme), the largest in front."""

    object: Literal["site_map"] = "site_map"
    under: str  # empty: all hosts
    total: FolderOut
    unlisted: int  # folders that are counted in the total alone
    skipped_elsewhere: int = (
        0  # URLs on hosts that no request was sent to, beside the total; without `under`
    )
    items: tuple[FolderOut, ...]

    @classmethod
    def of(cls, found: SiteMap) -> "SiteMapOut":
        """Return the shape of *found*."""
        return cls(
            under=found.under,
            total=FolderOut.filled(found.total),
            unlisted=found.unlisted,
            skipped_elsewhere=found.skipped_elsewhere,
            items=tuple(map(FolderOut.filled, found.folders)),
        )


class PathStepOut(Step, Wire, frozen=True, kw_only=True):
    """A URL on the way to another; *text* is that of the link to it, on the page before."""


class NeighboursOut(Neighbours, Wire, frozen=True, kw_only=True):
    """The pages before and after one; `position` and `total` are those of a list of all pages."""

    object: Literal["neighbours"] = "neighbours"
