"""Purging of deleted jobs, a few rows at a time, and shrinking of the SQLite file."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Table,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
)

from crawlyard.core.purge_result import PurgeResult
from crawlyard.store.db.database import is_postgres
from crawlyard.store.search.index import forget_purge, unindex
from crawlyard.store.tables.changes import changes, run_changes, unproven_pages
from crawlyard.store.tables.jobs import (
    BODIES_OF,
    bodies,
    frontier,
    job_cookies,
    job_hosts,
    job_tags,
    job_texts,
    jobs,
    lastmods,
    pages,
    shards,
)
from crawlyard.store.tables.watch import courses, log_lines
from crawlyard.store.tables.webhooks import deliveries, webhooks

MOST_BYTES = 64 * 2**20
"""Bytes of bodies that one transaction deletes: 15 ms on SQLite, 30 ms on Postgres."""

MOST_PAGES = 2048
"""Pages of the file that one transaction frees, if it may delete 1,000 rows.

These 8 MiB take 9 ms, or 31 ms if all must be moved.
"""


def purge(conn: Connection, rows: int) -> PurgeResult:
    """Delete up to *rows* rows of deleted jobs; if there are none, shrink the file on SQLite."""
    if not is_postgres(conn):
        # Otherwise Debian's SQLite overwrites all freed space with zeros: 100 MB of bodies took
        # 0.46 s instead of 0.01 s, and 100 MB in the write-ahead log.
        conn.exec_driver_sql("PRAGMA secure_delete=FAST")
    freed = PurgeResult()
    while freed.rows < rows and (job := _first_deleted(conn)) is not None:
        part, more = _purge_job(conn, job.no, job.id, rows - freed.rows)
        freed += part
        if more:
            break
    if not freed and not is_postgres(conn):
        return PurgeResult(bytes=_shrink_file(conn, max(1, MOST_PAGES * rows // 1000)))
    return freed


def fold(file: Path) -> None:
    """Checkpoint the write-ahead log of a SQLite file, without waiting for readers or writers.

    Only this shrinks the file. Pages blocked by a reader are left to the next call.
    """
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _shrink_file(conn: Connection, most: int) -> int:
    """Return at most *most* free pages to the disk; return the number of bytes."""
    free: int = conn.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    before: int = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
    cursor = conn.connection.cursor()
    for _ in range(min(free, most)):
        # the driver stops this statement after its first step, which frees one page
        cursor.execute("PRAGMA incremental_vacuum(1)")
    cursor.close()
    after: int = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
    size: int = conn.exec_driver_sql("PRAGMA page_size").scalar_one()
    return (before - after) * size


_CHILDREN: Sequence[tuple[Table, Column[Any]]] = (
    (pages, pages.c.id),
    (frontier, frontier.c.id),
    (log_lines, log_lines.c.n),
    (courses, courses.c.job_no),
    (lastmods, lastmods.c.host),
    (job_cookies, job_cookies.c.key),
    (changes, changes.c.seq),
    (unproven_pages, unproven_pages.c.fp),
    (run_changes, run_changes.c.job_no),
    (job_tags, job_tags.c.tag),
    (job_hosts, job_hosts.c.host),
    (job_texts, job_texts.c.job_no),
    (shards, shards.c.shard),
)


_LATER = jobs.alias("later")

_IN_USE = exists().where(
    _LATER.c.based_on == jobs.c.id,
    or_(
        _LATER.c.started_at.is_not(None) & _LATER.c.ended_at.is_(None),
        exists().where(shards.c.job_no == _LATER.c.no, shards.c.worker.is_not(None)),
    ),
)
"""The condition for jobs that a run is based on: its pages may come to share their bodies.

A run that begins when the job has been deleted is not based on it.
"""

_PURGEABLE = jobs.c.deleted_at.is_not(None) & ~_IN_USE


def _first_deleted(conn: Connection) -> Row[int, str] | None:
    # of two concurrent janitors, the second takes another job, or none
    return conn.execute(
        select(jobs.c.no, jobs.c.id)
        .where(_PURGEABLE)
        .order_by(jobs.c.no)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()


def _purge_job(conn: Connection, no: int, job_id: str, most: int) -> tuple[PurgeResult, bool]:
    """Delete up to *most* rows of a job, its own row last; also return whether it was cut short."""
    freed = _webhooks(conn, job_id, most)
    if rows := unindex(conn, no, most - freed.rows):  # needs the texts, which are deleted below
        return freed + PurgeResult(rows), True
    part, more = _bodies(conn, no, most - freed.rows)
    freed += part
    if more:
        return freed, True
    for table, key in _CHILDREN:
        first = select(key).where(table.c.job_no == no).order_by(key).limit(most - freed.rows)
        freed += _delete_rows(conn, table, table.c.job_no == no, key.in_(first))
    if freed.rows < most:
        forget_purge(conn, no)
        freed += _delete_rows(conn, jobs, jobs.c.no == no)
    return freed, False


def _webhooks(conn: Connection, job_id: str, most: int) -> PurgeResult:
    """Delete the webhooks of a job with their deliveries, at most *most* rows."""
    # locked first, so that no new deliveries are made for them
    own = select(webhooks.c.id).where(webhooks.c.job_id == job_id).order_by(webhooks.c.id)
    ids = conn.scalars(own.with_for_update()).all()
    if not ids:
        return PurgeResult()
    delivery_nos = select(deliveries.c.no).where(deliveries.c.webhook_id.in_(ids))
    first = delivery_nos.order_by(deliveries.c.no).limit(most)
    freed = _delete_rows(conn, deliveries, deliveries.c.no.in_(first))
    if freed.rows < most:
        freed += _delete_rows(conn, webhooks, webhooks.c.id.in_(ids[: most - freed.rows]))
    return freed


def _bodies(conn: Connection, no: int, most: int) -> tuple[PurgeResult, bool]:
    """Delete bodies of the job's first *most* pages, at most *most* rows and `MOST_BYTES`.

    Bodies that pages of other jobs share are kept: they go with the last of these jobs. Also
    return whether these pages have more bodies to delete.
    """
    size = func.pg_column_size if is_postgres(conn) else func.length
    key = (bodies.c.page_id, bodies.c.kind)
    keys = select(BODIES_OF).where(pages.c.job_no == no).order_by(pages.c.id).limit(most)
    own = bodies.c.page_id.in_(keys) & ~_is_shared(conn, no)
    first = select(*key, size(bodies.c.data)).where(own).order_by(*key).limit(most + 1)
    sizes = conn.execute(first).all()
    sums = accumulate(stored for _, _, stored in sizes)
    fitting = sum(1 for _ in takewhile(lambda upto: upto <= MOST_BYTES, sums))
    batch = sizes[: min(most, max(1, fitting))]
    if not batch:
        return PurgeResult(), False
    page_id, kind, _ = batch[-1]
    freed = _delete_rows(conn, bodies, own, tuple_(*key) <= tuple_(page_id, kind))
    return freed, len(sizes) > len(batch)


def _is_shared(conn: Connection, no: int) -> ColumnElement[bool]:
    """Return the condition for bodies of a job that remaining jobs share.

    On SQLite, jobs purged later share them, too: their texts are needed to clean the index.
    """
    stay = (jobs.c.no == pages.c.job_no) & (~_PURGEABLE if is_postgres(conn) else jobs.c.no != no)
    # two look-ups by index: together, no index serves them
    return or_(
        exists().where(pages.c.body_of == bodies.c.page_id, stay),
        exists().where(pages.c.id == bodies.c.page_id, pages.c.job_no != no, stay),
    )


def _delete_rows(conn: Connection, table: Table, *which: ColumnElement[bool]) -> PurgeResult:
    """Delete rows; return how many, and on Postgres how many bytes they took."""
    statement = delete(table).where(*which)
    if not is_postgres(conn):
        return PurgeResult(conn.execute(statement).rowcount)
    # for bodies only the data column: a whole row would be read back from TOAST storage
    row = bodies.c.data if table is bodies else table.table_valued()
    sizes = conn.scalars(statement.returning(func.pg_column_size(row))).all()
    return PurgeResult(len(sizes), reusable=sum(sizes))
