"""Store of changes: the facts by which runs are compared, and the changes that were detected."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
)

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.crawl.changes import (
    PageFacts,
    RunChanges,
    StoredChange,
    UnprovenPage,
    UrlState,
)
from crawlyard.core.crawl.page import Body, TargetState, Via
from crawlyard.core.events.event import Event
from crawlyard.store.codec.jobs import compress
from crawlyard.store.codec.records import CHANGES, RUN_CHANGES
from crawlyard.store.db.bulk_rows import put_rows
from crawlyard.store.db.database import StorePart, is_postgres, reads, writes
from crawlyard.store.jobs.job_rows import add_events, no_of
from crawlyard.store.jobs.where import shown_to
from crawlyard.store.queries import ChangeQuery
from crawlyard.store.tables.changes import changes, run_changes, unproven_pages
from crawlyard.store.tables.jobs import PRESENT, bodies, frontier, jobs, pages

_LOCK = 0x43596368
"""Key of the lock under which changes are numbered on Postgres, in the order of commits."""


_FACTS: Select[Any] = select(
    pages.c.id,
    pages.c.fp,
    pages.c.final_url.label("url"),
    *(pages.c[name] for name in PageFacts.__struct_fields__ if name not in {"id", "fp", "url"}),
)
_COPIED = [unproven_pages.c[column.name] for column in _FACTS.selected_columns]
_AT_ONCE = 1_000  # fingerprints of one statement


_UNPROVEN: Select[Any] = select(
    unproven_pages.c.read_by, unproven_pages.c.reach, unproven_pages.c.is_broken, *_COPIED
)


_base = jobs.alias()
_HIDES = or_(
    run_changes.c.hidden,
    exists().where(_base.c.id == run_changes.c.base_id, _base.c.hidden >= int(JobPart.PAGES)),
)
"""The condition on `run_changes` that others do not see them: the run before hides its pages now,
or one further back did when the run was compared.
"""


class ChangeStore(StorePart):
    """Facts by which two runs are compared, and the changes of runs of schedules."""

    @reads
    def facts(
        self, conn: Connection, job_id: str, after: int | None, limit: int
    ) -> list[PageFacts]:
        """Return the pages of a job with an fp above *after*, in the order of fps."""
        query = _of(job_id).order_by(pages.c.fp).limit(limit)
        if after is not None:
            query = query.where(pages.c.fp > after)
        return [PageFacts(**row) for row in conn.execute(query).mappings()]

    @reads
    def facts_of(self, conn: Connection, job_id: str, fps: Collection[int]) -> list[PageFacts]:
        """Look up pages of a job by the fingerprints of their targets."""
        rows = conn.execute(_of(job_id).where(pages.c.fp.in_(sorted(fps))))
        return [PageFacts(**row) for row in rows.mappings()]

    @reads
    def unproven(
        self, conn: Connection, job_id: str, after: int | None, limit: int
    ) -> list[UnprovenPage]:
        """Return the unproven pages of a run with an fp above *after*, in the order of fps."""
        query = _UNPROVEN.where(_of_run(job_id)).order_by(unproven_pages.c.fp).limit(limit)
        if after is not None:
            query = query.where(unproven_pages.c.fp > after)
        return _unproven(conn, query)

    @reads
    def unproven_of(
        self, conn: Connection, job_id: str, fps: Collection[int]
    ) -> list[UnprovenPage]:
        """Return the unproven pages of a run with these fps."""
        query = _UNPROVEN.where(_of_run(job_id), unproven_pages.c.fp.in_(sorted(fps)))
        return _unproven(conn, query)

    @reads
    def known_urls(
        self, conn: Connection, job_id: str, fps: Collection[int]
    ) -> Mapping[int, UrlState]:
        """Return the state and rule of a job's URLs with these fps; unknown fps are left out."""
        rows = conn.execute(
            select(frontier.c.fp, frontier.c.state, frontier.c.rule).where(
                frontier.c.job_no == no_of(job_id).scalar_subquery(),
                frontier.c.fp.in_(sorted(fps)),
            )
        )
        return {fp: UrlState(TargetState(state), rule) for fp, state, rule in rows}

    @reads
    def broken_sitemaps(self, conn: Connection, job_id: str) -> frozenset[int]:
        """Return the fps of the sitemaps that a job could not read as a whole."""
        rows = conn.execute(
            select(frontier.c.fp, frontier.c.state, frontier.c.rule).where(
                frontier.c.job_no == no_of(job_id).scalar_subquery(),
                frontier.c.via == Via.SITEMAP.value,
                frontier.c.state != int(TargetState.REDIRECTED),
            )
        )
        # the rule has a problem in brackets
        whole = int(TargetState.SKIPPED)
        return frozenset(fp for fp, state, rule in rows if state != whole or "(" in rule)

    @writes
    def save(
        self,
        conn: Connection,
        run: RunChanges,
        detected: Sequence[StoredChange],
        events: Sequence[Event],
        unproven: Mapping[int, bool] | None = None,
        reach: str = "",
    ) -> bool:
        """Store the changes of a run, and add *events* if any change is new.

        Return false if the run was stored before, or no longer ends at that instant. If the run
        was compared before, changes that are detected again keep their place in the feed.

        *unproven*: pages of its base that the run neither proves to exist nor to be gone, by fp,
        and whether they were reported as broken. *reach*: the reach of the base.
        """
        ends = jobs.c.ended_at == run.ended_at
        job = conn.execute(
            select(jobs.c.no, jobs.c.owner).where(jobs.c.id == run.job_id, ends, PRESENT)
        ).first()
        if job is None:
            return False
        before = select(run_changes.c.ended_at).where(run_changes.c.job_no == job.no)
        if run.ended_at in conn.scalars(before).all():
            return False
        run = replace(run, hidden=_is_hidden(conn, run.base_id))
        put_rows(conn, run_changes, [_with_job_no(RUN_CHANGES.row(run), job.no)])
        conn.execute(delete(unproven_pages).where(unproven_pages.c.job_no == job.no))
        if unproven and run.base_id is not None:
            _copy_unproven(conn, job.no, run.base_id, unproven, reach)
        fresh = _replace_obsolete(conn, job.no, detected)
        rows = [
            _with_job_no(CHANGES.row(change), job.no) | {"owner": job.owner} for change in fresh
        ]
        if rows:
            add_events(conn, events)
            if is_postgres(conn):  # late: from here to the commit others wait
                conn.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            conn.execute(insert(changes), rows)
        return True

    @writes
    def keep_recurring(self, conn: Connection, lines_by_page: Mapping[int, bytes]) -> None:
        """Keep the lines of pages that differed in each of the last runs."""
        there = conn.execute(
            select(pages.c.id).where(pages.c.id.in_(sorted(lines_by_page)))
        ).scalars()
        rows = [
            {"page_id": page, "kind": Body.RECURRING.value, "data": compress(lines_by_page[page])}
            for page in there
        ]
        put_rows(conn, bodies, rows)

    @reads
    def runs(self, conn: Connection, job_ids: Collection[str]) -> Mapping[str, RunChanges]:
        """Return the changes of these jobs, by id; jobs not compared yet are left out."""
        query = (
            select(
                jobs.c.id.label("job_id"),
                *(column for column in run_changes.c if column.name != "hidden"),
                _HIDES.label("hidden"),
            )
            .join(run_changes, run_changes.c.job_no == jobs.c.no)
            .where(jobs.c.id.in_(sorted(job_ids)), PRESENT)
        )
        return {run.job_id: run for run in RUN_CHANGES.all(conn, query)}

    @reads
    def changes(self, conn: Connection, query: ChangeQuery, limit: int) -> list[StoredChange]:
        """Return changes of runs in the order in which they were found."""
        filters: list[ColumnElement[bool]] = [PRESENT, changes.c.seq > query.after]
        if query.schedule_id is not None:
            filters.append(changes.c.schedule_id == query.schedule_id)
        if query.job_id is not None:
            filters.append(jobs.c.id == query.job_id)
        if query.owner is not None:
            filters.append(changes.c.owner == query.owner)
        if query.seen_by is not None:
            is_hidden = exists().where(run_changes.c.job_no == changes.c.job_no, _HIDES)
            is_shown = and_(shown_to(query.seen_by, JobPart.PAGES), not_(is_hidden))
            filters.append(or_(changes.c.owner == query.seen_by, is_shown))
        if query.kinds:
            filters.append(changes.c.kind.in_(sorted(query.kinds)))
        order = changes.c.seq.desc() if query.newest_first else changes.c.seq
        matching = (
            select(jobs.c.id.label("job_id"), *changes.c)
            .join(jobs, jobs.c.no == changes.c.job_no)
            .where(*filters)
            .order_by(order)
            .limit(limit)
        )
        return CHANGES.all(conn, matching)


def _is_hidden(conn: Connection, base_id: str | None) -> bool:
    """Return whether the run with that id, or one that it was compared with, hides its pages."""
    if base_id is None:
        return False
    hides = or_(jobs.c.hidden >= int(JobPart.PAGES), func.coalesce(run_changes.c.hidden, False))
    base = select(hides).select_from(jobs.outerjoin(run_changes, run_changes.c.job_no == jobs.c.no))
    return bool(conn.scalar(base.where(jobs.c.id == base_id)))


def _replace_obsolete(
    conn: Connection, job_no: int, detected: Sequence[StoredChange]
) -> Sequence[StoredChange]:
    """Return the changes that are not stored yet; delete stored changes that are not detected."""
    names = ("kind", "url", "moved_to", "before", "after")
    key_of = attrgetter(*names)
    columns = (changes.c[name] for name in names)
    stored = conn.execute(select(changes.c.seq, *columns).where(changes.c.job_no == job_no))
    obsolete = {tuple(key): seq for seq, *key in stored}
    fresh = [change for change in detected if obsolete.pop(key_of(change), None) is None]
    if obsolete:
        conn.execute(delete(changes).where(changes.c.seq.in_(obsolete.values())))
    return fresh


def _unproven(conn: Connection, query: Select[Any]) -> list[UnprovenPage]:
    unproven = []
    for row in map(dict, conn.execute(query).mappings()):
        origin = {name: row.pop(name) for name in ("read_by", "reach", "is_broken")}
        unproven.append(UnprovenPage(page=PageFacts(**row), **origin))
    return unproven


def _copy_unproven(
    conn: Connection, job_no: int, base_id: str, unproven: Mapping[int, bool], reach: str
) -> None:
    """Copy unproven pages of the base: the copies that it has, and pages that it read itself."""
    its_no = literal(job_no).label("job_no")
    for is_broken, fps in _portions(unproven):
        broken = literal(is_broken).label("is_broken")
        copies = unproven_pages.c
        older = select(its_no, copies.read_by, copies.reach, broken, *_COPIED)
        older = older.where(_of_run(base_id), copies.fp.in_(fps))
        copied = select(copies.fp).where(copies.job_no == job_no, copies.fp.in_(fps))
        own = select(
            its_no,
            literal(base_id).label("read_by"),
            literal(reach).label("reach"),
            broken,
            *_FACTS.selected_columns,
        )
        own = own.where(_of_job(base_id), pages.c.fp.in_(fps), pages.c.fp.not_in(copied))
        for query in (older, own):
            names = [column.name for column in query.selected_columns]
            conn.execute(insert(unproven_pages).from_select(names, query))


def _portions(unproven: Mapping[int, bool]) -> Iterator[tuple[bool, list[int]]]:
    """Yield fps a few at a time, with whether their pages are broken."""
    for is_broken in (False, True):
        fps = sorted(fp for fp, broken in unproven.items() if broken is is_broken)
        for first in range(0, len(fps), _AT_ONCE):
            yield is_broken, fps[first : first + _AT_ONCE]


def _of_run(job_id: str) -> ColumnElement[bool]:
    return unproven_pages.c.job_no == no_of(job_id).scalar_subquery()


def _of(job_id: str) -> Select[Any]:
    return _FACTS.where(_of_job(job_id))


def _of_job(job_id: str) -> ColumnElement[bool]:
    return pages.c.job_no == no_of(job_id).scalar_subquery()


def _with_job_no(row: dict[str, Any], job_no: int) -> dict[str, Any]:
    """Return a row that names its job by the key."""
    del row["job_id"]
    return row | {"job_no": job_no}
