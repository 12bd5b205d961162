"""The shapes of pages over all jobs."""

from datetime import datetime

from crawlyard.core.answer import Wire
from crawlyard.core.crawl.page import StoredPage
from crawlyard.core.crawl.page_answers import StoredPageOut
from crawlyard.core.endpoints.endpoint import Slice
from crawlyard.core.search.search import Findings, FoundPage
from crawlyard.core.templates.secrets import hidden_urls


class FoundPageOut(StoredPageOut, frozen=True, kw_only=True):
    """A page record, and the job that it is of."""

    job_id: str
    job_name: str  # empty: it has none
    excerpt: str  # of its text, around the words of `q`; empty where they are not in it

    @classmethod
    def found(cls, found: FoundPage, **kept: object) -> "FoundPageOut":
        """Return the answer for a page; *kept* as for `PageOut.of`."""
        of = {
            "job_id": found.job_id,
            "job_name": hidden_urls(found.job_name),
            "excerpt": found.excerpt,
        }
        stored = StoredPage(id=found.id, page=found.page)
        return cls.stored(found.job_id, stored, **(kept | of))


class SearchedOut(Wire, frozen=True, kw_only=True):
    """How far an answer has looked."""

    pages: int  # stored pages that it looked at, whether they fit or not
    back_to: datetime | None  # when the last of them was fetched; null: there was none
    cut_short: bool  # it was time to answer: there may be more than `items`, behind `next_cursor`
    stored: int | None  # pages of these jobs, if it was cut short; null: not counted
    index: str | None  # of words: complete, behind, undecided, off; null: no words were given
    unindexed: int  # about how many pages the index does not have yet: they are read one by one

    @classmethod
    def of(cls, findings: Findings) -> "SearchedOut":
        """Return how far *findings* have looked."""
        return cls.filled(findings, pages=findings.looked_at)


class FoundPagesOut(Slice[FoundPageOut], frozen=True, kw_only=True):
    """Pages over all jobs; there may be none of them in one answer, and some in the next."""

    searched: SearchedOut
