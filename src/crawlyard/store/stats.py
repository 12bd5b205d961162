"""Statistics: jobs that ended, failing hosts, runs and courses over a range of time."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    func,
    literal_column,
    select,
)

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.job_log import Course
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.outcome import is_stopped
from crawlyard.core.stats import FailingHost, JobRunOut, rank_failing_hosts
from crawlyard.core.templates.secrets import hide_urls
from crawlyard.store.codec.base import decoder_of
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.jobs.where import IS_STOPPED, conditions
from crawlyard.store.queries import JobQuery
from crawlyard.store.tables.jobs import (
    ENDED,
    FAILED,
    HELD_BACK,
    PRESENT,
    RUNNING,
    STANDING,
    frontier,
    jobs,
    pages,
    shards,
)
from crawlyard.store.tables.watch import courses

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COURSE = decoder_of(Course)


class StatsStore(StorePart):
    """Counts over a range of time, of the jobs that match a query."""

    @reads
    def count_ended(
        self, conn: Connection, query: JobQuery, since: datetime, until: datetime, step: timedelta
    ) -> Mapping[tuple[int, State], int]:
        """Return how many of the jobs ended in each step from *since* to *until*.

        Keys are the number of the step, counted from 0, and the
        current state of the jobs; zeros are left out.
        """
        counted = _count_ended(query, since, until, step, jobs.c.state)
        return {(row[0], State(row[2])): row[1] for row in conn.execute(counted)}

    @reads
    def count_stopped(
        self, conn: Connection, query: JobQuery, since: datetime, until: datetime, step: timedelta
    ) -> Mapping[tuple[int, State], int]:
        """Return how many of the same stopped early: `core.jobs.outcome.is_stopped`."""
        counted = _count_ended(query, since, until, step, jobs.c.state).where(IS_STOPPED)
        return {(row[0], State(row[2])): row[1] for row in conn.execute(counted)}

    @reads
    def failing(
        self, conn: Connection, query: JobQuery, since: datetime, until: datetime, most: int
    ) -> list[FailingHost]:
        """Return the hosts whose URLs failed from *since* up to but excluding *until*.

        Covers the current pages of the jobs, in the order of `core.stats.rank_failing_hosts`. Only
        the latest *most* failures count.
        """
        when = pages.c.fetched_at
        failed = (
            select(pages.c.job_no, pages.c.fp, pages.c.error, when)
            .join(jobs, jobs.c.no == pages.c.job_no)
            .where(FAILED, when >= since, when < until, PRESENT, *conditions(query))
            .order_by(when.desc())
            .limit(most)
        )
        latest = failed.subquery()
        target = (frontier.c.job_no == latest.c.job_no) & (frontier.c.fp == latest.c.fp)
        grouped = (
            select(frontier.c.host, latest.c.error, func.count(), func.max(latest.c.fetched_at))
            .select_from(latest.join(frontier, target))
            .group_by(frontier.c.host, latest.c.error)
        )
        rows = conn.execute(grouped)
        return rank_failing_hosts(
            (host, ErrorKind(error), count, at) for host, error, count, at in rows
        )

    @reads
    def runs(
        self, conn: Connection, query: JobQuery, since: datetime, until: datetime, limit: int
    ) -> list[JobRunOut]:
        """Return at most *limit* jobs that ran in [*since*, *until*), latest start first.

        Reads the latest *limit* ended jobs, and as many that have not ended.
        """
        began = (PRESENT, jobs.c.started_at < until, *conditions(query))
        ended = _RUN.where(ENDED, jobs.c.ended_at >= since, *began)
        rows = [
            *conn.execute(ended.order_by(jobs.c.ended_at.desc()).limit(limit)).mappings(),
            *conn.execute(_RUN.where(RUNNING, *began).limit(limit)).mappings(),
            *conn.execute(_RUN.where(HELD_BACK, *began).limit(limit)).mappings(),
        ]
        rows.sort(key=lambda row: (row["started_at"], row["id"]), reverse=True)
        return [_run_of(row) for row in rows[:limit]]

    @reads
    def courses(
        self, conn: Connection, query: JobQuery, since: datetime, limit: int
    ) -> list[Course]:
        """Return the courses of at most *limit* jobs that run or ended since *since*.

        Running ones come first, then the latest end.
        """
        its_own = courses.join(jobs, courses.c.job_no == jobs.c.no)
        latest = select(courses.c.course).select_from(its_own)
        latest = latest.where(PRESENT, *conditions(query)).limit(limit)
        ended = latest.where(ENDED, jobs.c.ended_at >= since).order_by(jobs.c.ended_at.desc())
        texts = [*conn.scalars(latest.where(RUNNING)), *conn.scalars(ended)]
        return [_COURSE.decode(text) for text in texts[:limit]]


_RUN = select(
    *(jobs.c.id, jobs.c.name, jobs.c.schedule_id, jobs.c.state, jobs.c.state_reason),
    *(jobs.c.started_at, jobs.c.ended_at, shards.c.pages, shards.c.discovered, shards.c.done),
).select_from(STANDING)


def _run_of(row: RowMapping) -> JobRunOut:
    state, usage = State(row["state"]), Usage(discovered=row["discovered"], done=row["done"])
    return JobRunOut(
        job_id=row["id"],
        name=hide_urls(row["name"]),
        schedule_id=row["schedule_id"],
        state=state.value,
        stopped=is_stopped(state, row["state_reason"], usage),
        pages=row["pages"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _count_ended(
    query: JobQuery,
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
        .where(*within, *conditions(query))
        .group_by(number, *more)
    )
