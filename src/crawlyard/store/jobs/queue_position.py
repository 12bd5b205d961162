"""Queue positions: turns of jobs, tags that they need, and users held back by quotas."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    SmallInteger,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from crawlyard.core.access.user import (
    Quota,
    day_of,
    find_spent_part,
    find_start_hold,
    start_room,
)
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.queue import QueueEntry, can_run, turn_of_new, turn_of_returned
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.access.usage import USAGE, usage_in, used
from crawlyard.store.codec.jobs import parse_needs
from crawlyard.store.codec.records import quota_of
from crawlyard.store.db.database import StorePart, is_postgres, reads
from crawlyard.store.db.raw_sqlite import one_row
from crawlyard.store.tables.access import LIMITED, users
from crawlyard.store.tables.base import CleanText
from crawlyard.store.tables.jobs import (
    CLAIM_ORDER,
    HELD,
    NEEDY,
    PENDING,
    PRESENT,
    RUNNING,
    STANDING,
    jobs,
    shards,
)

POSITION = (jobs.c.level, jobs.c.turn, jobs.c.queued_at, jobs.c.id)
"""The columns that decide when a pending job is claimed."""

NEEDS_NO_TAGS = jobs.c.needs == literal_column("''")
"""Condition: the job needs no tags, so any worker may take it."""


class OwnerTurns:
    """Assigns turns to jobs that are new in their level, within one transaction.

    *entries* are the queue entries that the caller has already read in that transaction.
    """

    def __init__(
        self, conn: Connection, entries: Mapping[tuple[str, Priority], QueueEntry] | None = None
    ) -> None:
        self._conn = conn
        self._entries = dict(entries or {})
        self._heads = dict[Priority, int]()  # the lowest turn of returned jobs

    def next(self, owner: str, level: Priority) -> int:
        """Return the turn of the next job of *owner* in *level*."""
        entry = self._entry(owner, level)
        turn = turn_of_new(entry)
        self._entries[owner, level] = replace(entry, last=turn)
        return turn

    def assign(self, job: Job, before: State, level: int) -> Job:
        """Return *job*, about to be saved, with its turn; it was in state *before*, at *level*.

        The turn is new if the job enters a level.
        """
        stays = before is State.PENDING and level == job.level.rank
        if job.state is not State.PENDING or stays:
            return job
        if before.ended or before is State.PENDING:
            return replace(job, turn=self.next(job.owner, job.level))
        entry = self._entry(job.owner, job.level)
        turn = turn_of_returned(job.turn, entry)
        last = turn if entry.last is None else max(entry.last, turn)
        self._entries[job.owner, job.level] = replace(entry, last=last)
        self._heads[job.level] = min(turn, self._heads.get(job.level, turn))
        return replace(job, turn=turn)

    def _entry(self, owner: str, level: Priority) -> QueueEntry:
        entry = self._entries.get((owner, level)) or queue_entry(self._conn, owner, level)
        head = self._heads.get(level)
        if head is None:
            return entry
        return replace(entry, head=head if entry.head is None else min(head, entry.head))


def assign_turn(conn: Connection, job: Job) -> Job:
    """Return *job*, about to be saved, with its turn; the turn is new if the job enters a level."""
    if job.state is not State.PENDING:
        return job
    query = select(jobs.c.state, jobs.c.level).where(jobs.c.id == job.id)
    stored = conn.execute(query).first()
    if stored is None:
        return job  # saving it raises `Conflict`
    return OwnerTurns(conn).assign(job, State(stored.state), stored.level)


def queue_entry(conn: Connection, owner: str, level: Priority) -> QueueEntry:
    """Return the current turns of a level and of *owner* in it."""
    return queue_entry_of(one_row(conn, QUEUE_ENTRY, {"owner": owner, "level": level.rank}))


def queue_entry_of(row: Row[Any]) -> QueueEntry:
    """Decode a row of the query `QUEUE_ENTRY`."""
    return QueueEntry(head=row.head, served=row.served, last=row.last)


def _queue_entry_query() -> Select[Any]:
    lowest, highest = func.min(jobs.c.turn), func.max(jobs.c.turn)
    in_level = (PRESENT, jobs.c.level == bindparam("level", type_=SmallInteger))
    is_owners = jobs.c.owner == bindparam("owner", type_=CleanText)
    head = select(lowest).where(PENDING, *in_level).scalar_subquery()
    served = select(highest).where(RUNNING, *in_level).scalar_subquery()
    last = select(highest).where(PENDING, *in_level, is_owners).scalar_subquery()
    return select(head.label("head"), served.label("served"), last.label("last"))


QUEUE_ENTRY = _queue_entry_query()
"""Query for the current turns of a *level*, and of the jobs of *owner* in it."""


def runnable(conn: Connection, tags: frozenset[str]) -> ColumnElement[bool]:
    """Return the condition that a worker with *tags* has all tags that a job needs."""
    needs = find_met_needs(conn, tags)
    return or_(NEEDS_NO_TAGS, jobs.c.needs.in_(needs)) if needs else NEEDS_NO_TAGS


def find_met_needs(conn: Connection, tags: frozenset[str]) -> list[str]:
    """Return the needs of pending jobs that a worker with *tags* meets, as stored in their rows."""
    if not tags:
        return []
    return [needs for needs in conn.scalars(_DISTINCT_NEEDS) if can_run(tags, parse_needs(needs))]


def _distinct_needs_query() -> Select[Any]:
    """Return a query for the distinct sets of tags that pending jobs need.

    A recursive query hops from set to set in their index: each set is read once, however many
    jobs have it.
    """
    other = jobs.alias("other")
    is_pending = other.c.state == literal_column("'pending'")
    has_needs = other.c.needs != literal_column("''")
    first_set = select(func.min(jobs.c.needs)).where(NEEDY)
    sets = first_set.cte("needed", recursive=True)
    (needs,) = sets.c
    next_set = select(func.min(other.c.needs)).where(is_pending, has_needs, other.c.needs > needs)
    sets = sets.union_all(select(next_set.scalar_subquery()).where(needs.is_not(None)))
    (needs,) = sets.c
    return select(needs).where(needs.is_not(None))


_DISTINCT_NEEDS = _distinct_needs_query()


# --- quotas

ANY_LIMITED = select(users.c.id).where(LIMITED).limit(1)
"""Query for a user with a quota that claims must check."""


def read_limited_quotas(conn: Connection) -> Mapping[str, Quota]:
    """Return the quotas that claims must check, by user."""
    rows = conn.execute(select(users.c.id, users.c.quota).where(LIMITED)).mappings()
    return {row["id"]: quota_of(row) for row in rows}


def may_start(conn: Connection, owner: str, now: datetime) -> bool:
    """Return whether the quota of *owner* lets a job start; true until the transaction ends.

    The caller has locked the job. Only claims for the same user wait for each other.
    """
    if not is_postgres(conn):  # there is one writer: what it read before is still true
        return True
    # Without the lock, two concurrent claims count the same running jobs, and both add one.
    query = select(users.c.id, users.c.quota).where(users.c.id == owner)
    rows = conn.execute(query.with_for_update(key_share=True)).mappings()
    return not find_start_holds(conn, now, {row["id"]: quota_of(row) for row in rows})


def find_start_holds(
    conn: Connection, now: datetime, quotas: Mapping[str, Quota]
) -> Mapping[str, str]:
    """Return, by user, the part of their quota that keeps their jobs from starting."""
    parts = {}
    for user_id, (running, today) in _find_use(conn, now, quotas).items():
        if (part := find_start_hold(quotas[user_id], running, today)) is not None:
            parts[user_id] = part
    return parts


def find_start_room(conn: Connection, now: datetime) -> Mapping[str, int | None]:
    """Return how many more jobs may start now, by user with a quota; ``None``: any number."""
    quotas = read_limited_quotas(conn)
    use = _find_use(conn, now, quotas)
    return {user_id: start_room(quota, *use[user_id]) for user_id, quota in quotas.items()}


def _find_use(
    conn: Connection, now: datetime, quotas: Mapping[str, Quota]
) -> Mapping[str, tuple[int, Usage]]:
    """Return the number of running jobs and the usage of the day of each user in *quotas*."""
    if not quotas:
        return {}
    # not only those in *quotas*: with such a condition, SQLite reads all jobs that they ever had
    owners = select(jobs.c.owner).where(RUNNING, PRESENT)
    usage_query = select(used.c.owner, *USAGE).where(
        used.c.day == day_of(now), used.c.owner.in_(sorted(quotas))
    )
    running_counts = Counter(conn.scalars(owners))
    rows = conn.execute(usage_query.group_by(used.c.owner)).mappings()
    usage_today = {row["owner"]: usage_in(row) for row in rows}
    return {
        user_id: (running_counts[user_id], usage_today.get(user_id, Usage())) for user_id in quotas
    }


def find_spent_parts(conn: Connection, now: datetime) -> Mapping[str, str]:
    """Return, by user, the part of their quota that is used up for the day."""
    query = (
        select(users.c.id, users.c.quota, *USAGE)
        .join(used, (used.c.owner == users.c.id) & (used.c.day == day_of(now)))
        .where(LIMITED)
        .group_by(users.c.id, users.c.quota)
    )
    rows = conn.execute(query).mappings()
    parts = {row["id"]: find_spent_part(quota_of(row), usage_in(row)) for row in rows}
    return {user_id: part for user_id, part in parts.items() if part is not None}


# --- places in the queue


class QueuePositions(StorePart):
    """Queries about the places of pending jobs, and about users held back by quotas."""

    @reads
    def find_front(
        self, conn: Connection, now: datetime, limit: int, skipped_owners: Collection[str] = ()
    ) -> list[str]:
        """Return the ids of the jobs that claims take next, in claim order.

        Jobs of *skipped_owners* are left out.
        """
        query = (
            select(jobs.c.id)
            .select_from(STANDING)
            .where(*_claimable(now, skipped_owners))
            .order_by(*CLAIM_ORDER)
            .limit(limit)
        )
        return list(conn.scalars(query))

    @reads
    def count_ahead(
        self,
        conn: Connection,
        job: Job,
        now: datetime,
        limit: int,
        skipped_owners: Collection[str] = (),
        *,
        new: bool = False,
    ) -> int:
        """Return how many jobs are claimed before *job*, counting up to *limit*.

        Jobs of *skipped_owners* are not counted. A *new* job is not stored yet: its position is the
        one that it would get if it were stored now.
        """
        turn = OwnerTurns(conn).next(job.owner, job.level) if new else job.turn
        jobs_ahead = (
            select(jobs.c.no)
            .select_from(STANDING)
            .where(*_claimable(now, skipped_owners), _comes_before(replace(job, turn=turn)))
            .limit(limit)
        )
        query = select(func.count()).select_from(jobs_ahead.subquery())
        return conn.scalar(query) or 0

    @reads
    def find_held_owners(self, conn: Connection, now: datetime) -> Mapping[str, str]:
        """Return, by user, the part of their quota that keeps their jobs from starting.

        Decided by `core.access.user.find_start_hold`; other users are left out.
        """
        return find_start_holds(conn, now, read_limited_quotas(conn))

    @reads
    def find_spent_owners(self, conn: Connection, now: datetime) -> Mapping[str, str]:
        """Return, by user, the part of their quota that is used up for the day.

        Decided by `core.access.user.find_spent_part`; only users who have fetched something today.
        """
        return find_spent_parts(conn, now)


def _claimable(now: datetime, skipped_owners: Collection[str]) -> list[ColumnElement[bool]]:
    is_free = or_(~HELD, shards.c.lease_until <= now)
    conditions = [PENDING, PRESENT, jobs.c.due_at <= now, is_free]
    if skipped_owners:
        conditions.append(jobs.c.owner.not_in(sorted(skipped_owners)))
    return conditions


def _comes_before(job: Job) -> ColumnElement[bool]:
    """Return the condition that a job precedes *job* in `core.jobs.queue.claim_key` order."""
    level, turn, queued_at, id_ = jobs.c.level, jobs.c.turn, jobs.c.queued_at, jobs.c.id
    return or_(
        level > job.level.rank,
        and_(
            level == job.level.rank,
            or_(
                turn < job.turn,
                and_(turn == job.turn, queued_at < job.queued_at),
                and_(turn == job.turn, queued_at == job.queued_at, id_ < job.id),
            ),
        ),
    )
