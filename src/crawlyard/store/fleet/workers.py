"""Worker reports and requests to workers; job logs, courses and known URLs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

from crawlyard.core.crawl.page import KnownURL, TargetState, Via
from crawlyard.core.event import Event
from crawlyard.core.jobs.job_log import MOST_LINES, Course, Level, LogEnd, LogLine
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.overview.worker_status import WorkerReport, WorkerWish
from crawlyard.errors import Conflict
from crawlyard.store.codec.base import Row, decoder_of, to_json
from crawlyard.store.codec.records import LOG_LINES
from crawlyard.store.db.bulk_rows import put_rows
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.transactions import StorePart, reads, writes
from crawlyard.store.jobs.job_rows import STANDING, no_of, tell
from crawlyard.store.tables.jobs import PENDING, PRESENT, frontier, jobs, shards
from crawlyard.store.tables.watch import courses, log_lines, workers

_REPORT = decoder_of(WorkerReport)
_COURSE = decoder_of(Course)


class WorkerStore(StorePart):
    """Reports of workers, and what operators request of them."""

    @writes
    def beat(self, conn: Connection, report: WorkerReport) -> WorkerWish:
        """Store the report of a worker in place of its last one; return what is requested of it.

        The wish in *report* itself is not stored.
        """
        said = to_json(replace(report, wish=WorkerWish.NONE))
        row = {"id": report.id, "report": said, "beat_at": report.beat_at}
        put_rows(conn, workers, [row])  # leaves the `wish` column unchanged
        return _wish(conn, report.id)

    async def wish(self, worker_id: str) -> WorkerWish:
        """Return what is requested of a worker: nothing if it has no report."""
        return await self._database.known(_wish, worker_id)

    @writes
    def ask(
        self, conn: Connection, worker_id: str, wish: WorkerWish, was: WorkerWish, event: Event
    ) -> None:
        """Change what is requested of a worker from *was* to *wish*, and add the event.

        Raises:
            Conflict: something other than *was* is requested by now, or the worker has no report.
        """
        of_it = (workers.c.id == worker_id, workers.c.wish == was.value)
        asked = update(workers).where(*of_it).values(wish=wish.value)
        if not conn.execute(asked).rowcount:
            raise Conflict(f"of worker {worker_id} something else is wanted by now")
        tell(conn, [event])

    @reads
    def find(self, conn: Connection) -> list[WorkerReport]:
        """Return all reports, sorted by the start of the worker."""
        found = [_worker_of(row) for row in conn.execute(select(workers)).mappings()]
        return sorted(found, key=lambda r: (r.started_at, r.id))

    @writes
    def forget(self, conn: Connection, worker_id: str) -> bool:
        """Delete a report; return whether there was one."""
        return bool(conn.execute(delete(workers).where(workers.c.id == worker_id)).rowcount)

    @writes
    def sweep(self, conn: Connection, before: datetime) -> int:
        """Delete reports whose last heartbeat is before *before*; return how many."""
        return conn.execute(delete(workers).where(workers.c.beat_at < before)).rowcount


_WISH = select(workers.c.wish).where(workers.c.id == bindparam("worker"))


def _worker_of(row: Row) -> WorkerReport:
    return replace(_REPORT.decode(row["report"]), wish=WorkerWish(row["wish"]))


def _wish(conn: Connection, worker_id: str) -> WorkerWish:
    return WorkerWish(conn.scalar(_WISH, {"worker": worker_id}) or "")


class JournalStore(StorePart):
    """Log, course and known URLs of jobs, as written by `FrontierStore.record`."""

    @reads
    def lines(
        self, conn: Connection, job_id: str, least: Level, after: int, limit: int, text: str = ""
    ) -> list[LogLine]:
        """Return at most *limit* log lines with an *n* above *after*, oldest first.

        Only lines of level *least* or above that contain *text* in their message or URL.
        """
        asked = [
            log_lines.c.n > after,
            # more lines may be stored, until the next time that old ones are deleted
            log_lines.c.n > _newest(job_id).scalar_subquery() - MOST_LINES,
            log_lines.c.level >= int(least),
        ]
        if text:
            asked.append(_has(clean(text).lower()))
        found = select(log_lines).where(
            log_lines.c.job_no == no_of(job_id).scalar_subquery(), *asked
        )
        return LOG_LINES.all(conn, found.order_by(log_lines.c.n).limit(limit))

    @reads
    def last(self, conn: Connection, job_id: str) -> int:
        """Return the *n* of the newest line, 0 if there is none."""
        return conn.scalar(_newest(job_id)) or 0

    @reads
    def ends(self, conn: Connection, job_ids: Collection[str]) -> Mapping[str, LogEnd]:
        """Return where the logs of jobs end, by job id; jobs that don't exist are left out.

        Line number and state of each job are from the same snapshot.
        """
        newest = select(func.max(log_lines.c.n)).where(log_lines.c.job_no == jobs.c.no)
        part = shards.alias()  # the shards of a spread job have their own leases
        held = select(func.max(part.c.lease_until)).where(part.c.job_no == jobs.c.no)
        found = (
            select(
                *(jobs.c.id, jobs.c.state),
                held.scalar_subquery().label("held_until"),
                newest.scalar_subquery().label("n"),
            )
            .select_from(STANDING)
            .where(PRESENT, jobs.c.id.in_(sorted(job_ids)))
        )
        return {
            row.id: LogEnd(n=row.n or 0, state=State(row.state), held_until=row.held_until)
            for row in conn.execute(found)
        }

    @reads
    def course(self, conn: Connection, job_id: str) -> Course:
        """Return the course of a job, empty if it has not started."""
        text = conn.scalar(
            select(courses.c.course).where(courses.c.job_no == no_of(job_id).scalar_subquery())
        )
        return _COURSE.decode(text) if text else Course()

    @reads
    def known(self, conn: Connection, job_id: str, fp: int) -> KnownURL | None:
        """Return what became of the URL with this fingerprint, ``None`` if the job never found it.

        *fp* is the `engine.urls.fingerprint` of the URL: URLs themselves have no index.
        """
        query = _known().where(
            frontier.c.job_no == no_of(job_id).scalar_subquery(), frontier.c.fp == fp
        )
        row = conn.execute(query).mappings().first()
        return None if row is None else _known_of(row)

    @reads
    def upcoming(
        self, conn: Connection, job_id: str, after: int, limit: int, states: Sequence[TargetState]
    ) -> list[KnownURL]:
        """Return at most *limit* URLs in *states* with a key above *after*, sorted by key."""
        if not states:
            return []
        ids = union_all(*(_first(job_id, state, after, limit) for state in set(states)))
        query = _known().where(frontier.c.id.in_(ids)).order_by(frontier.c.id).limit(limit)
        return [_known_of(row) for row in conn.execute(query).mappings()]

    @reads
    def waits(self, conn: Connection, now: datetime) -> timedelta:
        """Return how long the pending job that is due longest has waited, zero if none is due."""
        due = select(func.min(jobs.c.due_at)).where(PENDING, PRESENT, jobs.c.due_at <= now)
        first: datetime | None = conn.scalar(due)
        return now - (first or now)


def _newest(job_id: str) -> Select[Any]:
    return select(func.max(log_lines.c.n)).where(
        log_lines.c.job_no == no_of(job_id).scalar_subquery()
    )


def _has(part: str) -> ColumnElement[bool]:
    shown = (log_lines.c.message, log_lines.c.url)
    return or_(*(func.lower(c).contains(part, autoescape=True) for c in shown))


def _first(job_id: str, state: TargetState, after: int, limit: int) -> Select[int]:
    """Return a query for the keys of a job's first URLs in one state."""
    # a literal, so that the partial indexes of waiting and skipped URLs are used
    same = frontier.c.state == literal_column(str(int(state)))
    no: ColumnElement[int] = frontier.c.job_no
    if state not in {TargetState.WAITING, TargetState.SKIPPED}:
        # `+ 0` makes SQLite walk the keys: with the index on fp, it looks up and sorts every row
        # of the job, which takes 3.7 s for a million rows instead of 0.15 s
        no = no + 0
    found = select(frontier.c.id).where(
        no == no_of(job_id).scalar_subquery(), same, frontier.c.id > after
    )
    return select(found.order_by(frontier.c.id).limit(limit).subquery())


def _known() -> Select[Any]:
    """Return a query for URLs, each with the URL of the page that links to it."""
    parent = frontier.alias("parent")
    named_by = (parent.c.job_no == frontier.c.job_no) & (parent.c.fp == frontier.c.parent_fp)
    return select(*frontier.c, parent.c.url.label("parent")).select_from(
        frontier.outerjoin(parent, named_by)
    )


def _known_of(row: Row) -> KnownURL:
    return KnownURL(
        key=row["id"],
        url=row["url"],
        host=row["host"],
        depth=row["depth"],
        via=Via(row["via"]),
        state=TargetState(row["state"]),
        rule=row["rule"],
        tries=row["tries"],
        due_at=row["due_at"],
        parent=row["parent"],
    )
