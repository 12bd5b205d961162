"""Spread store: workers claim, join, leave and lose the shards of running jobs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias, TypeVar

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Row, RowMapping, exists, func, or_, select

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.attempts import AttemptEnd, Decide
from crawlyard.core.jobs.checkpoint import Asker, Claim, Lease
from crawlyard.core.jobs.job import Job, Shard
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.limits import breach
from crawlyard.core.jobs.queue import can_run
from crawlyard.core.jobs.spec import Spread
from crawlyard.core.jobs.spread import Extent, shards_for, starts_of
from crawlyard.core.parse import hosts_in
from crawlyard.errors import Conflict
from crawlyard.store.codec.jobs import job_of, parse_needs
from crawlyard.store.crawl.frontier import requeue
from crawlyard.store.crawl.journal import number_lines
from crawlyard.store.db.database import Database, StorePart, reads, writes
from crawlyard.store.jobs.job_rows import change, no_of
from crawlyard.store.jobs.queue_position import POSITION, find_spent_parts, runnable
from crawlyard.store.jobs.shard_rules import (
    Parts,
    after_loss,
    cut,
    fence,
    fence_part,
    is_current,
    lease_shard,
    release_part,
    takeable,
    to_ask_for,
)
from crawlyard.store.jobs.shards import (
    IS_PART,
    announce_free_shards,
    assign_buckets,
    count_free_shards,
    find_waiting_buckets,
    find_waiting_shards,
    has_waiting,
    lock_parts,
    measure_extent,
    order_release,
    read_parts,
    shards_of_buckets,
    store_shard_count,
    write_parts,
)
from crawlyard.store.tables.jobs import (
    CLAIM_ORDER,
    HELD,
    PRESENT,
    READY,
    RUNNING,
    UNREADY,
    jobs,
    shards,
)

T = TypeVar("T")

_JobsPage: TypeAlias = tuple[list[int], int | None]
"""Keys of jobs, and how many of them to pass over the next time, ``None`` if there are no more."""


class SpreadStore(StorePart):
    """The shards of running jobs. `LeaseStore.claim` starts a job with one of its shards.

    A running job that is spread has at least one shard with a lease. Its totals are kept
    in shard 0. The budgets of its shards plus its usage never exceed its limits.
    """

    async def join(
        self, asker: Asker, now: datetime, lease: timedelta, *, in_turn: bool
    ) -> Claim | None:
        """Lease a free shard with waiting targets of a running job; ``None`` if there is none.

        Takes the first job in the order of `core.jobs.queue.claim_key` that *asker* may take;
        with *in_turn*, only if no pending job comes before it. The owner's quota must have pages
        per day left, and each limit of the job must leave something to use. `REST` is for how
        long some free shards are left to others.
        """
        look = partial(_joinable, asker=asker, now=now, in_turn=in_turn)
        work = partial(_join, asker=asker, now=now, until=now + lease)
        return await self._first_of(look, work)

    async def request_shard(self, asker: Asker, now: datetime, free: int) -> bool:
        """Ask for shards of a running job, for a worker with *free* slots and no job to claim.

        Of the first job in the order of `core.jobs.queue.claim_key` that *asker* may take and that
        has a shard `core.jobs.spread.to_give_back`, as many as are to be: their holders are
        ordered to stop. Once they have stored what is in flight, *asker* may `join`. Return
        whether there is any. No more than *free* are on their way at a time.
        """
        look = partial(_uneven, asker=asker, now=now, free=free)
        return bool(
            await self._first_of(look, partial(_request_shard, asker=asker, now=now, free=free))
        )

    async def _first_of(
        self, look: Callable[..., _JobsPage], work: Callable[..., T | None]
    ) -> T | None:
        """Return the first result of *work* on the jobs that *look* finds."""
        # Usually there is nothing to do: find that out without blocking writers.
        if not await self._database.read_cached(_is_any_spread):
            return None
        passed: int | None = 0
        while passed is not None:
            numbers, passed = await self._database.read(partial(look, passed=passed))
            for no in numbers:
                if (result := await self._database.write(partial(work, no=no))) is not None:
                    return result
        return None

    @writes
    def leave(
        self,
        conn: Connection,
        lease: Lease,
        now: datetime,
        until: datetime,
        decide: Decide,
        *,
        further: bool,
        drained: bool = False,
    ) -> Claim | None:
        """Release a shard and its unused budget, in one transaction.

        If its worker is *drained*, any worker with a free slot may take it at once, also one that
        has other shards of the job.

        With *further*, another shard of the job that has waiting targets is leased to
        the same worker until *until*, and returned. If none is and the job runs but no shard has
        a lease any more, the job is saved as *decide* returns it. Does nothing if another
        attempt has the shard.
        """
        buckets = find_waiting_buckets(conn, lease.job_no)  # before the job is locked
        current = _lock_part(conn, lease)
        if current is None:
            return None
        row, parts = current
        _number_lines(conn, row)
        if parts.shards[lease.shard].worker is None:
            write_parts(conn, parts)
            return None  # released by its last batch already: the job may run again by now
        # if it yields, the slot belongs to an urgent job, or the shard to another worker
        # of no worker in particular, unless one has asked for it
        yields, urgent = (
            parts.shards[lease.shard].yields,
            parts.shards[lease.shard].asked_by is None,
        )
        parts.set(
            lease.shard,
            release_part(parts.shards[lease.shard], None if drained and urgent else now),
        )
        claim: Claim | None = None
        if State(row["state"]) is State.RUNNING:
            job = job_of(row)
            if further and not yields and breach(job.limits, parts.total.usage) is None:
                number = _first(parts.free(), shards_of_buckets(buckets, parts.count))
                if number is not None:
                    claim = lease_shard(parts, number, job, lease.worker, until)
            if claim is None and not any(parts.iterate_leased()):
                _end(conn, job, parts, decide, yields=yields and urgent)
        write_parts(conn, parts)
        _announce_if_freed(conn, row, parts, [lease.shard], buckets)
        return claim

    @writes
    def lose(
        self,
        conn: Connection,
        lease: Lease,
        now: datetime,
        decide: Callable[[Job], tuple[Job, Event]],
    ) -> Job | None:
        """Take a shard from its holder, whose process it killed: see `LeaseStore.take_back`.

        Return the job if it was saved as *decide* returns it, because this was its last leased
        shard or the shard has killed too many workers; otherwise ``None``.
        """
        is_held = (shards.c.attempt == lease.attempt, shards.c.worker == lease.worker)
        mine = (shards.c.shard == lease.shard, *is_held)
        return _take(conn, lease.job_no, mine, now, decide)[1]

    async def free(self) -> int:
        """Return the number of shards of running jobs that wait for a worker."""
        if not await self._database.read_cached(_is_any_spread):
            return 0
        return await self._database.read(count_free_shards)

    @reads
    def shards(self, conn: Connection, job_id: str) -> Mapping[int, Shard]:
        """Return the shards of a job by number, none if it isn't spread or doesn't exist."""
        no = conn.scalar(no_of(job_id))
        if no is None:
            return {}
        of = conn.scalar(select(jobs.c.spread).where(jobs.c.no == no)) or 0
        return dict(read_parts(conn, no, of).in_use())


def is_to_cut(row: Mapping[str, Any] | RowMapping, job: Job) -> bool:
    """Return whether a pending job has shards, or may get some as it is claimed."""
    spread = job.spec.spread
    return bool(row["spread"] or isinstance(spread, Spread) or spread > 1)


def begin(
    conn: Connection,
    row: Mapping[str, Any] | RowMapping,
    job: Job,
    asker: Asker,
    now: datetime,
    until: datetime,
    lock: Callable[[], None] | None,
) -> Claim | Shard:
    """Claim a pending *job* that `is_to_cut`, by leasing one of its shards.

    *row* is the row of the job, which has no leased shards and is either locked or locked by
    *lock*, which is called once all but the job is written. If one worker runs the whole job, or a
    limit leaves nothing to use, return the totals, with which the caller saves it.
    """
    parts = read_parts(conn, row["no"], row["spread"])
    parts.in_turn = bool(row["in_turn"]) or not parts.shards
    if parts.count:
        parts.add_up()
    for number, shard in parts.iterate_leased():
        parts.set(number, fence_part(shard, now))
    cut(parts, _shard_count(conn, row["no"], job, parts), now)
    parts.rebase()
    claim = _claim_shard(conn, row, job, parts, asker, now, until, lock) if parts.count else None
    if claim is not None:
        return claim
    if lock is not None:
        lock()
    parts.count = 0
    write_parts(conn, parts)
    if (0, parts.in_turn) != (row["spread"], bool(row["in_turn"])):
        store_shard_count(conn, parts)
    return parts.total


def _claim_shard(
    conn: Connection,
    row: Mapping[str, Any] | RowMapping,
    job: Job,
    parts: Parts,
    asker: Asker,
    now: datetime,
    until: datetime,
    lock: Callable[[], None] | None,
) -> Claim | None:
    dealt = assign_buckets(conn, parts.job_no, starts_of(job.spec.urls) if parts.in_turn else ())
    buckets = find_waiting_buckets(conn, parts.job_no)
    number = _first(range(1, parts.count + 1), shards_of_buckets(buckets, parts.count)) or 1
    moved, event = job.apply_move(Move.CLAIM, now, actor=f"worker:{asker.worker}")
    parts.set(0, fence(parts.total))  # an expired lease on the whole job may still be stored
    claim = lease_shard(parts, number, moved, asker.worker, until)
    if claim is None:
        return None
    parts.touched.remove(0)  # written with the job
    write_parts(conn, parts)
    if lock is not None:
        lock()
    columns = {"spread": parts.count, "in_turn": int(parts.in_turn), "dealt": int(dealt)}
    change(conn, moved, event, before=job, shard=(parts.job_no, parts.total), cut=columns)
    announce_free_shards(conn, row, parts, buckets=buckets)
    return claim


def _shard_count(conn: Connection, no: int, job: Job, parts: Parts) -> int:
    spread = job.spec.spread
    if not isinstance(spread, Spread):
        return shards_for(
            spread, Extent(hosts=0, waiting=0)
        )  # counting a large frontier takes long
    hosts = hosts_in(job.spec.urls)
    return shards_for(spread, measure_extent(conn, no, hosts, parts.total.pulse.rate))


def _announce_if_freed(
    conn: Connection,
    row: Mapping[str, Any] | RowMapping,
    parts: Parts,
    numbers: Collection[int],
    buckets: Collection[int] | None = None,
) -> None:
    """Add a wakeup for shards that were released or taken back, if the job goes on."""
    if State(row["state"]) is State.RUNNING and any(parts.iterate_leased()):
        announce_free_shards(conn, row, parts, numbers, buckets)


def _end(conn: Connection, job: Job, parts: Parts, decide: Decide, *, yields: bool) -> None:
    """Save a job whose last shard was released, as *decide* returns it."""
    waiting, usage = has_waiting(conn, parts.job_no), parts.total.usage
    verdict = decide(AttemptEnd(job=job, usage=usage, waiting=waiting, yields=yields))
    if verdict.again:
        requeue(conn, parts, verdict.again)
    write_parts(conn, parts)
    change(conn, verdict.job, *verdict.events, before=job)


def settle_part(
    conn: Connection,
    lease: Lease,
    job: Job,
    events: Sequence[Event],
    again: Collection[ErrorKind],
) -> None:
    """Save the job of a shard and release the shard; see `LeaseStore.settle`."""
    current = _lock_part(conn, lease)
    if current is None:
        raise Conflict(f"the lease of {lease.worker} on job {lease.job_id} is no longer good")
    row, parts = current
    _number_lines(conn, row)
    parts.set(lease.shard, release_part(parts.shards[lease.shard], None))
    if again:
        requeue(conn, parts, again)
    write_parts(conn, parts)
    change(conn, job, *events)
    _announce_if_freed(conn, {**row, "state": job.state}, parts, [lease.shard])


def free_part(conn: Connection, lease: Lease) -> None:
    """Release the lease of a shard, unless another attempt has it."""
    current = _lock_part(conn, lease)
    if current is not None and current[1].shards[lease.shard].worker is not None:
        row, parts = current
        _number_lines(conn, row)
        parts.set(lease.shard, release_part(parts.shards[lease.shard], None))
        write_parts(conn, parts)
        _announce_if_freed(conn, row, parts, [lease.shard])


def _number_lines(conn: Connection, row: Mapping[str, Any] | RowMapping) -> None:
    if row["unnumbered"]:
        number_lines(conn, row["no"])


def _lock_part(conn: Connection, lease: Lease) -> tuple[RowMapping, Parts] | None:
    """Return the job row and shards of a lease, locked; ``None`` if another attempt has its shard.

    Also ``None`` if the job is gone.
    """
    locked_job = lock_parts(conn, lease.job_no)
    if locked_job is None:
        return None
    mine = locked_job[1].shards.get(lease.shard)
    is_mine = mine is not None and is_current(lease, mine.attempt, mine.worker)
    return locked_job if is_mine else None


async def take_parts_back(
    database: Database,
    now: datetime,
    dead: Collection[str],
    decide: Callable[[Job], tuple[Job, Event]],
    took: Callable[[int], object],
) -> list[Job]:
    """Take back the shards of lost workers; return the jobs that were saved as *decide* says."""
    lapsed = (IS_PART, HELD, or_(shards.c.lease_until <= now, shards.c.worker.in_(sorted(dead))))
    statement = select(shards.c.job_no).where(*lapsed)
    # deduplicated here: with DISTINCT, SQLite reads the shards of all jobs
    jobs_hit = await database.read(lambda conn: sorted(set(conn.scalars(statement))))
    taken_back = []
    for no in jobs_hit:
        work = partial(_take, no=no, lapsed=lapsed, now=now, decide=decide)
        leases, job = await database.write(work)
        took(leases)
        if job is not None:
            taken_back.append(job)
    return taken_back


def _take(
    conn: Connection,
    no: int,
    lapsed: Sequence[ColumnElement[bool]],
    now: datetime,
    decide: Callable[[Job], tuple[Job, Event]],
) -> tuple[int, Job | None]:
    locked_job = lock_parts(conn, no)
    if locked_job is None:
        return 0, None
    row, parts = locked_job
    _number_lines(conn, row)
    numbers = list(conn.scalars(select(shards.c.shard).where(shards.c.job_no == no, *lapsed)))
    for number in numbers:
        parts.set(number, fence_part(parts.shards[number], now))
    after: tuple[Job, Event] | None = None
    if numbers and State(row["state"]) is State.RUNNING:
        job = job_of(row)
        after = after_loss(parts, sorted(numbers), job, decide)
        if after is not None:
            write_parts(conn, parts)
            change(conn, *after, before=job)
    write_parts(conn, parts)
    if after is None:
        _announce_if_freed(conn, row, parts, numbers)
    return len(numbers), None if after is None else after[0]


JOBS_AT_ONCE = 20
"""Number of running jobs with a free shard that one statement reads: usually the first fits."""

_ANY_SPREAD = select(jobs.c.no).where(RUNNING, PRESENT, jobs.c.spread > 0).limit(1)


def _is_any_spread(conn: Connection) -> bool:
    return conn.scalar(_ANY_SPREAD) is not None


def _joinable(
    conn: Connection, asker: Asker, now: datetime, *, in_turn: bool, passed: int
) -> _JobsPage:
    """Return the running jobs with a free shard that *asker* may take, in claim order."""
    rows = _running(conn, asker, exists().where(*_ITS_PARTS, ~HELD), passed)
    head = _head(conn, asker, now) if rows and in_turn else None
    before = [row for row in rows if head is None or _key(row) < head]

    def first(parts: Parts, waiting: Collection[int]) -> int | None:
        return _first(takeable(parts, asker.worker, now), waiting)

    return _filter_allowed(conn, before, asker, now, first), _next(passed, before)


def _uneven(conn: Connection, asker: Asker, now: datetime, *, free: int, passed: int) -> _JobsPage:
    """Return the running jobs with a shard that its holder should give back for *asker*."""
    if _count_coming(conn, asker) >= free:
        return [], None
    several = select(shards.c.worker).where(*_ITS_PARTS, HELD, shards.c.freed_at.is_(None))
    several = several.group_by(shards.c.worker).having(func.count() > 1)
    rows = _running(conn, asker, several.exists(), passed)

    def first(parts: Parts, waiting: Collection[int]) -> int | None:
        return to_ask_for(parts, asker.worker, waiting)

    return _filter_allowed(conn, rows, asker, now, first), _next(passed, rows)


_ITS_PARTS = (shards.c.job_no == jobs.c.no, IS_PART, shards.c.shard <= jobs.c.spread)


def _running(
    conn: Connection, asker: Asker, which: ColumnElement[bool], passed: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return `JOBS_AT_ONCE` running jobs that are spread, in claim order, after *passed* others.

    Their tags are not considered.
    """
    mine = jobs.c.level >= asker.least.rank if asker.only is None else jobs.c.id == asker.only
    statement = (
        select(jobs.c.no, jobs.c.owner, jobs.c.needs, jobs.c.spread, *POSITION)
        .where(RUNNING, PRESENT, jobs.c.spread > 0, which, mine)
        .order_by(*CLAIM_ORDER)
        .limit(JOBS_AT_ONCE)
        .offset(passed)
    )
    return conn.execute(statement).all()


def _next(passed: int, rows: Sequence[Row[*tuple[Any, ...]]]) -> int | None:
    return passed + JOBS_AT_ONCE if len(rows) == JOBS_AT_ONCE else None


def _filter_allowed(
    conn: Connection,
    rows: Sequence[Row[*tuple[Any, ...]]],
    asker: Asker,
    now: datetime,
    first: Callable[[Parts, Collection[int]], int | None],
) -> list[int]:
    """Return the jobs of *rows* of which *first* finds a shard, among those that *asker* may take.

    Their owners' quotas must allow it.
    """
    able = [row for row in rows if asker.only or can_run(asker.tags, parse_needs(row.needs))]
    spent = find_spent_parts(conn, now) if able else {}
    return [
        row.no
        for row in able
        if row.owner not in spent
        and first(
            read_parts(conn, row.no, row.spread), find_waiting_shards(conn, row.no, row.spread)
        )
        is not None
    ]


def _key(row: Row[*tuple[Any, ...]]) -> tuple[int, int, datetime, str]:
    return (-row.level, row.turn, row.queued_at, row.id)


def _head(conn: Connection, asker: Asker, now: datetime) -> tuple[int, int, datetime, str] | None:
    """Return the queue position of the first job that *asker* could claim instead."""
    mine = runnable(conn, asker.tags) if asker.only is None else jobs.c.id == asker.only
    due = select(*POSITION).where(PRESENT, jobs.c.due_at <= now, mine)
    # READY and UNREADY each have an index; due jobs not marked yet are seldom more than one row
    firsts = (due.where(marked).order_by(*CLAIM_ORDER).limit(1) for marked in (READY, UNREADY))
    rows = [row for first in firsts if (row := conn.execute(first).first()) is not None]
    return min(map(_key, rows), default=None)


def _count_coming(conn: Connection, asker: Asker) -> int:
    """Return the number of shards that are being given back for *asker*."""
    coming = select(func.count()).where(HELD, shards.c.asked_by == asker.worker)
    return conn.scalar(coming) or 0


def _request_shard(
    conn: Connection, no: int, asker: Asker, now: datetime, free: int
) -> bool | None:
    """Order the holders of shards to give them back for *asker*; ``None`` if there are none."""
    buckets = find_waiting_buckets(conn, no)
    most = free - _count_coming(conn, asker)
    locked_job = lock_parts(conn, no)
    if locked_job is None or State(locked_job[0]["state"]) is not State.RUNNING:
        return None
    _, parts = locked_job
    waiting, numbers = shards_of_buckets(buckets, parts.count), list[int]()
    while len(numbers) < most:
        number = to_ask_for(parts, asker.worker, waiting)
        if number is None:
            break
        parts.shards[number] = replace(parts.shards[number], freed_at=now, asked_by=asker.worker)
        numbers.append(number)
    order_release(conn, parts, numbers)
    return bool(numbers) or None


def _join(conn: Connection, no: int, asker: Asker, now: datetime, until: datetime) -> Claim | None:
    buckets = find_waiting_buckets(conn, no)  # before the job is locked, as others wait for that
    locked_job = lock_parts(conn, no)
    if locked_job is None or State(locked_job[0]["state"]) is not State.RUNNING:
        return None
    row, parts = locked_job
    number = _first(takeable(parts, asker.worker, now), shards_of_buckets(buckets, parts.count))
    claim = None if number is None else lease_shard(parts, number, job_of(row), asker.worker, until)
    if claim is not None:
        write_parts(conn, parts)
        # wake another worker: this one takes no second shard yet
        announce_free_shards(conn, row, parts, buckets=buckets)
    return claim


def _first(numbers: Sequence[int], waiting: Collection[int]) -> int | None:
    return next((n for n in numbers if n in waiting), None)
