"""Journal of jobs: log, course and known URLs; log, course and daily usage are written here."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
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
)

from crawlyard.core.crawl.page import KnownURL, TargetState, Via
from crawlyard.core.jobs.checkpoint import Batch, Lease
from crawlyard.core.jobs.job_log import MOST_LINES, Course, Level, LogEnd, LogLine
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage
from crawlyard.store.codec.base import Row, decoder_of, to_json
from crawlyard.store.codec.records import LOG_LINES
from crawlyard.store.db.bulk_rows import insert_new, put_rows
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.raw_sqlite import one_row
from crawlyard.store.db.transactions import StorePart, reads
from crawlyard.store.jobs.job_rows import STANDING, no_of
from crawlyard.store.tables.access import days
from crawlyard.store.tables.jobs import PENDING, PRESENT, frontier, jobs, shards
from crawlyard.store.tables.watch import courses, log_lines

TRIM_EVERY = 250
"""Number of new log lines of a job after which lines beyond the newest `MOST_LINES` are deleted."""

_NEWEST = select(
    jobs.c.no,
    select(func.max(log_lines.c.n)).where(log_lines.c.job_no == jobs.c.no).scalar_subquery(),
).where(jobs.c.no.in_(bindparam("numbers", expanding=True)))
_LAST = select(func.coalesce(func.max(log_lines.c.n), literal_column("0")).label("n")).where(
    log_lines.c.job_no == bindparam("its_no", type_=BigInteger)
)
_COURSE = decoder_of(Course)


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
            log_lines.c.n > _newest_of(job_id).scalar_subquery() - MOST_LINES,
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
        return conn.scalar(_newest_of(job_id)) or 0

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


def _newest_of(job_id: str) -> Select[Any]:
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


# --- written by checkpoints


def write_journal(conn: Connection, written: Sequence[tuple[Lease, Batch]]) -> None:
    """Append to the logs of jobs, whose rows are locked, and replace their courses."""
    logging = [(lease.job_no, line) for lease, batch in written for line in batch.log]
    if logging:
        newest = _newest(conn, {no for no, _ in logging})
        before = dict(newest)
        rows = []
        for no, line in logging:
            newest[no] += 1
            rows.append(LOG_LINES.row(line) | {"job_no": no, "n": newest[no]})
        insert_new(conn, log_lines, rows)
        _trim(conn, before, newest)
    latest = {lease.job_no: b.course for lease, b in written if b.course is not None}
    rows = [{"job_no": no, "course": to_json(course)} for no, course in sorted(latest.items())]
    put_rows(conn, courses, rows)


def _newest(conn: Connection, numbers: Collection[int]) -> dict[int, int]:
    """Return the number of the last log line of each job, 0 if it has none."""
    if not is_postgres(conn):  # a SQLite query takes a tenth of the overhead of a list parameter
        return {no: one_row(conn, _LAST, {"its_no": no}).n for no in numbers}
    return {no: n or 0 for no, n in conn.execute(_NEWEST, {"numbers": sorted(numbers)})}


def _trim(conn: Connection, before: Mapping[int, int], newest: Mapping[int, int]) -> None:
    """Delete old lines of the logs that have passed another multiple of `TRIM_EVERY` lines."""
    for no, last in newest.items():
        if last // TRIM_EVERY > before[no] // TRIM_EVERY and last > MOST_LINES:
            old = (log_lines.c.job_no == no, log_lines.c.n <= last - MOST_LINES)
            conn.execute(delete(log_lines).where(*old))


def write_days(conn: Connection, used: Sequence[tuple[str, Usage]], today: date) -> None:
    """Add the usage of batches to the daily usage of the owners of their jobs."""
    sums: dict[str, Usage] = defaultdict(Usage)
    for owner, usage in used:
        if usage.pages or usage.bytes or usage.errors:
            sums[owner] = sums[owner].plus(usage)
    rows = [
        {"owner": owner, "day": today, "pages": u.pages, "bytes": u.bytes, "errors": u.errors}
        for owner, u in sorted(sums.items())
    ]
    put_rows(conn, days, rows, adding=True)
