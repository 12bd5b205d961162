"""Wakeups for free shards: a transaction that frees one notifies the workers that may join."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, RowMapping, exists, select

from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.spread import shard_of
from crawlyard.core.wakeup import Wakeup
from crawlyard.store.db.wakeups import gather_due
from crawlyard.store.jobs.shard_rules import Parts, resting
from crawlyard.store.jobs.shards import PART, parts_of, waiting_shards
from crawlyard.store.tables.jobs import HELD, PRESENT, RUNNING, jobs, shards

FOR_JOINING = (jobs.c.needs, jobs.c.level, jobs.c.due_at)
"""Columns of a running job that determine which workers may join it."""


def shard_due(row: Mapping[str, Any] | RowMapping) -> Wakeup:
    """Return the wakeup for a free shard of the running job *row*."""
    urgent = row["level"] >= Priority.URGENT.rank
    return Wakeup(at=row["due_at"], needs=row["needs"], urgent=urgent, shard=True)


def tell_open(
    conn: Connection,
    row: Mapping[str, Any] | RowMapping,
    parts: Parts,
    numbers: Collection[int] | None = None,
) -> None:
    """Add a wakeup if a free shard of the running job *row* has waiting targets.

    With *numbers*, only those shards are considered.
    """
    free = {n for n in parts.free() if numbers is None or n in numbers}
    if free and free & waiting_shards(conn, parts.no, parts.of):
        gather_due(conn, shard_due(row))


def dry_shards(conn: Connection, parts: Parts, found: Iterable[Target]) -> set[int]:
    """Return the free shards without waiting targets that get their first ones from *found*.

    Assumes that the targets in *found* are new.
    """
    free = set(parts.free())
    hit = {shard_of(target.host, parts.of) for target in found} & free if free else set()
    return hit - waiting_shards(conn, parts.no, parts.of) if hit else hit


def joinable(conn: Connection, now: datetime, besides: str | None) -> Collection[Wakeup]:
    """Return wakeups for shards that wait for a worker; see `SpreadStore.joinable`."""
    mine = (shards.c.job_no == jobs.c.no, PART)
    free = exists().where(*mine, shards.c.shard <= jobs.c.spread, ~HELD)
    statement = select(jobs.c.no, jobs.c.spread, *FOR_JOINING)
    statement = statement.where(RUNNING, PRESENT, jobs.c.spread > 0, free)
    if besides is not None:
        statement = statement.where(exists().where(*mine, shards.c.worker == besides))
    found: set[Wakeup] = set()
    for row in conn.execute(statement.order_by(jobs.c.no)).mappings().all():
        due = replace(shard_due(row), at=now)
        if due in found:
            continue
        parts = parts_of(conn, row["no"], row["spread"])
        wanted = set(parts.free() if besides is None else resting(parts, besides, now))
        if wanted and wanted & waiting_shards(conn, row["no"], row["spread"]):
            found.add(due)
    return found
