"""Page store: page records, bodies, errors and skipped URLs of a job."""

import logging
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    Select,
    case,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from crawlyard.core.crawl.lastmod import LastmodRecord
from crawlyard.core.crawl.page import (
    Body,
    ErrorGroup,
    ErrorKind,
    RuleKind,
    SkippedGroup,
    SkippedURL,
    StoredPage,
    starts_of,
)
from crawlyard.core.crawl.site_map import Neighbours
from crawlyard.store.codec.jobs import PAGE_COLUMNS, decompress_body, error_kind_of, page_of
from crawlyard.store.crawl.site_map import is_under
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.db.dialects import Position
from crawlyard.store.jobs.job_rows import no_of
from crawlyard.store.queries import PageQuery
from crawlyard.store.tables.jobs import (
    BODIES_OF,
    FAILED,
    PRESENT,
    SKIPPED,
    TARGETS,
    bodies,
    frontier,
    jobs,
    lastmods,
    pages,
)

_LINKING_AT_ONCE = 2_000
"""Pages whose links are searched at once: 50 links each are 800 kB."""

_log = logging.getLogger(__name__)

SAMPLES = 5
"""Number of sample URLs for each kind of error or skip rule."""


class PageStore(StorePart):
    """Page records and bodies of jobs, and the URLs that failed or were skipped."""

    @reads
    def pages(
        self, conn: Connection, job_id: str, query: PageQuery, limit: int
    ) -> list[StoredPage]:
        """Return at most *limit* page records in the order they were stored."""
        statement = (
            PAGES.where(
                pages.c.job_no == no_of(job_id).scalar_subquery(),
                pages.c.id > query.after,
                *page_conditions(query),
            )
            .order_by(pages.c.id)
            .limit(limit)
        )
        return [page_of(row) for row in conn.execute(statement).all()]

    @reads
    def latest(self, conn: Connection, job_id: str, after: int, limit: int) -> list[StoredPage]:
        """Return the last *limit* page records with ids above *after*, the newest first."""
        own = pages.c.job_no == no_of(job_id).scalar_subquery()
        statement = PAGES.where(own, pages.c.id > after).order_by(pages.c.id.desc()).limit(limit)
        return [page_of(row) for row in conn.execute(statement).all()]

    async def bodies(
        self, page_ids: Sequence[int], kinds: Collection[Body]
    ) -> Mapping[tuple[int, Body], bytes]:
        """Return the stored bodies of these pages; missing and damaged ones are left out."""
        frames = await self._database.read(partial(_bodies, page_ids=page_ids, kinds=kinds))
        return await self._database.compute(lambda: _decompress(frames))

    @reads
    def targets(
        self, conn: Connection, job_id: str, after: int, limit: int
    ) -> list[tuple[int, str, tuple[int, ...]]]:
        """Return the fps that pages link to, with the id and final URL of each page.

        At most *limit* pages with ids above *after*, in the order they were stored.
        """
        query = (
            select(pages.c.id, pages.c.final_url, bodies.c.data)
            .join(bodies, (bodies.c.page_id == BODIES_OF) & (bodies.c.kind == TARGETS))
            .where(pages.c.job_no == no_of(job_id).scalar_subquery(), pages.c.id > after)
            .order_by(pages.c.id)
            .limit(limit)
        )
        return [(id_, url, _fps(data)) for id_, url, data in conn.execute(query)]

    async def filter_linked(self, job_id: str, fps: Collection[int]) -> set[int]:
        """Return the subset of *fps* to which a page of a job links."""
        remaining, linked_fps, after = set(fps), set[int](), 0
        while remaining and (part := await self.targets(job_id, after, _LINKING_AT_ONCE)):
            linked_fps.update(*(remaining.intersection(keys) for _, _, keys in part))
            remaining -= linked_fps
            after = part[-1][0]
        return linked_fps

    @reads
    def links_of(
        self, conn: Connection, page_ids: Collection[int]
    ) -> list[tuple[int, tuple[int, ...]]]:
        """Return the link targets of pages, with the id of each page that has links."""
        query = (
            select(pages.c.id, bodies.c.data)
            .join(bodies, (bodies.c.page_id == BODIES_OF) & (bodies.c.kind == TARGETS))
            .where(pages.c.id.in_(sorted(page_ids)))
        )
        return [(id_, _fps(data)) for id_, data in conn.execute(query)]

    @reads
    def by_id(self, conn: Connection, page_ids: Sequence[int]) -> list[StoredPage]:
        """Return these pages in the order of *page_ids*; those of deleted jobs are left out."""
        rows = conn.execute(PAGES.where(pages.c.id.in_(sorted(page_ids)))).all()
        stored = {page.id: page for page in map(page_of, rows)}
        return [stored[page_id] for page_id in page_ids if page_id in stored]

    @reads
    def of_targets(
        self, conn: Connection, job_id: str, fps: Collection[int]
    ) -> Mapping[int, tuple[StoredPage, int]]:
        """Return the pages of a job by the fp of their target, with the keys of their bodies.

        There are none if the job does not exist any more.
        """
        own = (pages.c.job_no == no_of(job_id).scalar_subquery()) & pages.c.fp.in_(sorted(fps))
        rows = conn.execute(PAGES.add_columns(pages.c.fp, BODIES_OF).where(own)).all()
        return {fp: (page_of(row), key) for *row, fp, key in rows}

    @reads
    def neighbours(
        self, conn: Connection, job_id: str, page_id: int, query: PageQuery
    ) -> Neighbours:
        """Return the pages before and after one among those of *query*, in the same order.

        The page itself need not be among them.
        """
        filters = page_conditions(query)
        own = (pages.c.job_no == no_of(job_id).scalar_subquery(), *filters)
        before, after = pages.c.id < page_id, pages.c.id > page_id
        ids = select(pages.c.id).where(*own)
        count = select(func.count()).select_from(pages).where(*own)
        return Neighbours(
            previous=conn.scalar(ids.where(before).order_by(pages.c.id.desc()).limit(1)),
            next=conn.scalar(ids.where(after).order_by(pages.c.id).limit(1)),
            # with a filter, every page would have to be looked at
            position=None if filters else conn.scalars(count.where(~after)).one(),
            total=None if filters else conn.scalars(count).one(),
        )

    @reads
    def lastmods(self, conn: Connection, job_id: str) -> Mapping[str, LastmodRecord]:
        """Return the reliability of dates in sitemaps up to a job, by host."""
        query = select(lastmods.c.host, lastmods.c.told, lastmods.c.missed).where(
            lastmods.c.job_no == no_of(job_id).scalar_subquery()
        )
        rows = conn.execute(query)
        return {host: LastmodRecord(told=count, missed=missed) for host, count, missed in rows}

    @reads
    def errors(self, conn: Connection, job_id: str, *, by_status: bool = False) -> list[ErrorGroup]:
        """Return the failed URLs grouped by kind of error, the most frequent first.

        With *by_status*, each status of a kind is a group of its own.
        """
        oldest_first = (pages.c.fetched_at, pages.c.id)
        status = pages.c.status if by_status else literal_column("NULL")
        of_kind = (pages.c.error, pages.c.status) if by_status else pages.c.error
        ranked = (
            select(
                pages.c.error,
                status.label("status"),
                pages.c.url,
                func.row_number().over(partition_by=of_kind, order_by=oldest_first).label("rank"),
                func.count().over(partition_by=of_kind).label("count_"),
                func.count(pages.c.status).over(partition_by=of_kind).label("answered"),
                func.min(pages.c.fetched_at).over(partition_by=of_kind).label("first_at"),
                func.max(pages.c.fetched_at).over(partition_by=of_kind).label("last_at"),
            )
            .where(pages.c.job_no == no_of(job_id).scalar_subquery(), FAILED)
            .subquery()
        )
        rows = conn.execute(
            select(ranked)
            .where(ranked.c.rank <= SAMPLES)
            .order_by(ranked.c.count_.desc(), ranked.c.error, ranked.c.status, ranked.c.rank)
        )
        kinds = groupby(rows, key=lambda row: (row.error, row.status))
        return [
            _group(error_kind_of(kind), list(rows_of_kind)) for (kind, _), rows_of_kind in kinds
        ]

    @reads
    def list_skipped(
        self,
        conn: Connection,
        job_id: str,
        after: int,
        limit: int,
        kinds: Collection[RuleKind] = (),
    ) -> list[tuple[int, SkippedURL]]:
        """Return URLs that rules of *kinds* (empty: all) excluded, with their keys.

        At most *limit* URLs with keys above *after*, in the order they were found.
        """
        return _list_skipped(conn, job_id=job_id, after=after, limit=limit, kinds=kinds)

    @reads
    def count_skipped(self, conn: Connection, job_id: str) -> list[SkippedGroup]:
        """Return the excluded URLs grouped by kind of rule, the most frequent first."""
        kind_of = case(
            *((frontier.c.rule.startswith(kind.value), kind.value) for kind in RuleKind), else_=None
        ).label("kind")
        counted = (
            select(kind_of, func.count())
            .where(frontier.c.job_no == no_of(job_id).scalar_subquery(), SKIPPED)
            .group_by(kind_of)
        )
        counts = {
            RuleKind(kind): count for kind, count in conn.execute(counted) if kind is not None
        }
        return [
            SkippedGroup(
                kind=kind,
                count=counts[kind],
                # walks the index: the first matches are usually near its beginning
                samples=tuple(
                    url.url for _, url in _list_skipped(conn, job_id, 0, SAMPLES, [kind])
                ),
            )
            for kind in sorted(counts, key=lambda kind: (-counts[kind], kind))
        ]


_PARENT = frontier.alias("parent")

PAGES: Select[Any] = select(
    *(_PARENT.c.url.label(name) if name == "parent" else pages.c[name] for name in PAGE_COLUMNS)
).select_from(
    pages.outerjoin(
        _PARENT, (_PARENT.c.job_no == pages.c.job_no) & (_PARENT.c.fp == pages.c.parent_fp)
    )
)
"""Query for all pages, with the columns that `page_of` takes."""


def page_conditions(query: PageQuery) -> list[ColumnElement[bool]]:
    """Return the conditions of *query* on the rows of `pages`, except `after`."""
    filters = [*_flag_conditions(query), *_link_conditions(query)]
    if query.kinds:
        filters.append(pages.c.error.in_([k.value for k in query.kinds]))
    if query.text:
        part = clean(query.text).lower()
        filters.append(
            or_(
                *(
                    func.lower(c).contains(part, autoescape=True)
                    for c in (pages.c.url, pages.c.title)
                )
            )
        )
    if query.depths:
        filters.append(pages.c.depth.in_(sorted(query.depths)))
    if query.min_depth is not None:
        filters.append(pages.c.depth >= query.min_depth)
    if query.max_depth is not None:
        filters.append(pages.c.depth <= query.max_depth)
    if query.statuses:
        filters.append(or_(*(_of_status(status) for status in sorted(query.statuses))))
    if query.hosts:
        begins = [begin for host in sorted(query.hosts) for begin in starts_of(host)]
        filters.append(or_(*(pages.c.url.startswith(b, autoescape=True) for b in begins)))
    if query.under:
        filters.append(is_under(pages.c.final_url, clean(query.under)))
    if query.content_types:
        filters.append(or_(*(_of_type(kind) for kind in sorted(map(clean, query.content_types)))))
    return filters


def _linking(fp: int) -> ColumnElement[bool]:
    """Return the condition for pages with a link to a target.

    It reads the keys of all links of the job, so that links need no index of their own.
    """
    key = literal(struct.pack("<q", fp), LargeBinary)
    contains_key = Position(key, bodies.c.data) > literal_column("0")
    own = (bodies.c.page_id == BODIES_OF) & (bodies.c.kind == TARGETS)
    return exists().where(own, contains_key)


def _link_conditions(query: PageQuery) -> Iterator[ColumnElement[bool]]:
    if query.page is not None:
        fp, url = query.page
        yield or_(pages.c.fp == fp, pages.c.url == clean(url))
    if query.links_to is not None:
        yield _linking(query.links_to)


def _flag_conditions(query: PageQuery) -> Iterator[ColumnElement[bool]]:
    if query.failed is not None:
        yield FAILED if query.failed else ~FAILED
    if query.needs_scripts is not None:
        yield pages.c.needs_scripts.is_(query.needs_scripts)


def _of_status(status: int) -> ColumnElement[bool]:
    if status >= 10:
        return pages.c.status == status
    return pages.c.status.between(100 * status, 100 * status + 99)


def _of_type(kind: str) -> ColumnElement[bool]:
    content_type = func.lower(pages.c.content_type)
    if kind.endswith("/*"):
        return content_type.startswith(kind[:-1], autoescape=True)
    # with or without parameters after it
    parts = [content_type.startswith(f"{kind}{end}", autoescape=True) for end in (";", " ")]
    return or_(content_type == kind, *parts)


def _fps(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 8}q", data)


def _bodies(
    conn: Connection, page_ids: Sequence[int], kinds: Collection[Body]
) -> Mapping[tuple[int, Body], bytes]:
    statement = (
        select(pages.c.id, bodies.c.kind, bodies.c.data)
        .join(bodies, bodies.c.page_id == BODIES_OF)
        .join(jobs, jobs.c.no == pages.c.job_no)
        .where(pages.c.id.in_(page_ids), bodies.c.kind.in_([k.value for k in kinds]), PRESENT)
    )
    return {(page_id, Body(kind)): data for page_id, kind, data in conn.execute(statement)}


def _decompress(
    frames: Mapping[tuple[int, Body], bytes],
) -> Mapping[tuple[int, Body], bytes]:
    contents = {key: decompress_body(frame) for key, frame in frames.items()}
    for page_id, kind in (key for key, content in contents.items() if content is None):
        _log.warning("the %s of page %d is damaged and left out", kind, page_id)
    return {key: content for key, content in contents.items() if content is not None}


def _group(kind: ErrorKind, oldest: Sequence[Row[Any]]) -> ErrorGroup:
    first = oldest[0]
    return ErrorGroup(
        kind=kind,
        status=first.status,
        count=first.count_,
        answered=first.answered,
        first_at=first.first_at,
        last_at=first.last_at,
        samples=tuple(row.url for row in oldest),
    )


def _list_skipped(
    conn: Connection, job_id: str, after: int, limit: int, kinds: Collection[RuleKind]
) -> list[tuple[int, SkippedURL]]:
    of_kinds = [or_(*(frontier.c.rule.startswith(kind.value) for kind in kinds))] if kinds else []
    rows = conn.execute(
        select(frontier.c.id, frontier.c.url, frontier.c.depth, frontier.c.rule)
        .where(
            frontier.c.job_no == no_of(job_id).scalar_subquery(),
            SKIPPED,
            frontier.c.id > after,
            *of_kinds,
        )
        .order_by(frontier.c.id)
        .limit(limit)
    )
    return [(id_, SkippedURL(url=url, depth=depth, rule=rule)) for id_, url, depth, rule in rows]
