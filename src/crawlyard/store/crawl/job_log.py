"""Job log, course and daily usage, as written by checkpoints."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date

from sqlalchemy import BigInteger, Connection, bindparam, delete, func, literal_column, select

from crawlyard.core.jobs.checkpoint import Batch, Lease
from crawlyard.core.jobs.job_log import MOST_LINES
from crawlyard.core.jobs.limits import Usage
from crawlyard.store.codec.base import to_json
from crawlyard.store.codec.records import LOG_LINES
from crawlyard.store.db.bulk_rows import insert_new, put_rows
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.raw_sqlite import one_row
from crawlyard.store.tables.access import days
from crawlyard.store.tables.jobs import jobs
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
