"""Overview queries: items that need attention, such as overdue schedules and failed jobs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    func,
    or_,
    select,
    union_all,
)

from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.job_log import Course
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.outcome import LIMIT_REASONS, is_stopped
from crawlyard.core.overview.attention import OwnerBacklog
from crawlyard.core.overview.lines import JobEnd, NoticeLine, SubjectKind, line_of
from crawlyard.core.overview.stats import JobRunOut
from crawlyard.core.schedules.calendar import RecentTick
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.templates.secrets import hidden_urls
from crawlyard.core.webhooks.webhook import Webhook
from crawlyard.store.codec.base import decoder_of
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.codec.records import WEBHOOKS
from crawlyard.store.codec.schedules import recent_tick_of, schedule_of
from crawlyard.store.db.rows import equal
from crawlyard.store.db.transactions import StorePart, reads
from crawlyard.store.jobs.job_rows import STANDING, standing
from crawlyard.store.schedules.ticks import FIRST_SHARD, RESULT_COLUMNS
from crawlyard.store.tables.jobs import (
    ENDED,
    GIVEN_UP,
    HELD_BACK,
    PENDING,
    PRESENT,
    RUNNING,
    jobs,
    shards,
)
from crawlyard.store.tables.schedules import FIRES, schedules, ticks
from crawlyard.store.tables.watch import courses
from crawlyard.store.tables.webhooks import webhooks

_JOINED = 200  # queries in one UNION: SQLite takes at most 500

_AT_ONCE = 1000  # jobs read by one query, so that others can run in between

_COURSE = decoder_of(Course)
_END = (jobs.c.id, jobs.c.state, jobs.c.ended_at)
_LINE = (jobs.c.owner, jobs.c.schedule_id, jobs.c.template_id, jobs.c.name)
_KEYS: Mapping[SubjectKind, Sequence[ColumnElement[Any]]] = {
    SubjectKind.SCHEDULE: (jobs.c.schedule_id,),
    SubjectKind.TEMPLATE: (jobs.c.template_id, jobs.c.schedule_id),
    SubjectKind.JOB: (jobs.c.name, jobs.c.template_id, jobs.c.schedule_id),
}
"""For each kind of line, the column with its key and the columns that must be NULL."""


class OverviewStore(StorePart):
    """Items that need attention, of one owner, or of all owners if *owner* is ``None``."""

    @reads
    def recent(
        self, conn: Connection, schedule_ids: Collection[str], limit: int
    ) -> Mapping[str, Sequence[RecentTick]]:
        """Return the last *limit* ticks of each schedule with their jobs' states, latest first.

        The states are from a single snapshot. Schedules without ticks are left out.
        """
        ticks_by_schedule: dict[str, list[RecentTick]] = {}
        for part in _parts(sorted(set(schedule_ids))):
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
            its_job = (jobs.c.id == every.c.job_id) & PRESENT
            query = (
                select(every, *RESULT_COLUMNS)
                .select_from(every.outerjoin(jobs, its_job).outerjoin(shards, FIRST_SHARD))
                .order_by(every.c.schedule_id, every.c.due_at.desc())
            )
            for row in conn.execute(query).mappings():
                ticks_by_schedule.setdefault(row["schedule_id"], []).append(recent_tick_of(row))
        return ticks_by_schedule

    @reads
    def overdue(
        self, conn: Connection, owner: str | None, before: datetime, limit: int
    ) -> list[CrawlSchedule]:
        """Return at most *limit* schedules that should have fired before *before*, earliest first.

        Paused schedules are never overdue.
        """
        late = (
            select(schedules)
            .where(
                FIRES,
                schedules.c.paused_at.is_(None),
                schedules.c.fire_at < before,
                *equal((schedules.c.owner, owner)),
            )
            .order_by(schedules.c.fire_at, schedules.c.id)
            .limit(limit)
        )
        return [schedule_of(row) for row in conn.execute(late).mappings()]

    @reads
    def paused(
        self,
        conn: Connection,
        owner: str | None,
        before: datetime,
        reasons: Collection[StateReason],
        limit: int,
    ) -> list[Job]:
        """Return jobs paused before *before*, or for one of *reasons*, longest pause first."""
        short = jobs.c.state_reason.in_([reason.value for reason in reasons])
        paused = (
            select(jobs)
            .where(
                HELD_BACK, PRESENT, or_(jobs.c.since < before, short), *equal((jobs.c.owner, owner))
            )
            .order_by(jobs.c.since, jobs.c.id)
            .limit(limit)
        )
        return [job_of(row) for row in conn.execute(paused).mappings()]

    @reads
    def ended(
        self, conn: Connection, owner: str | None, since: datetime, limit: int, among: int
    ) -> list[Standing]:
        """Return at most *limit* jobs that ended since *since* with a result worth attention.

        They failed, a limit ended them, or some of their pages need scripts; latest first. Searches
        the latest *among* jobs that ended.
        """
        latest = (jobs.c.ended_at.desc(), jobs.c.id.desc())
        lately = select(jobs.c.no).where(
            ENDED, jobs.c.ended_at >= since, *equal((jobs.c.owner, owner))
        )
        bad = or_(
            jobs.c.state == State.FAILED.value,
            jobs.c.state_reason.in_(reason.value for reason in LIMIT_REASONS),
            shards.c.needs_scripts > 0,
        )
        query = standing(jobs.c.no.in_(lately.order_by(*latest).limit(among)), bad)
        rows = conn.execute(query.order_by(*latest).limit(limit)).mappings()
        return [Standing(job=job_of(row), shard=shard_of(row)) for row in rows]

    @reads
    def runs(
        self, conn: Connection, owner: str | None, since: datetime, until: datetime, limit: int
    ) -> list[JobRunOut]:
        """Return at most *limit* jobs that ran in [*since*, *until*), latest start first.

        Reads the latest *limit* jobs that ended, and as many that have not.
        """
        began = (PRESENT, jobs.c.started_at < until, *equal((jobs.c.owner, owner)))
        ended = _RUN.where(ENDED, jobs.c.ended_at >= since, *began)
        rows = [
            *conn.execute(ended.order_by(jobs.c.ended_at.desc()).limit(limit)).mappings(),
            *conn.execute(_RUN.where(RUNNING, *began).limit(limit)).mappings(),
            *conn.execute(_RUN.where(HELD_BACK, *began).limit(limit)).mappings(),
        ]
        rows.sort(key=lambda row: (row["started_at"], row["id"]), reverse=True)
        return [_run_of(row) for row in rows[:limit]]

    @reads
    def courses(
        self, conn: Connection, owner: str | None, since: datetime, limit: int
    ) -> list[Course]:
        """Return the courses of at most *limit* jobs that run or ended since *since*.

        Running ones come first, then the latest end.
        """
        its_own = courses.join(jobs, courses.c.job_no == jobs.c.no)
        query = select(courses.c.course).select_from(its_own)
        query = query.where(PRESENT, *equal((jobs.c.owner, owner))).limit(limit)
        ended = query.where(ENDED, jobs.c.ended_at >= since).order_by(jobs.c.ended_at.desc())
        texts = [*conn.scalars(query.where(RUNNING)), *conn.scalars(ended)]
        return [_COURSE.decode(text) for text in texts[:limit]]

    @reads
    def tagged(self, conn: Connection, owner: str | None, now: datetime, limit: int) -> list[Job]:
        """Return at most *limit* due jobs that need a worker with tags, due longest first."""
        due = (
            select(jobs)
            .where(
                PENDING,
                PRESENT,
                jobs.c.due_at <= now,
                jobs.c.needs != "",
                *equal((jobs.c.owner, owner)),
            )
            .order_by(jobs.c.due_at, jobs.c.id)
            .limit(limit)
        )
        return [job_of(row) for row in conn.execute(due).mappings()]

    @reads
    def failures(
        self, conn: Connection, owner: str | None, since: datetime, limit: int
    ) -> Sequence[tuple[NoticeLine | None, JobEnd]]:
        """Return at most *limit* jobs that failed since *since*, with their lines, latest first."""
        failed = (
            select(*_END, *_LINE)
            .where(GIVEN_UP, PRESENT, jobs.c.ended_at >= since, *equal((jobs.c.owner, owner)))
            .order_by(jobs.c.ended_at.desc(), jobs.c.id.desc())
            .limit(limit)
        )
        return [(_line_of(row), _end_of(row)) for row in conn.execute(failed).mappings()]

    @reads
    def ends(
        self, conn: Connection, lines: Mapping[NoticeLine, datetime], last: int
    ) -> Mapping[NoticeLine, Sequence[JobEnd]]:
        """Return the ends of the jobs of each line since its instant in *lines*, latest first.

        At most *last* jobs of each line; cancelled jobs are left out.
        """
        ends_by_line: dict[NoticeLine, list[JobEnd]] = {}
        for kind in _KEYS:
            since_by_line = {line: since for line, since in lines.items() if line.kind is kind}
            for part in _parts(list(since_by_line)):
                since = min(since_by_line[line] for line in part)
                for line, end in _ends_of(conn, kind, part, since, last):
                    if line in since_by_line and end.ended_at >= since_by_line[line]:
                        ends_by_line.setdefault(line, []).append(end)
        return ends_by_line

    @reads
    def backlog(self, conn: Connection, owner: str | None, now: datetime) -> OwnerBacklog:
        """Return the number of pending jobs that are due at *now*, and the one due longest."""
        due = (
            select(jobs.c.id, jobs.c.due_at, func.count().over().label("count_"))
            .where(PENDING, PRESENT, jobs.c.due_at <= now, *equal((jobs.c.owner, owner)))
            .order_by(jobs.c.due_at, jobs.c.id)
            .limit(1)
        )
        for row in conn.execute(due).mappings():
            return OwnerBacklog(count=row["count_"], oldest=row["id"], since=row["due_at"])
        return OwnerBacklog()

    async def damaged(self, limit: int, among: int) -> list[Job]:
        """Return at most *limit* jobs of all users whose stored row is damaged, newest first.

        Searches the newest *among* jobs, a portion at a time.
        """
        damaged: list[Job] = []
        newest = select(jobs).where(PRESENT).order_by(jobs.c.no.desc())
        part = newest
        while among > 0 and len(damaged) < limit:
            query = part.limit(min(among, _AT_ONCE))
            rows = await self._database.read(partial(_rows, query=query))
            if not rows:
                break
            damaged += [job for job in map(job_of, rows) if job.damaged]
            part, among = newest.where(jobs.c.no < rows[-1]["no"]), among - len(rows)
        return damaged[:limit]

    @reads
    def unheard(self, conn: Connection, owner: str | None, limit: int) -> list[Webhook]:
        """Return at most *limit* webhooks that are off or failing, most recently changed first."""
        bad = or_(~webhooks.c.active, webhooks.c.failing_since.is_not(None))
        query = (
            select(webhooks)
            .where(bad, *equal((webhooks.c.owner, owner)))
            .order_by(webhooks.c.updated_at.desc(), webhooks.c.id.desc())
            .limit(limit)
        )
        return WEBHOOKS.all(conn, query)


_RUN = select(
    *(jobs.c.id, jobs.c.name, jobs.c.schedule_id, jobs.c.state, jobs.c.state_reason),
    *(jobs.c.started_at, jobs.c.ended_at, shards.c.pages, shards.c.discovered, shards.c.done),
).select_from(STANDING)


def _run_of(row: RowMapping) -> JobRunOut:
    state, usage = State(row["state"]), Usage(discovered=row["discovered"], done=row["done"])
    return JobRunOut(
        job_id=row["id"],
        name=hidden_urls(row["name"]),
        schedule_id=row["schedule_id"],
        state=state.value,
        stopped=is_stopped(state, row["state_reason"], usage),
        pages=row["pages"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _rows(conn: Connection, query: Select[Any]) -> Sequence[RowMapping]:
    return conn.execute(query).mappings().all()


def _ends_of(
    conn: Connection, kind: SubjectKind, lines: Sequence[NoticeLine], since: datetime, last: int
) -> Iterator[tuple[NoticeLine | None, JobEnd]]:
    """Yield the *last* job ends since *since* of each of *lines*, which are all of one kind."""
    key, *null_columns = _KEYS[kind]
    latest = (jobs.c.ended_at.desc(), jobs.c.id.desc())
    place = func.row_number().over(partition_by=(jobs.c.owner, key), order_by=latest)
    # one pass over the jobs of these owners for all lines: names have no index
    each = (
        select(*_END, *_LINE, place.label("place"))
        .where(
            jobs.c.owner.in_({line.owner for line in lines}),
            key.in_([line.key for line in lines]),
            *(other.is_(None) for other in null_columns),
            PRESENT,
            jobs.c.state.in_([State.COMPLETED.value, State.FAILED.value]),
            jobs.c.ended_at >= since,
        )
        .subquery()
    )
    latest_ends = (
        select(each).where(each.c.place <= last).order_by(each.c.ended_at.desc(), each.c.id.desc())
    )
    for row in conn.execute(latest_ends).mappings():
        yield _line_of(row), _end_of(row)


def _line_of(row: RowMapping) -> NoticeLine | None:
    return line_of(row["owner"], row["schedule_id"], row["template_id"], row["name"])


def _end_of(row: RowMapping) -> JobEnd:
    return JobEnd(job_id=row["id"], state=State(row["state"]), ended_at=row["ended_at"])


def _parts(items: Sequence[Any]) -> Sequence[Sequence[Any]]:
    return [items[start : start + _JOINED] for start in range(0, len(items), _JOINED)]
