"""Answers of the page search over all jobs."""

from datetime import datetime

from crawlyard.core.answer import Wire
from crawlyard.core.crawl.page import StoredPage
from crawlyard.core.crawl.page_answers import StoredPageOut
from crawlyard.core.endpoints.endpoint import Slice
from crawlyard.core.search.search import Findings, FoundPage
from crawlyard.core.templates.secrets import hide_urls


class FoundPageOut(StoredPageOut, frozen=True, kw_only=True):
    """A page record, and its job."""

    job_id: str
    job_name: str  # empty if it has none
    excerpt: str  # of its text, around the words of `q`; empty if they are not in the text

    @classmethod
    def of_page(cls, page: FoundPage, **other_fields: object) -> "FoundPageOut":
        """Return the answer for *page*; *other_fields* as for `PageOut.of`."""
        of = {
            "job_id": page.job_id,
            "job_name": hide_urls(page.job_name),
            "excerpt": page.excerpt,
        }
        stored = StoredPage(id=page.id, page=page.page)
        return cls.stored(page.job_id, stored, **(other_fields | of))


class SearchedOut(Wire, frozen=True, kw_only=True):
    """Extent of a search."""

    pages: int  # stored pages that were searched, matching or not
    back_to: datetime | None  # fetch time of the last one searched; null: no page
    cut_short: bool  # time ran out: there may be more than `items`, see `next_cursor`
    stored: int | None  # pages of these jobs, if it was cut short; null: not counted
    index: str | None  # use: complete, behind, undecided, off; null: no words in the query
    unindexed: int  # pages not indexed yet, approximately: they are read one by one

    @classmethod
    def of(cls, findings: Findings) -> "SearchedOut":
        """Return the extent of the search that led to *findings*."""
        return cls.filled(findings, pages=findings.looked_at)


class FoundPagesOut(Slice[FoundPageOut], frozen=True, kw_only=True):
    """Pages over all jobs; one response may have none, and the next one some."""

    searched: SearchedOut
