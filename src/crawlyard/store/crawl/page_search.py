"""Page search across jobs, newest pages first."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, union_all

from crawlyard.core.crawl.page_search import FoundPage, SearchStep
from crawlyard.store.codec.jobs import page_of
from crawlyard.store.crawl.pages import PAGES, asked_of
from crawlyard.store.db.transactions import StorePart, reads
from crawlyard.store.jobs.job_rows import STANDING
from crawlyard.store.jobs.where import conditions
from crawlyard.store.queries import ArchiveQuery
from crawlyard.store.tables.jobs import PRESENT, jobs, pages, shards

_SOURCES = 50  # jobs whose pages one step searches: SQLite takes at most 500 in a UNION
_APART = timedelta(minutes=1)  # allowed difference between the clocks of two machines
_BEYOND = 2**63 - 1  # above every id


class ArchiveStore(StorePart):
    """Search in the pages of all jobs, the last stored first."""

    @reads
    def look(self, conn: Connection, query: ArchiveQuery, rows: int) -> SearchStep:
        """Search the next *rows* pages of the jobs that match *query*, newest first.

        The time grows with *rows* and with the number of these jobs, not with the number of
        stored pages; pages of other jobs are not read.
        """
        ids, beyond = _next_ids(conn, query, rows + 1)
        looked, more = ids[:rows], len(ids) > rows
        if not looked:
            return SearchStep()
        last = conn.scalar(select(pages.c.fetched_at).where(pages.c.id == looked[-1]))
        return SearchStep(
            pages=tuple(_fitting(conn, query, looked)),
            looked_at=len(looked),
            reached=looked[-1] if more else beyond,
            reached_at=last,
        )


def _next_ids(conn: Connection, query: ArchiveQuery, rows: int) -> tuple[Sequence[int], int | None]:
    """Return the ids of the next pages, and where to continue if there are fewer than *rows*.

    The latter is ``None`` if there is nothing further back.
    """
    before = _BEYOND if query.before is None else query.before
    if query.of_all:
        # includes pages of deleted jobs until they are purged
        return list(conn.scalars(_first_ids(pages.c.id < before, rows))), None
    sources = _sources(conn, query, before)
    # stop at the newest page of the first job beyond `_SOURCES`: below it, its pages mix in
    floor = sources[_SOURCES][1] if len(sources) > _SOURCES else None
    between = (pages.c.id < before) & (pages.c.id > (floor or 0))
    each = [_first_ids((pages.c.job_no == no) & between, rows) for no, _ in sources[:_SOURCES]]
    if not each:
        return [], None
    merged = union_all(*(select(one.subquery()) for one in each)).subquery()
    newest = select(merged.c.id).order_by(merged.c.id.desc()).limit(rows)
    return list(conn.scalars(newest)), None if floor is None else floor + 1


def _first_ids(where: ColumnElement[bool], rows: int) -> Select[Any]:
    return select(pages.c.id).where(where).order_by(pages.c.id.desc()).limit(rows)


def _sources(conn: Connection, query: ArchiveQuery, before: int) -> list[tuple[int, int]]:
    """Return the jobs whose pages come next, each with the id of its newest page below *before*.

    That is up to `_SOURCES` jobs and one more. Each job costs one lookup in the index of pages.
    """
    of_job = (pages.c.job_no == jobs.c.no) & (pages.c.id < before)
    newest = select(func.max(pages.c.id)).where(of_job).scalar_subquery().label("newest")
    asked = [PRESENT, shards.c.recorded_at.is_not(None), *conditions(query.jobs)]
    if query.job_ids:
        asked.append(jobs.c.id.in_(sorted(query.job_ids)))
    # a page is fetched after its job has started and before it is recorded
    if query.since is not None:
        asked.append(shards.c.recorded_at >= query.since - _APART)
    if query.until is not None:
        asked.append(jobs.c.started_at < query.until + _APART)
    ranked = (
        select(jobs.c.no, newest)
        .select_from(STANDING)
        .where(*asked)
        .order_by(newest.desc().nulls_last())
        .limit(_SOURCES + 1)
    )
    return [(no, last) for no, last in conn.execute(ranked) if last is not None]


def _fitting(conn: Connection, query: ArchiveQuery, ids: Sequence[int]) -> list[FoundPage]:
    asked = [PRESENT, pages.c.id.in_(ids), *asked_of(query.pages)]
    if query.since is not None:
        asked.append(pages.c.fetched_at >= query.since)
    if query.until is not None:
        asked.append(pages.c.fetched_at < query.until)
    statement: Select[Any] = (
        PAGES.add_columns(jobs.c.id.label("job_id"), jobs.c.name.label("job_name"))
        .join(jobs, jobs.c.no == pages.c.job_no)
        .where(*asked)
        .order_by(pages.c.id.desc())
    )
    found = []
    for *row, job_id, job_name in conn.execute(statement).all():
        stored = page_of(row)
        found.append(FoundPage(id=stored.id, page=stored.page, job_id=job_id, job_name=job_name))
    return found
