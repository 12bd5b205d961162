"""Lease store: claim jobs, and settle, release and reclaim their leases."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    func,
    or_,
    select,
)

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.checkpoint import Asker, Claim, Lease, Order
from crawlyard.core.jobs.job import Job, Shard
from crawlyard.core.jobs.lifecycle import State
from crawlyard.errors import Conflict
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.crawl.frontier import reopen
from crawlyard.store.db.database import Database, StorePart, writes
from crawlyard.store.jobs.claims import (
    Changed,
    ClaimAgain,
    Uncut,
    claim,
    claim_cut,
    next_due,
)
from crawlyard.store.jobs.job_rows import change, lock_rows, set_shard, settle_pages, standing
from crawlyard.store.jobs.shard_rules import is_current, order_of, release
from crawlyard.store.jobs.shards import has_leased_parts
from crawlyard.store.jobs.spread import free_part, settle_part, take_parts_back
from crawlyard.store.tables.jobs import HELD, PRESENT, RUNNING, STANDING, jobs, shards

_CLAIM_ATTEMPTS = 20
"""Number of portions of due jobs that one claim searches for a job that it may take.

The lease starts before the first portion: more of them would use it up.
"""

UNLEASED = RUNNING & ~HELD & ~has_leased_parts()
"""Jobs that run without a lease: the holder released it too early, so no lease would expire."""


class LeaseStore(StorePart):
    """Leases: the worker of each job, and the end of its right to crawl it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._found_nothing = False  # the last claim of this process found nothing

    async def claim(self, asker: Asker, now: datetime, lease: timedelta) -> Claim | None:
        # An idle worker claims every second: it reads first, so that it doesn't block writers.
        """Lease the first due job with no valid lease that *asker* may take, ``None`` if none is.

        `core.jobs.queue.claim_key` defines the order, `core.jobs.queue.takes` which jobs *asker*
        may take. Two callers never get the same job. Jobs of users whose quota is used up are
        skipped, as decided by `core.access.user.held_back`.
        """
        if self._found_nothing:
            marked, first = await self._database.read_cached(next_due)
            if not marked and (first is None or first > now):
                return None
        claimed = await self._claim(asker, now, lease)
        self._found_nothing = claimed is None
        return claimed

    async def _claim(self, asker: Asker, now: datetime, lease: timedelta) -> Claim | None:
        until = now + lease
        for attempt in range(_CLAIM_ATTEMPTS + 1):
            last = attempt == _CLAIM_ATTEMPTS
            work = partial(claim, asker=asker, now=now, until=until, last=last)
            result = await self._database.write(work)
            if isinstance(result, Uncut):
                job_id = result.job_id
                cut = partial(claim_cut, job_id=job_id, asker=asker, now=now, until=until)
                try:
                    result = await self._database.write(cut)
                except Changed:
                    continue
            if not isinstance(result, ClaimAgain):
                return result
        return None

    async def orders(self, leases: Sequence[Lease]) -> list[Order]:
        """Return the order to the holder of each lease, in the given sequence; writes nothing."""
        return await self._database.read(partial(_orders, leases=leases)) if leases else []

    @writes
    def settle(
        self,
        conn: Connection,
        lease: Lease,
        job: Job,
        *events: Event,
        again: Collection[ErrorKind] = (),
    ) -> None:
        """Save the job as `JobStore.save` does and release the lease, in one transaction.

        The spec must be that of the previous version. Failed targets of the kinds *again*
        (empty: none) are requeued, as by `JobStore.retry_failed`.

        Raises:
            Conflict: another attempt has the lease, or the job has a newer version.
        """
        if lease.shard:
            settle_part(conn, lease, job, events, again)
            return
        current = _lock_shard(conn, lease)
        if current is None:
            raise Conflict(f"the lease of {lease.worker} on job {lease.job_id} is no longer good")
        state, shard = current
        if again:
            shard, _ = reopen(conn, lease.job_no, shard, again)
        # the same spec object, so that it isn't written again: that took a third of the time
        before = replace(job, state=state, version=job.version - 1)
        change(conn, job, *events, before=before, shard=(lease.job_no, release(shard)))

    @writes
    def free(self, conn: Connection, lease: Lease) -> None:
        """Release a lease; do nothing if another attempt has the job."""
        if lease.shard:
            free_part(conn, lease)
            return
        if (current := _lock_shard(conn, lease)) is not None:
            _, shard = current
            set_shard(conn, lease.job_no, release(shard))

    async def take_back(
        self,
        now: datetime,
        dead: Collection[str],
        decide: Callable[[Job], tuple[Job, Event]],
        took: Callable[[int], object] = lambda _: None,
    ) -> list[Job]:
        """Release the leases that have expired at *now* or belong to *dead* workers.

        Jobs that were running under them are saved as *decide* returns them, each in its own
        transaction with its event, and returned; jobs in other states are only
        released. Two callers never take back the same job. *took* is called with the number of
        leases released with each running job, including shards of jobs that go on.
        """
        if not await self._database.read_cached(_is_any_at_work):
            return []
        lapsed = HELD & or_(shards.c.lease_until <= now, shards.c.worker.in_(sorted(dead)))
        numbers = await self._database.read(partial(_takeable, lapsed=lapsed))
        reclaimed: list[Job] = []
        for no in numbers:
            still = (jobs.c.no == no, or_(lapsed, UNLEASED))
            job = await self._database.write(partial(_reclaim, still=still, decide=decide))
            if job is not None:
                took(1)
                reclaimed.append(job)
        return reclaimed + await take_parts_back(self._database, now, dead, decide, took)

    async def holders(self) -> Mapping[str, int]:
        """Return the number of leases that each worker holds."""
        return await self._database.read_cached(_holders)


# built once, and without the spec of the job, which may be megabytes
_MINE = lock_rows(
    select(jobs.c.state, *shards.c)
    .select_from(STANDING)
    .where(
        PRESENT,
        jobs.c.no == bindparam("its_no", type_=BigInteger),
        shards.c.attempt == bindparam("attempt", type_=Integer),
    )
)
_YIELDS = (HELD & shards.c.freed_at.is_not(None)).label("yields")


def _orders(conn: Connection, leases: Sequence[Lease]) -> list[Order]:
    # few columns: this query runs four times a second
    statement = (
        select(
            *(jobs.c.no, jobs.c.state, jobs.c.version),
            *(shards.c.shard, shards.c.attempt, shards.c.worker, _YIELDS),
        )
        .select_from(jobs.join(shards, shards.c.job_no == jobs.c.no))
        .where(PRESENT, jobs.c.no.in_([lease.job_no for lease in leases]))
    )
    rows_by_shard = {(row.no, row.shard): row for row in conn.execute(statement)}
    pairs = ((lease, rows_by_shard.get((lease.job_no, lease.shard))) for lease in leases)
    return [
        Order.LOST
        if r is None
        else order_of(lease, r.attempt, r.worker, State(r.state), r.version, yields=r.yields)
        for lease, r in pairs
    ]


def _lock_shard(conn: Connection, lease: Lease) -> tuple[State, Shard] | None:
    """Return the state and shard of a leased job, locked; ``None`` if another attempt has it."""
    parameters = {"its_no": lease.job_no, "attempt": lease.attempt}
    row = conn.execute(_MINE, parameters).mappings().first()
    if row is None or not is_current(lease, row["attempt"], row["worker"]):
        return None
    return State(row["state"]), shard_of(row)


_ANY_AT_WORK = select(
    or_(
        select(shards.c.job_no).where(HELD).exists(),
        select(jobs.c.no).where(RUNNING, PRESENT).exists(),
    )
)


def _is_any_at_work(conn: Connection) -> bool:
    return bool(conn.scalar(_ANY_AT_WORK))


def _takeable(conn: Connection, lapsed: ColumnElement[bool]) -> list[int]:
    # a union of two queries: each uses a small index, but their OR would use none
    expired = select(shards.c.job_no).where(lapsed, shards.c.shard == 0)
    forgotten = select(jobs.c.no).select_from(STANDING).where(PRESENT, UNLEASED)
    return sorted(conn.scalars(expired.union(forgotten)))


def _reclaim(
    conn: Connection,
    still: Sequence[ColumnElement[bool]],
    decide: Callable[[Job], tuple[Job, Event]],
) -> Job | None:
    query = standing(*still).add_columns(jobs.c.settled_pages)
    row = conn.execute(lock_rows(query, skip=True)).mappings().first()
    if row is None:
        return None  # another process has locked it, or its lease was renewed
    shard = release(shard_of(row))
    if State(row["state"]) is not State.RUNNING:
        set_shard(conn, row["no"], shard)
        settle_pages(conn, row["no"], row["settled_pages"], shard.usage.pages)
        return None
    before = job_of(row)
    job, event = decide(before)
    change(conn, job, event, before=before, shard=(row["no"], shard))
    return job


def _holders(conn: Connection) -> Mapping[str, int]:
    statement = (
        select(shards.c.worker, func.count().label("jobs")).where(HELD).group_by(shards.c.worker)
    )
    return {row.worker: row.jobs for row in conn.execute(statement)}
