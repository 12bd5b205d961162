"""The shape of what became of a URL."""

from datetime import datetime
from typing import Literal

from crawlyard.core.answers.base import Wire
from crawlyard.core.crawl.url_outcome import UrlOutcome


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
            object="fate",
            outcome=fate.kind,
            depth=known.depth if known else None,
            via=known.via if known else None,
            parent=known.parent if known else None,
            page_id=stored.id if stored else None,
            status=page.status if page else None,
            fetched_at=page.fetched_at if page else None,
            error=page.error if page else None,
            tries=known.tries if known else None,
            due_at=known.due_at if known else None,
        )
