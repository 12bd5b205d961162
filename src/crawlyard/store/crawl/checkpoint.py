"""The checkpoint transaction for batches of several jobs and shards."""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Connection, select

from crawlyard.core.access.quota import day_of
from crawlyard.core.jobs.checkpoint import Checkpoint, Order
from crawlyard.store.codec.jobs import job_of
from crawlyard.store.crawl.job_log import write_days, write_journal
from crawlyard.store.crawl.record import Entry, Packed, RecordedBatch, record_jobs
from crawlyard.store.crawl.record_shard import record_parts
from crawlyard.store.db.database import is_postgres
from crawlyard.store.jobs.job_rows import STANDING, locked, standing, tell
from crawlyard.store.tables.jobs import PRESENT, jobs


def record(
    conn: Connection, entries: Sequence[Entry], given: Packed, now: datetime, until: datetime
) -> list[Checkpoint]:
    """Write batches of several jobs and shards; see `FrontierStore.record`."""
    whole = [entry for entry in entries if not entry[0].shard]
    parts = [entry for entry in entries if entry[0].shard]
    if whole and parts and is_postgres(conn):
        # the two calls below each lock their own jobs in order: lock all in order before them
        mine = jobs.c.no.in_(sorted({lease.job_no for lease, _ in entries}))
        keys = select(jobs.c.no).select_from(STANDING).where(PRESENT, mine)
        conn.execute(locked(keys.order_by(jobs.c.no)))
    nothing = RecordedBatch([], [], [], [])
    jobs_written = record_jobs(conn, whole, given, now, until) if whole else nothing
    parts_written = record_parts(conn, parts, given, now, until) if parts else nothing
    first, second = iter(jobs_written.answers), iter(parts_written.answers)
    answers = [next(second) if lease.shard else next(first) for lease, _ in entries]
    write_journal(conn, [*jobs_written.entries, *parts_written.entries])
    answers = _with_jobs(conn, answers)
    # late, because from here to the commit other transactions can't add to these owners' days
    write_days(conn, [*jobs_written.used, *parts_written.used], day_of(now))
    tell(conn, [*jobs_written.events, *parts_written.events])
    return answers


def _with_jobs(conn: Connection, answers: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return the answers, with the job added to those that order the holder to reload it."""
    asked = {a.lease.job_no for a in answers if a.order in {Order.CHANGED, Order.STOP}}
    if not asked:
        return list(answers)
    rows = conn.execute(standing(jobs.c.no.in_(sorted(asked)))).mappings()
    read = {row["no"]: job_of(row) for row in rows}
    return [
        a if a.order in {Order.GO_ON, Order.LOST} else replace(a, job=read[a.lease.job_no])
        for a in answers
    ]
