"""Who makes room for whom, and who has waited long."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
)

from crawlyard.core.jobs.checkpoint import Asker, Preemption
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.queue import aged, claimable, may_preempt, takes, yields
from crawlyard.core.wakeup import Wakeup
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.db.bulk_rows import update_rows
from crawlyard.store.db.database import Database
from crawlyard.store.jobs.claim_candidates import ClaimKind, asked_by, first_of_others, on_offer
from crawlyard.store.jobs.claims import take
from crawlyard.store.jobs.job_rows import STANDING, change, locked, standing
from crawlyard.store.jobs.lease_rules import held
from crawlyard.store.jobs.queue_position import OwnerTurns, runnable
from crawlyard.store.jobs.quotas import parts_held_back, parts_spent, users_held_back
from crawlyard.store.jobs.shards import give_up_part, worked_at_by
from crawlyard.store.tables.jobs import (
    CLAIM_ORDER,
    NEEDY,
    PENDING,
    PRESENT,
    READY,
    RUNNING,
    UNREADY,
    jobs,
)

_LEVELS = Priority.HIGH - Priority.LOW
"""The most that a job rises."""

_URGENT: ColumnElement[int] = literal_column(str(int(Priority.URGENT)))


class QueueStore(Struct, frozen=True):
    """Who makes room for whom, and who has waited long."""

    _database: Database

    async def preempt(
        self, asker: Asker, now: datetime, lease: timedelta, patience: timedelta
    ) -> Preemption | None:
        # most often there is nothing to do: that is seen without a lock
        """Claim an urgent job in place of a low one that *asker* runs, in one transaction.

        As `core.queue.may_preempt` and `core.queue.yields` say: the urgent job that a
        claim by *asker* would take, if it has waited for *patience*; of the low ones, that
        which began last. It waits again where it stood, reason ``preempted``, and its
        lease is its worker's until the last batch is recorded, as after a pause. Two
        workers never yield to one urgent job.
        """
        pair = await self._database.read(
            partial(_pair, asker=asker, now=now, patience=patience, lock=False)
        )
        if pair is None:
            return None
        work = partial(_preempt, asker=asker, now=now, until=now + lease, patience=patience)
        return await self._database.write(work)

    async def age(self, now: datetime, step: timedelta, rows: int = 1000) -> int:
        """Raise up to *rows* pending jobs to the levels that `core.queue.aged` says.

        Each is the last of its owner in its new level. Return how many rose: 0 when none
        is left. It is no move: neither version nor events tell of it.
        """
        due = partial(_ripe, now=now, step=step, rows=rows)
        if not await self._database.read(lambda conn: conn.execute(due()).first()):
            return 0
        return await self._database.write(lambda conn: _age(conn, now, step, rows))

    async def due(self, now: datetime) -> Collection[Wakeup]:
        """Return what jobs wait and are due at *now*: once for all that are alike to a worker.

        Leases and quotas are not looked at.
        """
        return await self._database.read(partial(_due, now=now))

    async def spent(self, now: datetime) -> Mapping[str, str]:
        """Return which part of their quota is used up for the day, by user.

        As `core.quota.spent` says; only of those that have fetched something today.
        """
        return await self._database.read(partial(parts_spent, now=now))

    async def waiting(self, tags: Collection[str], least: Priority = Priority.LOW) -> int:
        """Return how many jobs wait, due or not, that a worker with *tags* may take.

        Those of a level below *least* are not counted.
        """
        return await self._database.read(partial(_waiting, tags=frozenset(tags), least=least))


def _pair(
    conn: Connection, asker: Asker, now: datetime, patience: timedelta, *, lock: bool
) -> tuple[int, int] | None:
    """Return the keys of the urgent job and of the low one, as they are at this moment."""
    out = users_held_back(conn, now) if lock else sorted(parts_held_back(conn, now))
    kind, given = asked_by(conn, asker, now, out)
    kind = kind._replace(waited=True)
    given = {**given, "waited": now - patience}
    low = (
        select(jobs.c.no)
        .select_from(STANDING)
        .where(
            RUNNING,
            PRESENT,
            jobs.c.level == int(Priority.LOW),
            worked_at_by(asker.worker),
        )
        .order_by(jobs.c.since.desc(), jobs.c.id.desc())
        .limit(1)
    )
    first = _urgent(conn, kind, given)
    last = None if first is None else conn.scalar(low)
    return None if first is None or last is None else (first, last)


def _urgent(conn: Connection, kind: ClaimKind, given: Mapping[str, object]) -> int | None:
    kind = kind._replace(least=max(kind.least, Priority.URGENT))
    if kind.out:
        return first_of_others(conn, kind, given)
    urgent = select(jobs.c.no).select_from(STANDING).where(*on_offer(kind))
    return conn.scalar(urgent.order_by(*CLAIM_ORDER).limit(1), given)


def _preempt(
    conn: Connection, asker: Asker, now: datetime, until: datetime, patience: timedelta
) -> Preemption | None:
    pair = _pair(conn, asker, now, patience, lock=True)
    if pair is None:
        return None
    # Both in the order of their keys, and looked at again once they are locked: somebody
    # else may have claimed the urgent one, or ended the low one, since they were found.
    both = locked(standing(jobs.c.no.in_(pair)).order_by(jobs.c.no))
    rows = {row["no"]: row for row in conn.execute(both).mappings()}
    if len(rows) < len(pair) or not _still(rows[pair[0]], rows[pair[1]], asker, now, patience):
        return None
    mine = select(jobs.c.no).select_from(STANDING).where(jobs.c.no == pair[1])
    if conn.scalar(mine.where(worked_at_by(asker.worker))) is None:
        return None
    low = job_of(rows[pair[1]])
    number = give_up_part(conn, pair[1], rows[pair[1]]["spread"], asker.worker, now)
    claim = take(conn, rows[pair[0]], asker, now, until)
    if number:
        return Preemption(claim=claim, yielded=low, shard=number)
    yielded, event = low.yielded(now, actor=f"worker:{asker.worker}")
    change(conn, yielded, event, before=low)
    return Preemption(claim=claim, yielded=yielded)


def _still(
    urgent: RowMapping, low: RowMapping, asker: Asker, now: datetime, patience: timedelta
) -> bool:
    """Tell whether one may take the slot of the other, as they are stored now."""
    waiting, running = job_of(urgent), job_of(low)
    return (
        claimable(waiting, now)
        and not held(shard_of(urgent), now)
        and takes(asker, waiting)
        and may_preempt(waiting, now, patience)
        and yields(running)
    )


def _age(conn: Connection, now: datetime, step: timedelta, rows: int) -> int:
    # what another worker raises at this moment is left to it
    found = _ripe(now, step, rows).with_for_update(skip_locked=True, key_share=True)
    turns, risen = OwnerTurns(conn), []
    for row in conn.execute(found):
        priority, since = Priority(row.priority), max(row.since, row.due_at)
        level = Priority(priority + aged(priority, since, now, step))
        if level > row.level:
            turn = turns.next(row.owner, level)
            risen.append({"no": row.no, "level": int(level), "turn": turn})
    return update_rows(conn, jobs, risen, ("no",), only=PENDING)


def _ripe(now: datetime, step: timedelta, rows: int) -> Select[Any]:
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
            jobs.c.level < int(Priority.HIGH),
            or_(*(_waited(risen == n, now - step * (n + 1)) for n in range(_LEVELS))),
        )
        .order_by(*CLAIM_ORDER)
        .limit(rows)
    )


def _waited(there: ColumnElement[bool], since: datetime) -> ColumnElement[bool]:
    return and_(there, jobs.c.since <= since, jobs.c.due_at <= since)


def _due(conn: Connection, now: datetime) -> Collection[Wakeup]:
    # needy jobs have an index of their own; of the others, one of each kind is enough
    due = (PRESENT, jobs.c.due_at <= now)
    kind = select(jobs.c.needs, (jobs.c.level >= _URGENT).label("urgent"))
    plain = kind.where(READY, *due, jobs.c.needs == "").order_by(*CLAIM_ORDER).limit(1)
    asked = [
        kind.where(NEEDY, *due).distinct(),
        kind.where(UNREADY, *due).distinct(),
        plain,  # one, else SQLite reads those of tomorrow, too
        plain.where(jobs.c.level < _URGENT),
    ]
    return {Wakeup(now, r.needs, urgent=bool(r.urgent)) for one in asked for r in conn.execute(one)}


def _waiting(conn: Connection, tags: frozenset[str], least: Priority) -> int:
    able = (PENDING, PRESENT, jobs.c.level >= int(least), runnable(conn, tags))
    return conn.scalar(select(func.count()).select_from(jobs).where(*able)) or 0
