"""The claim: which job is first in line for a worker, and how it is leased."""

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
    """What a claim says that has not looked at all that is due: it is to be made again."""

    AGAIN = auto()


def claim(
    conn: Connection, asker: Asker, now: datetime, until: datetime, *, last: bool = False
) -> Claim | ClaimAgain | None:
    """Lease the job that is first in line for *asker* until that instant.

    Each call marks a portion of what is due: while that has nothing for *asker*, and more
    is due in that level, nothing is leased, and others may write before the next call. The
    *last* leases what there is.
    """
    # Two workers never win the same job: SQLite has one writer at a time, Postgres
    # skips the rows that another claim has locked. The lock of the quotas comes first, as
    # in `preempt`, which waits for rows: nobody waits in a circle.
    seen = one_row(conn, FIRST_LOOK, {"now": now})
    out = users_held_back(conn, now) if seen.limited else []
    kind, given = asked_by(conn, asker, now, out)
    left = ripen(conn, now) if seen.ripe and not kind.only else None
    past = kind.out and not kind.only
    row = _past(conn, kind, given) if past else _head(conn, kind, given)
    if left is not None and not last and (row is None or row["level"] < left):
        return ClaimAgain.AGAIN
    return None if row is None else take(conn, row, asker, now, until)


# EXISTS would drop the order, and with 100,000 jobs of tomorrow take 25 ms on Postgres
FIRST_LOOK = select(ANY_LIMITED.exists().label("limited"), ANY_RIPE.scalar_subquery().label("ripe"))
"""What a claim asks first: whether there are quotas to look at, and jobs to mark as due."""


def _head(conn: Connection, kind: ClaimKind, given: Mapping[str, object]) -> RowMapping | None:
    return conn.execute(_line(kind), given).mappings().first()


def _past(conn: Connection, kind: ClaimKind, given: Mapping[str, object]) -> RowMapping | None:
    while (no := first_of_others(conn, kind, given)) is not None:
        row = conn.execute(_still(kind), {**given, "no": no}).mappings().first()
        if row is not None:
            return row
        # whoever had it locked has changed it
    return None


@cache
def _line(kind: ClaimKind) -> Select[Any]:
    # each kind is made once: making it took a third of the time of a claim
    marked = PENDING if kind.only else READY
    return locked(standing(marked, *on_offer(kind)).order_by(*CLAIM_ORDER).limit(1), skip=True)


@cache
def _still(kind: ClaimKind) -> Select[Any]:
    return locked(standing(jobs.c.no == bindparam("no", type_=BigInteger), *on_offer(kind)))


def take(conn: Connection, row: RowMapping, asker: Asker, now: datetime, until: datetime) -> Claim:
    """Lease the job of *row*, which is locked, to *asker* until that instant."""
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
