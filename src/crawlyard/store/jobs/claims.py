"""Claims: pick the first job in the queue for a worker and lease it."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Connection, RowMapping, Select, bindparam, select

from crawlyard.core.jobs.checkpoint import Asker, Claim, Lease
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.db.raw_sqlite import one_row
from crawlyard.store.jobs.claim_candidates import ClaimKind, asked_by, first_of_others, on_offer
from crawlyard.store.jobs.job_rows import change, locked, standing
from crawlyard.store.jobs.lease_rules import leased
from crawlyard.store.jobs.quotas import ANY_LIMITED, users_held_back
from crawlyard.store.jobs.spread import begin
from crawlyard.store.jobs.wakeups import ANY_RIPE, ripen
from crawlyard.store.tables.jobs import CLAIM_ORDER, PENDING, READY, jobs


class ClaimAgain(Enum):
    """The result of a claim that hasn't looked at all due jobs yet: the caller claims again."""

    AGAIN = auto()


def claim(
    conn: Connection, asker: Asker, now: datetime, until: datetime, *, last: bool = False
) -> Claim | ClaimAgain | None:
    """Lease the first job in the queue for *asker* until *until*.

    Each call marks one portion of the due jobs. As long as *asker* can take none of them and the
    same level may hold more due jobs, nothing is leased, so that others can write before the
    next call. The *last* call leases what it finds.
    """
    # Two workers never win the same job: SQLite has one writer at a time, and Postgres
    # skips the rows that another claim has locked. The lock of the quotas is taken first, as
    # in `preempt`, which waits for rows: this lock order avoids deadlocks.
    seen = one_row(conn, FIRST_LOOK, {"now": now})
    out = users_held_back(conn, now) if seen.limited else []
    kind, given = asked_by(conn, asker, now, out)
    left = ripen(conn, now) if seen.ripe and not kind.only else None
    past = kind.out and not kind.only
    row = _past(conn, kind, given) if past else _head(conn, kind, given)
    if left is not None and not last and (row is None or row["level"] < left.rank):
        return ClaimAgain.AGAIN
    return None if row is None else take(conn, row, asker, now, until)


# EXISTS would drop the ORDER BY and take 25 ms on Postgres with 100,000 jobs due tomorrow.
FIRST_LOOK = select(ANY_LIMITED.exists().label("limited"), ANY_RIPE.scalar_subquery().label("ripe"))
"""The first query of a claim: are there quotas to check, and jobs to mark as due?"""


def _head(conn: Connection, kind: ClaimKind, given: Mapping[str, object]) -> RowMapping | None:
    return conn.execute(_line(kind), given).mappings().first()


def _past(conn: Connection, kind: ClaimKind, given: Mapping[str, object]) -> RowMapping | None:
    while (no := first_of_others(conn, kind, given)) is not None:
        row = conn.execute(_still(kind), {**given, "no": no}).mappings().first()
        if row is not None:
            return row
        # the transaction that had locked the row has changed it
    return None


@cache
def _line(kind: ClaimKind) -> Select[Any]:
    # cached for each kind: building the query took a third of the time of a claim
    marked = PENDING if kind.only else READY
    return locked(standing(marked, *on_offer(kind)).order_by(*CLAIM_ORDER).limit(1), skip=True)


@cache
def _still(kind: ClaimKind) -> Select[Any]:
    return locked(standing(jobs.c.no == bindparam("no", type_=BigInteger), *on_offer(kind)))


def take(conn: Connection, row: RowMapping, asker: Asker, now: datetime, until: datetime) -> Claim:
    """Lease the job of *row*, which is locked, to *asker* until *until*."""
    waiting, no = job_of(row), row["no"]
    part = begin(conn, row, waiting, asker, now, until)
    if part is not None:
        return part
    job, event = waiting.moved(Move.CLAIM, now, actor=f"worker:{asker.worker}")
    shard = leased(shard_of(row), asker.worker, until)
    change(conn, job, event, before=waiting, shard=(no, shard))
    lease = Lease(
        job_id=job.id,
        job_no=no,
        worker=asker.worker,
        attempt=shard.attempt,
        seq=shard.seq,
        version=job.version,
    )
    return Claim(lease=lease, job=job, shard=shard)
