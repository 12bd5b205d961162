"""Freeing the space of deleted jobs, some rows at a time."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, delete, select, tuple_

from crawlyard.store.sql.database import is_postgres
from crawlyard.store.tables import bodies, frontier, job_tags, jobs, pages, shards


def purge(conn: Connection, rows: int) -> int:
    """Delete up to *rows* rows of deleted jobs; return how many.

    Events stay: whoever reads on from the last it has seen may not have read them yet.
    """
    left = rows
    while left and (no := _first_deleted(conn)) is not None:
        left -= _bodies(conn, no, left)
        for table, key in _CHILDREN:
            left -= _some(conn, table, key, no, left)
        if left:
            conn.execute(delete(jobs).where(jobs.c.no == no))
            left -= 1
    if not is_postgres(conn):
        _give_back(conn)
    return rows - left


def _give_back(conn: Connection) -> None:
    """Return free pages to the disk, at most 16 MiB at once; no file shrinks by itself."""
    free: int = conn.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    cursor = conn.connection.cursor()
    for _ in range(min(free, 4096)):
        # the driver stops each such statement at its first step, which is one page
        cursor.execute("PRAGMA incremental_vacuum(1)")
    cursor.close()


_CHILDREN: Sequence[tuple[Table, Column[Any]]] = (
    (pages, pages.c.id),
    (frontier, frontier.c.id),
    (job_tags, job_tags.c.tag),
    (shards, shards.c.shard),
)


def _first_deleted(conn: Connection) -> int | None:
    # two janitors at once: the second takes another job, or finds none
    return conn.scalar(
        select(jobs.c.no)
        .where(jobs.c.deleted_at.is_not(None))
        .order_by(jobs.c.no)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _bodies(conn: Connection, no: int, most: int) -> int:
    """Delete bodies of the job's first *most* pages, at most *most*; return how many."""
    page_ids = select(pages.c.id).where(pages.c.job_no == no).order_by(pages.c.id).limit(most)
    key = tuple_(bodies.c.page_id, bodies.c.kind)
    first = select(bodies.c.page_id, bodies.c.kind).where(bodies.c.page_id.in_(page_ids))
    return conn.execute(delete(bodies).where(key.in_(first.limit(most)))).rowcount


def _some(conn: Connection, table: Table, key: Column[Any], no: int, most: int) -> int:
    first = select(key).where(table.c.job_no == no).order_by(key).limit(most)
    return conn.execute(delete(table).where(table.c.job_no == no, key.in_(first))).rowcount
