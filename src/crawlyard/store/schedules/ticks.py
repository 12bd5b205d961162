"""Tick store: due schedules, their firing, and the ledger of ticks."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    exists,
    func,
    or_,
    select,
    tuple_,
    union_all,
)

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.schedules.calendar import RecentTick, RunFacts, TickCount, fate_of
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick, TickReason
from crawlyard.store.codec.jobs import job_of
from crawlyard.store.codec.records import TICKS
from crawlyard.store.codec.schedules import (
    ended_of,
    recent_tick_of,
    run_facts_of,
    schedule_of,
    state_row,
)
from crawlyard.store.db.bulk_rows import insert_new, update_rows
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.jobs.intake import add_jobs
from crawlyard.store.jobs.job_rows import add_events, change, versions
from crawlyard.store.jobs.unique_keys import UniqueKeyOf, with_keys
from crawlyard.store.jobs.where import shown_to
from crawlyard.store.queries import Firing
from crawlyard.store.tables.jobs import PRESENT, STANDING, jobs, shards
from crawlyard.store.tables.schedules import FIRES, WAITS, schedules, ticks

# joined by the key of the ledger: includes jobs that were resubmitted for a backfilled instant
_BACKFILLED = exists().where(
    ticks.c.schedule_id == jobs.c.schedule_id,
    ticks.c.due_at == jobs.c.tick_at,
    ticks.c.reason == TickReason.BACKFILL.value,
)
ACTIVE = jobs.c.ended_at.is_(None) & PRESENT & ~_BACKFILLED

REFUSED = ticks.c.reason == TickReason.REFUSED.value

FIRST_SHARD = (shards.c.job_no == jobs.c.no) & (shards.c.shard == 0)
RESULT_COLUMNS = (
    jobs.c.state,
    jobs.c.state_reason,
    shards.c.pages,
    shards.c.discovered,
    shards.c.done,
)
"""Columns that show how far a job came, and its outcome."""

_PORTION = 1000  # ledger keys in one statement
_JOINED = 200  # queries in one UNION: SQLite takes at most 500


class TickStore(StorePart):
    """Firing of schedules, and the ledger with the outcome of each tick."""

    @reads
    def find_due(self, conn: Connection, now: datetime, limit: int) -> list[CrawlSchedule]:
        """Return at most *limit* schedules whose `fire_at` has come, earliest first.

        A schedule with an unreadable part is returned without that part, and with a `flaw`.
        """
        # by the indexed column alone: with all of 100,000 due at midnight, nothing is sorted
        due = select(schedules).where(FIRES, schedules.c.fire_at <= now)
        rows = conn.execute(due.order_by(schedules.c.fire_at).limit(limit)).mappings()
        return [schedule_of(row) for row in rows]

    @reads
    def waiting(self, conn: Connection, limit: int) -> list[CrawlSchedule]:
        """Return at most *limit* schedules without an active job and with a tick waiting to run."""
        busy = exists().where(jobs.c.schedule_id == schedules.c.id, ACTIVE)
        free = select(schedules).where(WAITS, ~busy).order_by(schedules.c.waiting_at).limit(limit)
        return [schedule_of(row) for row in conn.execute(free).mappings()]

    @reads
    def next_at(self, conn: Connection) -> datetime | None:
        """Return the earliest `fire_at` of all schedules, ``None`` if none will fire."""
        first = select(schedules.c.fire_at).where(FIRES).order_by(schedules.c.fire_at).limit(1)
        return conn.scalar(first)

    @reads
    def active(
        self, conn: Connection, schedule_ids: Collection[str]
    ) -> Mapping[str, Sequence[Job]]:
        """Return the jobs of each schedule that have not ended, oldest first.

        Jobs of backfilled ticks are left out, as they don't block other runs. Schedules
        without active jobs are left out.
        """
        query = (
            select(jobs)
            .where(jobs.c.schedule_id.in_(sorted(schedule_ids)), ACTIVE)
            .order_by(jobs.c.schedule_id, jobs.c.id)
        )
        rows = conn.execute(query).mappings()
        by_schedule = groupby(rows, key=lambda row: str(row["schedule_id"]))
        return {schedule_id: [job_of(row) for row in own] for schedule_id, own in by_schedule}

    @reads
    def failures(
        self, conn: Connection, schedule_ids: Collection[str], last: int
    ) -> Mapping[str, int]:
        """Return how many of the *last* jobs of each schedule failed.

        Only ticks since its `fresh_beat` count, latest first. A tick whose job was refused counts
        as failed. Ticks whose job has not ended, was cancelled or is deleted are skipped, and so
        are backfilled ticks: a failure there says nothing about the present. Schedules without
        failures may be left out.
        """
        # reads only the newest ticks of each schedule, along the primary key of the ledger
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
        counts = select(schedules.c.id, count.label("failures")).where(of)
        return {row.id: row.failures for row in conn.execute(counts)}

    @reads
    def base(self, conn: Connection, schedule_id: str, full_every: int | None) -> str | None:
        """Return the id of the job that the next run of a schedule is based on, if any.

        It is the latest that completed, unless the *full_every* - 1 before were based on another.
        """
        completed = jobs.c.state == State.COMPLETED.value
        latest = (
            select(jobs.c.id, jobs.c.based_on)
            .where(jobs.c.schedule_id == schedule_id, completed, PRESENT)
            .order_by(jobs.c.id.desc())
            .limit(full_every - 1 if full_every else 1)
        )
        newest = conn.execute(latest).all()
        if not newest:
            return None
        is_due = full_every == len(newest) + 1 and all(row.based_on for row in newest)
        return None if is_due else str(newest[0].id)

    async def fire(self, firings: Sequence[Firing]) -> list[bool]:
        """Write firings in ONE transaction; return for each whether it was written.

        A firing is skipped as a whole if its schedule is gone or no longer at beat
        ``after.beat - 1``, if the version of one of its moved jobs has changed, or if one of its
        ticks is stored with another job. So any number of callers fire each tick only once.
        """
        return await self._database.write(partial(_fire, firings=firings)) if firings else []

    @reads
    def ticks(
        self, conn: Connection, schedule_id: str, before: datetime | None = None, limit: int = 100
    ) -> list[Tick]:
        """Return at most *limit* ticks due before *before* (``None``: all), latest first."""
        matching = select(ticks).where(ticks.c.schedule_id == schedule_id)
        if before is not None:
            matching = matching.where(ticks.c.due_at < before)
        return TICKS.all(conn, matching.order_by(ticks.c.due_at.desc()).limit(limit))

    @reads
    def ticks_between(
        self, conn: Connection, schedule_id: str, since: datetime, until: datetime
    ) -> Mapping[datetime, Tick]:
        """Return the ticks due from *since* up to but excluding *until*, by due time."""
        query = select(ticks).where(
            ticks.c.schedule_id == schedule_id, ticks.c.due_at >= since, ticks.c.due_at < until
        )
        return {tick.due_at: tick for tick in TICKS.all(conn, query.order_by(ticks.c.due_at))}

    @reads
    def between(
        self,
        conn: Connection,
        schedule_ids: Collection[str],
        since: datetime,
        until: datetime,
        limit: int,
        reader: str | None = None,
    ) -> list[tuple[str, RecentTick]]:
        """Return the first *limit* ticks of these schedules due in [*since*, *until*), in order.

        Each comes with the id of its schedule. The user *reader* gets only facts about jobs that
        they may see; ``None``: about all.
        """
        query = _with_jobs(since, until, reader, ticks, *RESULT_COLUMNS)
        query = query.order_by(ticks.c.due_at).limit(limit)
        ticks_by_schedule = [
            (str(row["schedule_id"]), recent_tick_of(row))
            for part in _parts(schedule_ids)
            for row in conn.execute(query.where(ticks.c.schedule_id.in_(part))).mappings()
        ]
        return sorted(ticks_by_schedule, key=lambda pair: pair[1].due_at)[:limit]

    @reads
    def count_fates(
        self,
        conn: Connection,
        schedule_ids: Collection[str],
        since: datetime,
        until: datetime,
        reader: str | None = None,
    ) -> list[TickCount]:
        """Count the fates of the ticks of these schedules due in [*since*, *until*).

        *reader*: as for `between`.
        """
        more = case((shards.c.discovered > shards.c.done, 1), else_=0)
        begun = case((shards.c.done > 0, 1), else_=0)
        by = (ticks.c.due_at, ticks.c.outcome, jobs.c.state, jobs.c.state_reason, begun, more)
        query = _with_jobs(since, until, reader, *by, func.count()).group_by(*by)
        return [
            TickCount(
                due_at=due_at,
                fate=fate_of(
                    outcome, state, ended_of(state, reason, discovered=begun + more, done=begun)
                ),
                count=count,
            )
            for part in _parts(schedule_ids)
            for due_at, outcome, state, reason, begun, more, count in conn.execute(
                query.where(ticks.c.schedule_id.in_(part))
            )
        ]

    @reads
    def runs(
        self, conn: Connection, job_ids: Collection[str], reader: str | None = None
    ) -> Mapping[str, RunFacts]:
        """Return the progress of these jobs, by id; unknown ids are left out.

        *reader*: as for `between`.
        """
        query = (
            select(
                jobs.c.id, jobs.c.started_at, jobs.c.ended_at, shards.c.duration_s, *RESULT_COLUMNS
            )
            .select_from(STANDING)
            .where(jobs.c.id.in_(sorted(job_ids)), _shown_to(reader))
        )
        return {row["id"]: run_facts_of(row) for row in conn.execute(query).mappings()}

    @reads
    def recent(
        self,
        conn: Connection,
        schedule_ids: Collection[str],
        limit: int,
        reader: str | None = None,
    ) -> Mapping[str, Sequence[RecentTick]]:
        """Return the last *limit* ticks of each schedule with their jobs' states, latest first.

        The states are from a single snapshot. Schedules without ticks are left out. *reader*: as
        for `between`.
        """
        ticks_by_schedule: dict[str, list[RecentTick]] = {}
        for part in _parts(set(schedule_ids), _JOINED):
            # reads only the returned ticks of each schedule, along the primary key
            last = [
                select(ticks)
                .where(ticks.c.schedule_id == schedule_id)
                .order_by(ticks.c.due_at.desc())
                .limit(limit)
                .subquery()
                for schedule_id in part
            ]
            every = union_all(*(select(latest_ticks) for latest_ticks in last)).subquery()
            its_job = (jobs.c.id == every.c.job_id) & _shown_to(reader)
            query = (
                select(every, *RESULT_COLUMNS)
                .select_from(every.outerjoin(jobs, its_job).outerjoin(shards, FIRST_SHARD))
                .order_by(every.c.schedule_id, every.c.due_at.desc())
            )
            for row in conn.execute(query).mappings():
                ticks_by_schedule.setdefault(row["schedule_id"], []).append(recent_tick_of(row))
        return ticks_by_schedule


def _parts(schedule_ids: Collection[str], size: int = _PORTION) -> Iterable[Sequence[str]]:
    ids = sorted(schedule_ids)
    return (ids[first : first + size] for first in range(0, len(ids), size))


def _shown_to(reader: str | None) -> ColumnElement[bool]:
    """Return the condition on `jobs` that the job exists and *reader* sees it; ``None``: any."""
    return PRESENT if reader is None else PRESENT & shown_to(reader, JobPart.STATE)


def _with_jobs(since: datetime, until: datetime, reader: str | None, *columns: Any) -> Select[Any]:
    """Return a query for the ticks due in [*since*, *until*), with their visible jobs."""
    its_job = (jobs.c.id == ticks.c.job_id) & _shown_to(reader)
    return (
        select(*columns)
        .select_from(ticks.outerjoin(jobs, its_job).outerjoin(shards, FIRST_SHARD))
        .where(ticks.c.due_at >= since, ticks.c.due_at < until)
    )


def _fire(conn: Connection, firings: Sequence[Firing]) -> list[bool]:
    # Lock order, to avoid deadlocks: schedules first, without waiting, then jobs by key, then
    # unique keys, then the lock of the events.
    there, moving = _lock_schedules(conn, firings), _lock_jobs(conn, firings)
    # ticks need no lock of their own: they are only written under the lock of their schedule
    stored_jobs = _jobs_of_rows(conn, [tick for f in firings for tick in f.ticks])
    used_keys = set(with_keys(conn, {_unique_key(job) for f in firings for job, _ in f.jobs}))
    first = [
        # `pop`, so that of two firings of one schedule only the first is written
        there.pop(f.after.id, None) == f.after.beat - 1
        and all(moving.get(job.id) == job.version - 1 for job, _ in f.moved)
        and all(stored_jobs.get((t.schedule_id, t.due_at), t.job_id) == t.job_id for t in f.ticks)
        and _reserve_keys(used_keys, f)
        for f in firings
    ]
    won = [firing for firing, wins in zip(firings, first, strict=True) if wins]
    states = [{"id": f.after.id} | state_row(f.after) for f in won]
    update_rows(conn, schedules, states, by=("id",))
    _write_ticks(conn, won)
    new = [job for f in won for job, _ in f.jobs]
    if new:
        add_jobs(conn, new)
    for firing in won:
        for job, _ in firing.moved:
            change(conn, job)
    add_events(conn, [event for f in won for event in _events_of(f)])
    return first


def _unique_key(job: Job) -> UniqueKeyOf:
    return job.owner, job.spec.unique_key


def _reserve_keys(used_keys: set[UniqueKeyOf], firing: Firing) -> bool:
    """Reserve the unique keys of a firing's jobs; return whether all were free."""
    keys = [key for job, _ in firing.jobs if (key := _unique_key(job))[1] is not None]
    are_free = used_keys.isdisjoint(keys) and len(set(keys)) == len(keys)
    if are_free:
        used_keys.update(keys)
    return are_free


def _lock_schedules(conn: Connection, firings: Sequence[Firing]) -> dict[str, int]:
    """Lock the schedules and return their beats by id; skip those that another caller is firing."""
    ids = sorted({firing.after.id for firing in firings})
    statement = (
        select(schedules.c.id, schedules.c.beat)
        .where(schedules.c.id.in_(ids))
        .with_for_update(skip_locked=True, key_share=True)
    )
    return {row.id: row.beat for row in conn.execute(statement)}


def _lock_jobs(conn: Connection, firings: Sequence[Firing]) -> dict[str, int]:
    """Lock the moved jobs and return their versions by id."""
    return versions(conn, {job.id for firing in firings for job, _ in firing.moved})


def _jobs_of_rows(conn: Connection, new: Sequence[Tick]) -> dict[tuple[str, datetime], str]:
    """Return the job ids of stored ticks with the same schedule and due time as those in *new*."""
    key = tuple_(ticks.c.schedule_id, ticks.c.due_at)
    job_ids: dict[tuple[str, datetime], str] = {}
    for start in range(0, len(new), _PORTION):
        keys = [(tick.schedule_id, tick.due_at) for tick in new[start : start + _PORTION]]
        rows = select(ticks.c.schedule_id, ticks.c.due_at, ticks.c.job_id).where(
            key.in_(keys), ticks.c.job_id.is_not(None)
        )
        job_ids |= {(row.schedule_id, row.due_at): row.job_id for row in conn.execute(rows)}
    return job_ids


def _write_ticks(conn: Connection, won: Sequence[Firing]) -> None:
    """Write ticks, each with the beat of its schedule after it.

    A stored tick of the same due time is replaced unless it has another job.
    """
    rows = [TICKS.row(tick) | {"beat": f.after.beat} for f in won for tick in f.ticks]
    if insert_new(conn, ticks, rows) == len(rows):
        return
    update_rows(conn, ticks, rows, ("schedule_id", "due_at"), only=ticks.c.job_id.is_(None))
    with_job = [row for row in rows if row["job_id"] is not None]
    update_rows(conn, ticks, with_job, ("schedule_id", "due_at", "job_id"))


def _events_of(firing: Firing) -> Iterable[Event]:
    yield from (event for _, event in firing.jobs)
    yield from (event for _, event in firing.moved)
    yield from firing.events
