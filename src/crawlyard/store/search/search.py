"""Page search across jobs, newest pages first."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, union_all

from crawlyard.core.search.search import FoundPage, Match, SearchStep
from crawlyard.store.codec.jobs import page_of
from crawlyard.store.crawl.pages import PAGES, page_conditions
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.jobs.where import conditions
from crawlyard.store.queries import ArchiveQuery
from crawlyard.store.search.index import matching
from crawlyard.store.tables.jobs import PRESENT, STANDING, jobs, pages, shards

_SOURCES = 50  # jobs whose pages one step searches: SQLite takes at most 500 in a UNION
_SOUGHT_IN = 300  # jobs that the index tells apart: of more, their pages are looked up
_ADDED_UP = 10_000  # jobs whose pages are added up
_APART = timedelta(minutes=1)  # allowed difference between the clocks of two machines
_BEYOND = 2**63 - 1  # above every id


class ArchiveStore(StorePart):
    """Search in the pages of all jobs, the last stored first."""

    @reads
    def look(
        self, conn: Connection, query: ArchiveQuery, rows: int, match: Match | None = None
    ) -> SearchStep:
        """Search the next *rows* pages of the jobs that match *query*, newest first.

        With *match*, those that the index has and that cannot match are passed over.

        The time grows with *rows* and with the number of these jobs, not with the number of
        stored pages; pages of other jobs are not read.
        """
        before = _BEYOND if query.before is None else query.before
        if match is not None and match.low + 1 < before <= match.high + 1:
            ids, beyond, also = _indexed_ids(conn, query, match, before, rows + 1)
        else:
            floor = match.high if match is not None and before > match.high + 1 else 0
            ids, beyond = _next_ids(conn, query, before, floor, rows + 1)
            also = []
        looked, more = ids[:rows], len(ids) > rows
        if not looked:
            return SearchStep(reached=beyond)
        last = conn.scalar(select(pages.c.fetched_at).where(pages.c.id == looked[-1]))
        return SearchStep(
            pages=tuple(_matching_pages(conn, query, looked, also)),
            looked_at=len(looked),
            reached=looked[-1] if more else beyond,
            reached_at=last,
        )

    @reads
    def size(self, conn: Connection, query: ArchiveQuery) -> int | None:
        """Return about how many pages the jobs that match *query* have.

        ``None`` if there are so many jobs that they are not added up.
        """
        own = select(shards.c.pages).select_from(STANDING).where(*_of_jobs(query))
        some = own.limit(_ADDED_UP + 1).subquery()
        counted, total = conn.execute(select(func.count(), func.sum(some.c.pages))).one()
        return None if counted > _ADDED_UP else int(total or 0)


def _indexed_ids(
    conn: Connection, query: ArchiveQuery, match: Match, before: int, rows: int
) -> tuple[Sequence[int], int | None, Sequence[ColumnElement[bool]]]:
    """Return the next ids that the index has, and where to continue if these are fewer than *rows*.

    Also the conditions that the index has not checked.
    """
    beyond = match.low + 1 if match.low else None
    if query.of_all:
        return matching(conn, match, (), before, rows), beyond, ()
    own = select(jobs.c.no).select_from(STANDING).where(*_of_jobs(query))
    numbers = conn.scalars(own.limit(_SOUGHT_IN + 1)).all()
    if not numbers:
        return (), beyond, ()
    if len(numbers) <= _SOUGHT_IN:
        return matching(conn, match, numbers, before, rows), beyond, ()
    return matching(conn, match, (), before, rows), beyond, (pages.c.job_no.in_(own),)


def _next_ids(
    conn: Connection, query: ArchiveQuery, before: int, floor: int, rows: int
) -> tuple[Sequence[int], int | None]:
    """Return the ids of the next pages, and where to continue if there are fewer than *rows*.

    The latter is ``None`` if there is nothing further back. Only ids above *floor*.
    """
    beyond = floor + 1 if floor else None
    if query.of_all:
        # includes pages of deleted jobs until they are purged
        between = (pages.c.id < before) & (pages.c.id > floor)
        return list(conn.scalars(_first_ids(between, rows))), beyond
    sources = _sources(conn, query, before)
    # stop at the newest page of the first job beyond `_SOURCES`: below it, its pages mix in
    if len(sources) > _SOURCES and sources[_SOURCES][1] > floor:
        floor = sources[_SOURCES][1]
        beyond = floor + 1
    between = (pages.c.id < before) & (pages.c.id > floor)
    queries = [_first_ids((pages.c.job_no == no) & between, rows) for no, _ in sources[:_SOURCES]]
    if not queries:
        return [], beyond
    merged = union_all(*(select(source.subquery()) for source in queries)).subquery()
    newest = select(merged.c.id).order_by(merged.c.id.desc()).limit(rows)
    return list(conn.scalars(newest)), beyond


def _first_ids(where: ColumnElement[bool], rows: int) -> Select[Any]:
    return select(pages.c.id).where(where).order_by(pages.c.id.desc()).limit(rows)


def _sources(conn: Connection, query: ArchiveQuery, before: int) -> list[tuple[int, int]]:
    """Return the jobs whose pages come next, each with the id of its newest page below *before*.

    That is up to `_SOURCES` jobs and one more. Each job costs one lookup in the index of pages.
    """
    of_job = (pages.c.job_no == jobs.c.no) & (pages.c.id < before)
    newest = select(func.max(pages.c.id)).where(of_job).scalar_subquery().label("newest")
    ranked = (
        select(jobs.c.no, newest)
        .select_from(STANDING)
        .where(*_of_jobs(query))
        .order_by(newest.desc().nulls_last())
        .limit(_SOURCES + 1)
    )
    return [(no, last) for no, last in conn.execute(ranked) if last is not None]


def _of_jobs(query: ArchiveQuery) -> list[ColumnElement[bool]]:
    """Return the conditions of *query* on jobs, on the rows of `STANDING`."""
    filters = [PRESENT, shards.c.recorded_at.is_not(None), *conditions(query.jobs)]
    if query.job_ids:
        filters.append(jobs.c.id.in_(sorted(query.job_ids)))
    # a page is fetched after its job has started and before it is recorded
    if query.since is not None:
        filters.append(shards.c.recorded_at >= query.since - _APART)
    if query.until is not None:
        filters.append(jobs.c.started_at < query.until + _APART)
    return filters


def _matching_pages(
    conn: Connection,
    query: ArchiveQuery,
    ids: Sequence[int],
    also: Sequence[ColumnElement[bool]],
) -> list[FoundPage]:
    filters = [PRESENT, pages.c.id.in_(ids), *page_conditions(query.pages), *also]
    if query.since is not None:
        filters.append(pages.c.fetched_at >= query.since)
    if query.until is not None:
        filters.append(pages.c.fetched_at < query.until)
    statement: Select[Any] = (
        PAGES.add_columns(jobs.c.id.label("job_id"), jobs.c.name.label("job_name"))
        .join(jobs, jobs.c.no == pages.c.job_no)
        .where(*filters)
        .order_by(pages.c.id.desc())
    )
    matches = []
    for *row, job_id, job_name in conn.execute(statement).all():
        stored = page_of(row)
        matches.append(FoundPage(id=stored.id, page=stored.page, job_id=job_id, job_name=job_name))
    return matches
