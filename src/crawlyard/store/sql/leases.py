"""`LeaseStore` on SQL."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, Connection, func, or_, select

from crawlyard.core.checkpoint import Asker, Claim, Lease, Order, Shard
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.page import ErrorKind
from crawlyard.errors import Conflict
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.leasing import freed, order_of
from crawlyard.store.sql.claims import claim
from crawlyard.store.sql.database import Database
from crawlyard.store.sql.reopen import reopen
from crawlyard.store.sql.shards import others_hold
from crawlyard.store.sql.spread import free_part, settle_part, take_parts_back
from crawlyard.store.sql.standing import STANDING, change, locked, set_shard, standing
from crawlyard.store.tables.jobs import HELD, PRESENT, RUNNING, jobs, shards

FORGOTTEN = RUNNING & ~HELD & ~others_hold()
"""A job that runs under nobody's lease: its holder let go too early, and nothing would lapse."""


@dataclass(frozen=True, slots=True)
class SqlLeases:
    """`LeaseStore` on a database."""

    _database: Database

    async def claim(self, asker: Asker, now: datetime, lease: timedelta) -> Claim | None:
        return await self._database.write(partial(claim, asker=asker, now=now, until=now + lease))

    async def orders(self, leases: Sequence[Lease]) -> list[Order]:
        return await self._database.read(partial(_orders, leases=leases)) if leases else []

    async def settle(
        self, lease: Lease, job: Job, *events: Event, again: Collection[ErrorKind] = ()
    ) -> None:
        work = partial(_settle, lease=lease, job=job, events=events, again=again)
        await self._database.write(work)

    async def free(self, lease: Lease) -> None:
        await self._database.write(partial(_free, lease=lease))

    async def take_back(
        self,
        now: datetime,
        dead: Collection[str],
        decide: Callable[[Job], tuple[Job, Event]],
    ) -> list[Job]:
        lapsed = HELD & or_(shards.c.lease_until <= now, shards.c.worker.in_(sorted(dead)))
        found = await self._database.read(partial(_takeable, lapsed=lapsed))
        taken: list[Job] = []
        for no in found:
            still = (jobs.c.no == no, or_(lapsed, FORGOTTEN))
            job = await self._database.write(partial(_take, still=still, decide=decide))
            if job is not None:
                taken.append(job)
        return taken + await take_parts_back(self._database, now, dead, decide)

    async def holders(self) -> Mapping[str, int]:
        return await self._database.read(_holders)


def _orders(conn: Connection, leases: Sequence[Lease]) -> list[Order]:
    # few columns: this is asked four times a second
    statement = (
        select(jobs.c.no, jobs.c.state, jobs.c.version, shards.c.shard, shards.c.attempt)
        .select_from(jobs.join(shards, shards.c.job_no == jobs.c.no))
        .where(PRESENT, jobs.c.no.in_([lease.job_no for lease in leases]))
    )
    found = {(row.no, row.shard): row for row in conn.execute(statement)}
    told = ((lease, found.get((lease.job_no, lease.shard))) for lease in leases)
    return [
        Order.LOST if r is None else order_of(lease, r.attempt, State(r.state), r.version)
        for lease, r in told
    ]


def _settle(
    conn: Connection,
    lease: Lease,
    job: Job,
    events: Sequence[Event],
    again: Collection[ErrorKind],
) -> None:
    if lease.shard:
        settle_part(conn, lease, job, events, again)
        return
    shard = _mine(conn, lease)
    if shard is None:
        raise Conflict(f"the lease of {lease.worker} on job {lease.job_id} is no longer good")
    if again:
        shard, _ = reopen(conn, lease.job_no, shard, again)
    set_shard(conn, lease.job_no, freed(shard))
    change(conn, job, *events)


def _free(conn: Connection, lease: Lease) -> None:
    if lease.shard:
        free_part(conn, lease)
        return
    shard = _mine(conn, lease)
    if shard is not None:
        set_shard(conn, lease.job_no, freed(shard))


def _mine(conn: Connection, lease: Lease) -> Shard | None:
    """Return the shard of a leased job, locked; ``None`` if another attempt has it."""
    mine = standing(jobs.c.no == lease.job_no, shards.c.attempt == lease.attempt)
    row = conn.execute(locked(mine)).mappings().first()
    return None if row is None else shard_of(row)


def _takeable(conn: Connection, lapsed: ColumnElement[bool]) -> list[int]:
    # two queries, as each has an index of few rows and their OR has none
    held = select(shards.c.job_no).where(lapsed, shards.c.shard == 0)
    forgotten = select(jobs.c.no).select_from(STANDING).where(PRESENT, FORGOTTEN)
    return sorted(conn.scalars(held.union(forgotten)))


def _take(
    conn: Connection,
    still: Sequence[ColumnElement[bool]],
    decide: Callable[[Job], tuple[Job, Event]],
) -> Job | None:
    row = conn.execute(locked(standing(*still), skip=True)).mappings().first()
    if row is None:
        return None  # somebody else has it, or it has come back to life
    set_shard(conn, row["no"], freed(shard_of(row)))
    if State(row["state"]) is not State.RUNNING:
        return None
    before = job_of(row)
    job, event = decide(before)
    change(conn, job, event, before=before)
    return job


def _holders(conn: Connection) -> Mapping[str, int]:
    statement = (
        select(shards.c.worker, func.count().label("jobs")).where(HELD).group_by(shards.c.worker)
    )
    return {row.worker: row.jobs for row in conn.execute(statement)}
