"""Diagnostics: outcomes of the URLs of a job."""

from sqlalchemy import (
    Connection,
    and_,
    func,
    or_,
    select,
)

from crawlyard.core.crawl.page import KnownURL, StoredPage
from crawlyard.store.codec.jobs import page_of
from crawlyard.store.crawl.frontier import roots
from crawlyard.store.crawl.pages import PAGES
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.jobs.job_rows import no_of
from crawlyard.store.tables.jobs import (
    WAITING,
    frontier,
    pages,
)


class InquiryStore(StorePart):
    """Queries for the outcomes of URLs."""

    @reads
    def page_of(self, conn: Connection, job_id: str, fp: int) -> StoredPage | None:
        """Return the page record of a target, ``None`` if it has none."""
        query = PAGES.where(pages.c.job_no == no_of(job_id).scalar_subquery(), pages.c.fp == fp)
        row = conn.execute(query).first()
        return None if row is None else page_of(row)

    @reads
    def before(
        self, conn: Connection, job_id: str, known_url: KnownURL, *, depth_first: bool
    ) -> int:
        """Return how many URLs of a job `FrontierStore.load` returns before a waiting one."""
        depth, key = frontier.c.depth, frontier.c.id
        if depth_first:
            first = or_(
                depth > known_url.depth, and_(depth == known_url.depth, key > known_url.key)
            )
        else:
            first = or_(
                depth < known_url.depth, and_(depth == known_url.depth, key < known_url.key)
            )
        query = (
            select(func.count())
            .select_from(frontier)
            .where(frontier.c.job_no == no_of(job_id).scalar_subquery(), WAITING, first)
        )
        return conn.scalar(query) or 0

    @reads
    def roots(self, conn: Connection, job_id: str) -> list[str]:
        """Return the URLs that seeds redirected to: the scope treats them as seeds."""
        return roots(conn, no_of(job_id))
