"""Diagnostics: outcomes of URLs, and counts of jobs and URLs that ended or failed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
)

from crawlyard.core.crawl.page import ErrorKind, KnownURL, StoredPage
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.overview.stats import FailingHost, failing_hosts
from crawlyard.store.codec.jobs import page_of
from crawlyard.store.crawl.frontier import roots
from crawlyard.store.crawl.pages import PAGES
from crawlyard.store.db.rows import equal
from crawlyard.store.db.transactions import StorePart, reads
from crawlyard.store.jobs.job_rows import no_of
from crawlyard.store.jobs.where import IS_STOPPED
from crawlyard.store.tables.jobs import (
    FAILED,
    PRESENT,
    WAITING,
    frontier,
    jobs,
    pages,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class InquiryStore(StorePart):
    """Queries for the outcomes of URLs, and for counts of jobs and URLs that ended or failed."""

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

    @reads
    def ended(
        self, conn: Connection, owner: str | None, since: datetime, until: datetime, step: timedelta
    ) -> Mapping[tuple[int, State], int]:
        """Return how many jobs of *owner* ended in each step from *since* to *until*.

        *owner* ``None`` means all users. Keys are the number of the step, counted from 0, and the
        current state of the jobs; zeros are left out.
        """
        query = _ended(owner, since, until, step, jobs.c.state)
        return {(row[0], State(row[2])): row[1] for row in conn.execute(query)}

    @reads
    def stopped(
        self, conn: Connection, owner: str | None, since: datetime, until: datetime, step: timedelta
    ) -> Mapping[tuple[int, State], int]:
        """Return how many of the same stopped early: `core.jobs.outcome.is_stopped`."""
        query = _ended(owner, since, until, step, jobs.c.state).where(IS_STOPPED)
        return {(row[0], State(row[2])): row[1] for row in conn.execute(query)}

    @reads
    def failing(
        self, conn: Connection, owner: str | None, since: datetime, until: datetime, most: int
    ) -> list[FailingHost]:
        """Return the hosts whose URLs failed from *since* up to but excluding *until*.

        Covers the current pages of the jobs of *owner*, or of all users if it is ``None``, in the
        order of `core.overview.stats.failing_hosts`. Only the latest *most* failures count.
        """
        when = pages.c.fetched_at
        failed = (
            select(pages.c.job_no, pages.c.fp, pages.c.error, when)
            .join(jobs, jobs.c.no == pages.c.job_no)
            .where(FAILED, when >= since, when < until, PRESENT)
            .order_by(when.desc())
            .limit(most)
        )
        if owner is not None:
            failed = failed.where(jobs.c.owner == owner)
        latest = failed.subquery()
        target = (frontier.c.job_no == latest.c.job_no) & (frontier.c.fp == latest.c.fp)
        query = (
            select(frontier.c.host, latest.c.error, func.count(), func.max(latest.c.fetched_at))
            .select_from(latest.join(frontier, target))
            .group_by(frontier.c.host, latest.c.error)
        )
        rows = conn.execute(query)
        return failing_hosts((host, ErrorKind(error), count, at) for host, error, count, at in rows)


def _ended(
    owner: str | None,
    since: datetime,
    until: datetime,
    step: timedelta,
    *more: ColumnElement[Any],
) -> Select[Any]:
    """Return a query for the numbers of steps, and of the jobs that ended in each, by *more*."""
    # Instants are stored as microseconds, so an integer division gives the number of the step.
    # Literals, not parameters: no planner sees that `/ $1` is the same in SELECT and GROUP BY.
    first, length = (since - _EPOCH) // _MICROSECOND, step // _MICROSECOND
    number: ColumnElement[int] = literal_column(f"(ended_at - {first}) / {length}", BigInteger)
    within = (PRESENT, jobs.c.ended_at >= since, jobs.c.ended_at < until)
    return (
        select(number, func.count(), *more)
        .where(*within, *equal((jobs.c.owner, owner)))
        .group_by(number, *more)
    )
