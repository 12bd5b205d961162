"""The shapes of what a job has brought, as lists show it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self

from crawlyard.core.answers.base import API, Wire
from crawlyard.core.answers.jobs.jobs import ErrorGroupOut, PageOut
from crawlyard.core.crawl.page import Body, ErrorGroup, KnownURL, SkippedGroup, StoredPage


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
        return cls.of(stored.page, id=stored.id, object="page", parts=parts, **kept)


class SkippedGroupOut(Wire, frozen=True, kw_only=True):
    """The URLs that rules of one kind kept out, with at most five of them."""

    kind: str
    count: int
    samples: tuple[str, ...]

    @classmethod
    def of(cls, group: SkippedGroup) -> "SkippedGroupOut":
        """Return the shape of *group*."""
        return cls.filled(group)


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
            items=tuple(ErrorGroupOut.of(group) for group in groups),
            robots_blocked=blocked,
        )


class WaitingOut(Wire, frozen=True, kw_only=True):
    """A URL that waits to be fetched."""

    url: str
    host: str
    depth: int
    via: str  # how it came to be known
    parent: str | None  # the page that named it
    tries: int  # requests that failed
    due_at: datetime | None  # not before

    @classmethod
    def of(cls, known: KnownURL) -> "WaitingOut":
        """Return the shape of *known*."""
        return cls.filled(known, via=known.via.value)
