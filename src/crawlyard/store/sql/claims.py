"""The claim: which job is first in line for a worker, and how it is leased."""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    String,
    bindparam,
    literal_column,
    or_,
)

from crawlyard.core.checkpoint import Asker, Claim, Lease
from crawlyard.core.lifecycle import Move
from crawlyard.core.priority import Priority
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.leasing import leased
from crawlyard.store.sql.line import UNNEEDY, met
from crawlyard.store.sql.quotas import users_held_back
from crawlyard.store.sql.ripening import ripen
from crawlyard.store.sql.shards import untouched
from crawlyard.store.sql.spread import begin
from crawlyard.store.sql.standing import change, locked, set_shard, standing
from crawlyard.store.tables.base import CleanText, Instant
from crawlyard.store.tables.jobs import CLAIM_ORDER, HELD, PENDING, PRESENT, READY, jobs, shards


class Kind(NamedTuple):
    """Which conditions a claim has; what they compare with is given to the query."""

    only: bool  # one job alone
    least: Priority
    needs: bool  # there are jobs that need tags which the worker has
    out: bool  # there are users whose quota is used up


def claim(conn: Connection, asker: Asker, now: datetime, until: datetime) -> Claim | None:
    """Lease the job that is first in line for *asker* until that instant."""
    # Two workers never win the same job: SQLite has one writer at a time, Postgres
    # skips the rows that another claim has locked. The lock of the quotas comes first, as
    # in `preempt`, which waits for rows: nobody waits in a circle.
    out = users_held_back(conn, now)
    ripen(conn, now)
    kind, given = asked_by(conn, asker, now, out)
    row = conn.execute(_first(kind), given).mappings().first()
    return None if row is None else take(conn, row, asker, now, until)


def asked_by(
    conn: Connection, asker: Asker, now: datetime, out: Collection[str]
) -> tuple[Kind, Mapping[str, object]]:
    """Return which conditions *asker* makes, owners in *out* passed over, and their values."""
    needs = met(conn, asker.tags)
    kind = Kind(asker.only is not None, asker.least, bool(needs), bool(out))
    return kind, {"now": now, "only": asker.only, "needs": needs, "out": list(out)}


def on_offer(kind: Kind) -> list[ColumnElement[bool]]:
    """Return the conditions that a job may be claimed, as `core.queue.takes` says."""
    now = bindparam("now", type_=Instant)
    free = or_(~HELD, shards.c.lease_until <= now)
    asked = [PENDING, PRESENT, jobs.c.due_at <= now, free, untouched(now)]
    if kind.out:
        asked.append(jobs.c.owner.not_in(bindparam("out", type_=CleanText, expanding=True)))
    if kind.only:
        return [*asked, jobs.c.id == bindparam("only", type_=String)]
    if kind.least > Priority.LOW:
        asked.append(jobs.c.level >= literal_column(str(int(kind.least))))
    if kind.needs:
        had = jobs.c.needs.in_(bindparam("needs", type_=CleanText, expanding=True))
        return [*asked, or_(UNNEEDY, had)]
    return [*asked, UNNEEDY]


@cache
def _first(kind: Kind) -> Select[Any]:
    # each kind is made once: making it took a third of the time of a claim
    return locked(standing(READY, *on_offer(kind)).order_by(*CLAIM_ORDER).limit(1), skip=True)


def take(conn: Connection, row: RowMapping, asker: Asker, now: datetime, until: datetime) -> Claim:
    """Lease the job of *row*, which is locked, to *asker* until that instant."""
    waiting, no = job_of(row), row["no"]
    part = begin(conn, row, waiting, asker, now, until)
    if part is not None:
        return part
    job, event = waiting.moved(Move.CLAIM, now, actor=f"worker:{asker.worker}")
    shard = leased(shard_of(row), asker.worker, until)
    set_shard(conn, no, shard)
    change(conn, job, event, before=waiting)
    lease = Lease(
        job_id=job.id,
        job_no=no,
        worker=asker.worker,
        attempt=shard.attempt,
        seq=shard.seq,
        version=job.version,
    )
    return Claim(lease=lease, job=job, shard=shard)
