"""Queue: preemption and aging of jobs, and the jobs that wait."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
)

from crawlyard.core.jobs.checkpoint import Asker, Preemption
from crawlyard.core.jobs.job import Standing
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.jobs.queue import claim_key, claimable, levels_risen, may_preempt, takes, yields
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.db.bulk_rows import update_rows
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.jobs.claims import (
    ClaimKind,
    claim_conditions,
    claimable_conditions,
    first_of_other_owners,
    take,
)
from crawlyard.store.jobs.demand import count_wanted_slots
from crawlyard.store.jobs.job_rows import change, lock_rows, standing
from crawlyard.store.jobs.queue_position import (
    OwnerTurns,
    find_start_holds,
    may_start,
    read_limited_quotas,
    runnable,
)
from crawlyard.store.jobs.shard_rules import is_leased
from crawlyard.store.jobs.shards import is_worked_on_by, order_one_release
from crawlyard.store.tables.jobs import (
    CLAIM_ORDER,
    PENDING,
    PRESENT,
    READY,
    RUNNING,
    STANDING,
    UNREADY,
    jobs,
)

_LEVELS = Priority.HIGH.rank - Priority.LOW.rank
"""The largest number of levels that a job can rise by aging."""

_URGENT: ColumnElement[int] = literal_column(str(Priority.URGENT.rank))


class QueueStore(StorePart):
    """Preemption and aging of jobs in the queue, and queries about due and waiting jobs."""

    async def preempt(
        self, asker: Asker, now: datetime, lease: timedelta, patience: timedelta
    ) -> Preemption | None:
        """Claim an urgent job in place of a low one that *asker* runs, in one transaction.

        `core.jobs.queue.may_preempt` and `core.jobs.queue.yields` decide. The urgent job is the
        one that a claim by *asker* would take, if it has waited for *patience*; the low job is the
        one that started last. It returns to its position in the queue, with reason ``preempted``,
        and its worker keeps the lease until the last batch is recorded, as after a pause. Two
        workers never yield to the same urgent job. Return ``None`` if nothing was preempted.
        """
        # Usually there is nothing to preempt: check that without a lock first.
        pair = await self._database.read(partial(_pair, asker=asker, now=now, patience=patience))
        if pair is None:
            return None
        work = partial(_preempt, asker=asker, now=now, until=now + lease, patience=patience)
        return await self._database.write(work)

    async def age(self, now: datetime, step: timedelta, rows: int = 1000) -> int:
        """Raise up to *rows* pending jobs to the levels given by `core.jobs.queue.aged`.

        Each becomes the last job of its owner in its new level. Return the number of raised jobs,
        0 if none is left. Aging is not a move: it changes no version and adds no event.
        """
        due = partial(_old_enough, now=now, step=step, rows=rows)
        if not await self._database.read(lambda conn: conn.execute(due()).first()):
            return 0
        return await self._database.write(lambda conn: _age(conn, now, step, rows))

    @reads
    def pending(
        self, conn: Connection, now: datetime, limit: int, owner: str | None = None
    ) -> list[Standing]:
        """Return the first *limit* pending jobs of *owner*; ``None``: of all users.

        Those that are due come first, in the order of claims, then the others by when they are due.
        """
        own = [PRESENT] if owner is None else [PRESENT, jobs.c.owner == owner]
        ready = select(jobs.c.no).where(READY, *own).order_by(*CLAIM_ORDER).limit(limit)
        unready = select(jobs.c.no).where(UNREADY, *own).limit(limit)
        unmarked = unready.where(jobs.c.due_at <= now).order_by(*CLAIM_ORDER)  # by the next claim
        early = unready.where(jobs.c.due_at > now).order_by(jobs.c.due_at, jobs.c.id)

        def standings(*queries: Select[int]) -> list[Standing]:
            keys = [key for key_query in queries for key in conn.scalars(key_query)]
            rows = conn.execute(standing(jobs.c.no.in_(keys))).mappings()
            return [Standing(job=job_of(row), shard=shard_of(row)) for row in rows]

        due = sorted(standings(ready, unmarked), key=lambda waiting_job: claim_key(waiting_job.job))
        later = sorted(
            standings(early), key=lambda waiting_job: (waiting_job.job.due_at, waiting_job.job.id)
        )
        return [*due, *later][:limit]

    @reads
    def waits(
        self,
        conn: Connection,
        now: datetime,
        tags: Collection[str] = (),
        least: Priority = Priority.LOW,
    ) -> Mapping[WaitReason | None, int]:
        """Return how many pending jobs wait for something that a worker cannot wait for.

        By that reason: tags that the worker lacks, a slot (its free slots take jobs from the level
        *least* on), a quota, or the start time. Those that it may take, now or at their next
        attempt, are counted under ``None``.
        """
        owners = sorted(find_start_holds(conn, now, read_limited_quotas(conn)))
        retries = jobs.c.state_reason == StateReason.WAITING_RETRY
        reason = case(
            (~runnable(conn, frozenset(tags)), WaitReason.WORKER_TAGS),
            (jobs.c.level < least.rank, WaitReason.SLOT),
            (jobs.c.owner.in_(owners), WaitReason.QUOTA),
            ((jobs.c.due_at > now) & ~retries, WaitReason.DUE_TIME),
            else_=None,
        ).label("reason")
        each = select(reason).where(PENDING, PRESENT).subquery()
        counts = conn.execute(select(each.c.reason, func.count()).group_by(each.c.reason))
        return {name and WaitReason(name): count for name, count in counts}

    @reads
    def wanted_slots(self, conn: Connection, now: datetime) -> int:
        """Return how many more slots would have work at once, in workers without tags.

        That is the number of due jobs that may start within the quotas of their owners, of free
        shards of spread jobs, and of running jobs or shards whose worker is lost.
        """
        return count_wanted_slots(conn, now)

    @reads
    def longest_wait(self, conn: Connection, now: datetime) -> timedelta:
        """Return how long the pending job that is due longest has waited, zero if none is due."""
        # READY and UNREADY apart: PENDING reads all jobs, 100 ms with 100,000 due tomorrow
        first = select(func.min(jobs.c.due_at)).where(PRESENT, jobs.c.due_at <= now)
        due_at = [conn.scalar(first.where(part)) for part in (READY, UNREADY)]
        return now - min((at for at in due_at if at is not None), default=now)


def _pair(
    conn: Connection, asker: Asker, now: datetime, patience: timedelta
) -> tuple[int, int] | None:
    """Return the keys of the urgent job and of the low job that would yield to it, if any."""
    out = find_start_holds(conn, now, read_limited_quotas(conn))
    kind, parameters = claim_conditions(conn, asker, now, out)
    kind = kind._replace(waited=True)
    parameters = {**parameters, "waited": now - patience}
    low = (
        select(jobs.c.no)
        .select_from(STANDING)
        .where(
            RUNNING,
            PRESENT,
            jobs.c.level == Priority.LOW.rank,
            is_worked_on_by(asker.worker),
        )
        .order_by(jobs.c.since.desc(), jobs.c.id.desc())
        .limit(1)
    )
    first = _urgent(conn, kind, parameters)
    last = None if first is None else conn.scalar(low)
    return None if first is None or last is None else (first, last)


def _urgent(conn: Connection, kind: ClaimKind, parameters: Mapping[str, object]) -> int | None:
    kind = kind._replace(least=max(kind.least, Priority.URGENT))
    if kind.out:
        return first_of_other_owners(conn, kind, parameters)
    urgent = select(jobs.c.no).select_from(STANDING).where(*claimable_conditions(kind))
    return conn.scalar(urgent.order_by(*CLAIM_ORDER).limit(1), parameters)


def _preempt(
    conn: Connection, asker: Asker, now: datetime, until: datetime, patience: timedelta
) -> Preemption | None:
    pair = _pair(conn, asker, now, patience)
    if pair is None:
        return None
    # Lock both in the order of their keys, then check again: another worker may have claimed
    # the urgent job, or the low job may have ended, since they were found.
    pair_query = lock_rows(standing(jobs.c.no.in_(pair)).order_by(jobs.c.no))
    rows = {row["no"]: row for row in conn.execute(pair_query).mappings()}
    if len(rows) < len(pair) or not _may_swap(rows[pair[0]], rows[pair[1]], asker, now, patience):
        return None
    mine = select(jobs.c.no).select_from(STANDING).where(jobs.c.no == pair[1])
    if conn.scalar(mine.where(is_worked_on_by(asker.worker))) is None:
        return None
    if not may_start(conn, rows[pair[0]]["owner"], now):
        return None
    low = job_of(rows[pair[1]])
    number = order_one_release(conn, pair[1], rows[pair[1]]["spread"], asker.worker, now)
    urgent = rows[pair[0]]
    claim = take(conn, urgent, job_of(urgent), asker, now, until)
    if number:
        return Preemption(claim=claim, yielded=low, shard=number)
    yielded, event = low.yield_slot(now, actor=f"worker:{asker.worker}")
    change(conn, yielded, event, before=low)
    return Preemption(claim=claim, yielded=yielded)


def _may_swap(
    urgent: RowMapping, low: RowMapping, asker: Asker, now: datetime, patience: timedelta
) -> bool:
    """Return whether the urgent job may take the slot of the low one, as both are stored now."""
    waiting, running = job_of(urgent), job_of(low)
    return (
        claimable(waiting, now)
        and not is_leased(shard_of(urgent), now)
        and takes(asker, waiting)
        and may_preempt(waiting, now, patience)
        and yields(running)
    )


def _age(conn: Connection, now: datetime, step: timedelta, rows: int) -> int:
    # skip jobs that another worker is raising at the same time
    candidates = _old_enough(now, step, rows).with_for_update(skip_locked=True, key_share=True)
    turns, risen = OwnerTurns(conn), []
    for row in conn.execute(candidates):
        priority, since = Priority.from_rank(row.priority), max(row.since, row.due_at)
        level = Priority.from_rank(priority.rank + levels_risen(priority, since, now, step))
        if level.rank > row.level:
            turn = turns.next(row.owner, level)
            risen.append({"no": row.no, "level": level.rank, "turn": turn})
    return update_rows(conn, jobs, risen, ("no",), only=PENDING)


def _old_enough(now: datetime, step: timedelta, rows: int) -> Select[Any]:
    risen = jobs.c.level - jobs.c.priority
    return (
        select(
            jobs.c.no,
            jobs.c.owner,
            jobs.c.priority,
            jobs.c.level,
            jobs.c.since,
            jobs.c.due_at,
        )
        .where(
            PENDING,
            PRESENT,
            jobs.c.level < Priority.HIGH.rank,
            or_(*(_has_waited(risen == n, now - step * (n + 1)) for n in range(_LEVELS))),
        )
        .order_by(*CLAIM_ORDER)
        .limit(rows)
    )


def _has_waited(there: ColumnElement[bool], since: datetime) -> ColumnElement[bool]:
    return and_(there, jobs.c.since <= since, jobs.c.due_at <= since)
