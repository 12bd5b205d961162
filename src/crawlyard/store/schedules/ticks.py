"""When schedules fire, and the ledger of what became of each instant."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby

from msgspec import Struct
from sqlalchemy import Connection, exists, func, or_, select, tuple_

from crawlyard.core.event import Event
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick, TickReason
from crawlyard.store.codec.jobs import job_of
from crawlyard.store.codec.schedules import schedule_of, state_row, tick_of, tick_row
from crawlyard.store.db.bulk_rows import insert_new, update_rows
from crawlyard.store.db.database import Database
from crawlyard.store.jobs.insert_jobs import add_jobs
from crawlyard.store.jobs.job_rows import change, tell, versions
from crawlyard.store.queries import Firing
from crawlyard.store.tables.jobs import PRESENT, jobs
from crawlyard.store.tables.schedules import FIRES, WAITS, schedules, ticks

# by the key of the ledger: also a job that was submitted again for a backfilled instant
_BACKFILLED = exists().where(
    ticks.c.schedule_id == jobs.c.schedule_id,
    ticks.c.due_at == jobs.c.tick_at,
    ticks.c.reason == TickReason.BACKFILL.value,
)
ACTIVE = jobs.c.ended_at.is_(None) & PRESENT & ~_BACKFILLED

REFUSED = ticks.c.reason == TickReason.REFUSED.value

_PORTION = 1000  # keys of the ledger in one statement


class TickStore(Struct, frozen=True):
    """When schedules fire, and the ledger of what became of each instant."""

    _database: Database

    async def due(self, now: datetime, limit: int) -> list[CrawlSchedule]:
        """Return schedules whose `fire_at` has come, the earliest first, at most *limit*.

        One of which something cannot be read comes without that, and has a `flaw`.
        """
        return await self._database.read(partial(_due, now=now, limit=limit))

    async def waiting(self, limit: int) -> list[CrawlSchedule]:
        """Return schedules with a tick that waits for the run before it, and no active job."""
        return await self._database.read(partial(_waiting, limit=limit))

    async def next_at(self) -> datetime | None:
        """Return the earliest `fire_at` of all schedules, ``None`` if none will fire."""
        return await self._database.read(_next_at)

    async def active(self, schedule_ids: Collection[str]) -> Mapping[str, Sequence[Job]]:
        """Return the jobs of these schedules that have not ended, the oldest first.

        Jobs of instants that were backfilled are left out: they stand in nobody's way.
        A schedule without any is left out.
        """
        return await self._database.read(partial(_active, schedule_ids=schedule_ids))

    async def failures(self, schedule_ids: Collection[str], last: int) -> Mapping[str, int]:
        """Return of each of these schedules how many of its *last* jobs failed.

        Those of ticks since its `fresh_beat` count, the latest instants first. A tick whose
        job was refused counts as one that failed; one whose job has not ended, was
        cancelled, or is deleted, is left out, and so is one that was backfilled: what went
        wrong then says nothing about now. A schedule without a failure may be left out.
        """
        work = partial(_failures, schedule_ids=schedule_ids, last=last)
        return await self._database.read(work)

    async def fire(self, firings: Sequence[Firing]) -> list[bool]:
        """Write firings in ONE transaction; tell of each whether it was the first to be written.

        A firing is left out whole whose schedule is gone or not at beat ``after.beat - 1``
        any more, one of whose moved jobs has moved on, or one of whose ticks has a row with
        another job: any number of callers fire each instant once.
        """
        return await self._database.write(partial(_fire, firings=firings)) if firings else []

    async def ticks(
        self, schedule_id: str, before: datetime | None = None, limit: int = 100
    ) -> list[Tick]:
        """Return ticks due before *before*, the latest first, at most *limit*."""
        work = partial(_ticks, schedule_id=schedule_id, before=before, limit=limit)
        return await self._database.read(work)

    async def ticks_between(
        self, schedule_id: str, since: datetime, until: datetime
    ) -> Mapping[datetime, Tick]:
        """Return the ticks due from *since* up to and without *until*, by their instants."""
        work = partial(_between, schedule_id=schedule_id, since=since, until=until)
        return await self._database.read(work)


def _due(conn: Connection, now: datetime, limit: int) -> list[CrawlSchedule]:
    # by nothing but the index: with all of 100,000 due at midnight, there is nothing to sort
    due = select(schedules).where(FIRES, schedules.c.fire_at <= now)
    rows = conn.execute(due.order_by(schedules.c.fire_at).limit(limit)).mappings()
    return [schedule_of(row) for row in rows]


def _waiting(conn: Connection, limit: int) -> list[CrawlSchedule]:
    busy = exists().where(jobs.c.schedule_id == schedules.c.id, ACTIVE)
    free = select(schedules).where(WAITS, ~busy).order_by(schedules.c.waiting_at).limit(limit)
    return [schedule_of(row) for row in conn.execute(free).mappings()]


def _next_at(conn: Connection) -> datetime | None:
    first = select(schedules.c.fire_at).where(FIRES).order_by(schedules.c.fire_at).limit(1)
    return conn.scalar(first)


def _active(conn: Connection, schedule_ids: Collection[str]) -> Mapping[str, Sequence[Job]]:
    found = (
        select(jobs)
        .where(jobs.c.schedule_id.in_(sorted(schedule_ids)), ACTIVE)
        .order_by(jobs.c.schedule_id, jobs.c.id)
    )
    rows = conn.execute(found).mappings()
    by_schedule = groupby(rows, key=lambda row: str(row["schedule_id"]))
    return {schedule_id: [job_of(row) for row in own] for schedule_id, own in by_schedule}


def _failures(conn: Connection, schedule_ids: Collection[str], last: int) -> Mapping[str, int]:
    # of each schedule no more is read than the newest of its ledger, by the primary key
    ended = jobs.c.ended_at.is_not(None) & (jobs.c.state != State.CANCELLED.value) & PRESENT
    latest = (
        select(jobs.c.state)
        .select_from(ticks.outerjoin(jobs, jobs.c.id == ticks.c.job_id))
        .where(
            ticks.c.schedule_id == schedules.c.id,
            ticks.c.beat >= schedules.c.fresh_beat,
            ticks.c.reason != TickReason.BACKFILL.value,
            or_(REFUSED, ended),
        )
        .order_by(ticks.c.due_at.desc())
        .limit(last)
        .correlate(schedules)
        .subquery()
    )
    failed = or_(latest.c.state.is_(None), latest.c.state == State.FAILED.value)
    count = select(func.count()).select_from(latest).where(failed).scalar_subquery()
    of = schedules.c.id.in_(sorted(schedule_ids))
    found = select(schedules.c.id, count.label("failures")).where(of)
    return {row.id: row.failures for row in conn.execute(found)}


def _ticks(conn: Connection, schedule_id: str, before: datetime | None, limit: int) -> list[Tick]:
    found = select(ticks).where(ticks.c.schedule_id == schedule_id)
    if before is not None:
        found = found.where(ticks.c.due_at < before)
    rows = conn.execute(found.order_by(ticks.c.due_at.desc()).limit(limit)).mappings()
    return [tick_of(row) for row in rows]


def _between(
    conn: Connection, schedule_id: str, since: datetime, until: datetime
) -> Mapping[datetime, Tick]:
    found = select(ticks).where(
        ticks.c.schedule_id == schedule_id, ticks.c.due_at >= since, ticks.c.due_at < until
    )
    rows = conn.execute(found.order_by(ticks.c.due_at)).mappings()
    return {row["due_at"]: tick_of(row) for row in rows}


def _fire(conn: Connection, firings: Sequence[Firing]) -> list[bool]:
    # Nobody waits in a circle: schedules first, without waiting, then jobs by their keys,
    # then the lock of the events.
    there, moving = _locked_schedules(conn, firings), _locked_jobs(conn, firings)
    # rows of the ledger are written under the lock of their schedule alone
    held = _jobs_of_rows(conn, [tick for f in firings for tick in f.ticks])
    first = [
        # taken out: of two for one schedule, one is written
        there.pop(f.after.id, None) == f.after.beat - 1
        and all(moving.get(job.id) == job.version - 1 for job, _ in f.moved)
        and all(held.get((t.schedule_id, t.due_at), t.job_id) == t.job_id for t in f.ticks)
        for f in firings
    ]
    won = [firing for firing, wins in zip(firings, first, strict=True) if wins]
    states = [{"id": f.after.id} | state_row(f.after) for f in won]
    update_rows(conn, schedules, states, by=("id",))
    _write_ticks(conn, [tick for f in won for tick in f.ticks])
    new = [job for f in won for job, _ in f.jobs]
    if new:
        add_jobs(conn, new)
    for firing in won:
        for job, _ in firing.moved:
            change(conn, job)
    tell(conn, [event for f in won for event in _told(f)])
    return first


def _locked_schedules(conn: Connection, firings: Sequence[Firing]) -> dict[str, int]:
    """Return the beats of the schedules by id; what another fires is left to it."""
    ids = sorted({firing.after.id for firing in firings})
    statement = (
        select(schedules.c.id, schedules.c.beat)
        .where(schedules.c.id.in_(ids))
        .with_for_update(skip_locked=True, key_share=True)
    )
    return {row.id: row.beat for row in conn.execute(statement)}


def _locked_jobs(conn: Connection, firings: Sequence[Firing]) -> dict[str, int]:
    """Return the versions of the jobs that are moved, by their ids."""
    return versions(conn, {job.id for firing in firings for job, _ in firing.moved})


def _jobs_of_rows(conn: Connection, new: Sequence[Tick]) -> dict[tuple[str, datetime], str]:
    """Return the jobs that rows of the same instants as *new* have already."""
    key = tuple_(ticks.c.schedule_id, ticks.c.due_at)
    found: dict[tuple[str, datetime], str] = {}
    for start in range(0, len(new), _PORTION):
        keys = [(tick.schedule_id, tick.due_at) for tick in new[start : start + _PORTION]]
        rows = select(ticks.c.schedule_id, ticks.c.due_at, ticks.c.job_id).where(
            key.in_(keys), ticks.c.job_id.is_not(None)
        )
        found |= {(row.schedule_id, row.due_at): row.job_id for row in conn.execute(rows)}
    return found


def _write_ticks(conn: Connection, new: Sequence[Tick]) -> None:
    """Write rows of the ledger; one of the same instant is replaced unless it has another job."""
    rows = [tick_row(tick) for tick in new]
    if insert_new(conn, ticks, rows) == len(rows):
        return
    update_rows(conn, ticks, rows, ("schedule_id", "due_at"), only=ticks.c.job_id.is_(None))
    with_job = [row for row in rows if row["job_id"] is not None]
    update_rows(conn, ticks, with_job, ("schedule_id", "due_at", "job_id"))


def _told(firing: Firing) -> Iterable[Event]:
    yield from (event for _, event in firing.jobs)
    yield from (event for _, event in firing.moved)
    yield from firing.events
