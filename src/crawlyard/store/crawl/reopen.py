"""Requeueing of failed targets."""

from collections.abc import Collection

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, select, update

from crawlyard.core.crawl.page import ErrorKind, TargetState
from crawlyard.core.jobs.checkpoint import Shard
from crawlyard.core.jobs.limits import given_back
from crawlyard.store.tables.jobs import FAILED, bodies, frontier, pages


def reopen(
    conn: Connection, no: int, shard: Shard, kinds: Collection[ErrorKind]
) -> tuple[Shard, int]:
    """Requeue the failed targets of *kinds* (empty: all), and delete their pages.

    Return the shard without the usage of these targets, and their number.
    """
    failed: list[ColumnElement[bool]] = [pages.c.job_no == no, FAILED]
    if kinds:
        failed.append(pages.c.error.in_([k.value for k in kinds]))
    targets, answered = conn.execute(
        select(func.count(), func.count(pages.c.status)).where(*failed)
    ).one()
    _reopen(conn, no, and_(*failed))
    usage = given_back(shard.usage, targets=targets, pages=answered, errors=targets)
    return replace(shard, usage=usage), targets


def _reopen(conn: Connection, no: int, failed: ColumnElement[bool]) -> None:
    fps: Select[int] = select(pages.c.fp).where(failed)
    conn.execute(
        update(frontier)
        .where(frontier.c.job_no == no, frontier.c.fp.in_(fps))
        .values(state=int(TargetState.WAITING), tries=0, due_at=None, rule="")
    )
    ids: Select[int] = select(pages.c.id).where(failed)
    conn.execute(delete(bodies).where(bodies.c.page_id.in_(ids)))
    conn.execute(delete(pages).where(failed))
