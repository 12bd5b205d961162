"""Job log and course: written by checkpoints, and read while the job runs and afterwards."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    UpdateBase,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)

from crawlyard.core.jobs.checkpoint import Batch, Lease
from crawlyard.core.jobs.job_log import MOST_LINES, Course, Level, LogEnd, LogLine
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import MOST_SHARDS
from crawlyard.store.codec.base import decoder_of, to_json
from crawlyard.store.codec.records import LOG_LINES
from crawlyard.store.db.bulk_rows import insert_new, put_rows
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.database import StorePart, is_postgres, reads
from crawlyard.store.db.raw_sqlite import one_row
from crawlyard.store.jobs.job_rows import no_of
from crawlyard.store.tables.jobs import PRESENT, STANDING, jobs, shards
from crawlyard.store.tables.watch import courses, log_lines

_COURSE = decoder_of(Course)

TRIM_EVERY = 250
"""Number of new log lines of a job after which lines beyond the newest `MOST_LINES` are deleted."""

_NEWEST = select(
    jobs.c.no,
    select(func.max(log_lines.c.n))
    .where(log_lines.c.job_no == jobs.c.no, log_lines.c.n > 0)
    .scalar_subquery(),
).where(jobs.c.no.in_(bindparam("numbers", expanding=True)))
_LAST = select(func.coalesce(func.max(log_lines.c.n), literal_column("0")).label("n")).where(
    log_lines.c.job_no == bindparam("its_no", type_=BigInteger), log_lines.c.n > 0
)

UNNUMBERED = (
    select(log_lines.c.n)
    .where(log_lines.c.job_no == jobs.c.no, log_lines.c.n < 0)
    .exists()
    .label("unnumbered")
)
"""Column for queries of jobs: whether one has log lines that `number_lines` is to number."""

_MOST_IN_BATCH = 16_384  # log lines
_BATCHES = 2_000  # of a shard, until a number is used again: long before, they have been numbered


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
    write_courses(conn, written)


def write_courses(conn: Connection, written: Sequence[tuple[Lease, Batch]]) -> None:
    """Replace the courses of jobs."""
    latest = {lease.job_no: b.course for lease, b in written if b.course is not None}
    rows = [{"job_no": no, "course": to_json(course)} for no, course in sorted(latest.items())]
    put_rows(conn, courses, rows)


def append_lines(conn: Connection, written: Sequence[tuple[Lease, Batch]]) -> None:
    """Add the log lines of shards, to be numbered by `number_lines`.

    Until then they have negative numbers, which readers don't see: shards that number the lines
    of their job themselves would wait for each other.
    """
    rows = []
    for lease, batch in written:
        place = (lease.seq % _BATCHES * MOST_SHARDS + lease.shard) * _MOST_IN_BATCH
        rows += [
            LOG_LINES.row(line) | {"job_no": lease.job_no, "n": -(place + i)}
            for i, line in enumerate(batch.log)
        ]
    insert_new(conn, log_lines, rows)


def number_lines(conn: Connection, no: int) -> None:
    """Number the log lines of the shards of a job, whose totals are locked."""
    numbers = conn.scalars(_number_lines(), {"its_no": no}).all()
    if numbers:
        newest = max(numbers)
        _trim(conn, {no: newest - len(numbers)}, {no: newest})


@cache
def _number_lines() -> UpdateBase:
    line, own = log_lines.alias("line"), bindparam("its_no", type_=BigInteger)
    newest = select(func.coalesce(func.max(line.c.n), 0)).where(line.c.job_no == own, line.c.n > 0)
    order = func.row_number().over(order_by=(log_lines.c.at, log_lines.c.n.desc()))
    numbered = select(
        log_lines.c.n.label("was"), (newest.scalar_subquery() + order).label("number")
    )
    numbered_lines = numbered.where(log_lines.c.job_no == own, log_lines.c.n < 0).subquery()
    return (
        update(log_lines)
        .where(log_lines.c.job_no == own, log_lines.c.n == numbered_lines.c.was)
        .values(n=numbered_lines.c.number)
        .returning(log_lines.c.n)
    )


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


class JournalStore(StorePart):
    """Logs and courses of jobs, as written by `FrontierStore.record`."""

    @reads
    def lines(
        self, conn: Connection, job_id: str, least: Level, after: int, limit: int, text: str = ""
    ) -> list[LogLine]:
        """Return at most *limit* log lines with an *n* above *after*, oldest first.

        Only lines of level *least* or above that contain *text* in their message or URL.
        """
        its_own = log_lines.c.job_no == no_of(job_id).scalar_subquery()
        newest = select(func.max(log_lines.c.n)).where(its_own).scalar_subquery()
        filters = [
            its_own,
            log_lines.c.n > after,
            # more lines may be stored, until the next time that old ones are deleted
            log_lines.c.n > newest - MOST_LINES,
            log_lines.c.level >= int(least),
        ]
        if text:
            filters.append(_has(clean(text).lower()))
        matching = select(log_lines).where(*filters).order_by(log_lines.c.n).limit(limit)
        return LOG_LINES.all(conn, matching)

    @reads
    def ends(self, conn: Connection, job_ids: Collection[str]) -> Mapping[str, LogEnd]:
        """Return where the logs of jobs end, by job id; jobs that don't exist are left out.

        Line number and state of each job are from the same snapshot.
        """
        if not job_ids:
            return {}
        newest = select(func.max(log_lines.c.n)).where(log_lines.c.job_no == jobs.c.no)
        part = shards.alias()  # the shards of a spread job have their own leases
        held_until = select(func.max(part.c.lease_until)).where(part.c.job_no == jobs.c.no)
        query = (
            select(
                *(jobs.c.id, jobs.c.state),
                held_until.scalar_subquery().label("held_until"),
                newest.scalar_subquery().label("n"),
            )
            .select_from(STANDING)
            .where(PRESENT, jobs.c.id.in_(sorted(job_ids)))
        )
        return {
            row.id: LogEnd(n=max(row.n or 0, 0), state=State(row.state), held_until=row.held_until)
            for row in conn.execute(query)
        }

    @reads
    def course(self, conn: Connection, job_id: str) -> Course:
        """Return the course of a job, empty if it has not started."""
        text = conn.scalar(
            select(courses.c.course).where(courses.c.job_no == no_of(job_id).scalar_subquery())
        )
        return _COURSE.decode(text) if text else Course()


def _has(part: str) -> ColumnElement[bool]:
    searched = (log_lines.c.message, log_lines.c.url)
    return or_(*(func.lower(c).contains(part, autoescape=True) for c in searched))
