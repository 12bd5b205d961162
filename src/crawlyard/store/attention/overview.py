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
)

from crawlyard.core.attention.attention import OwnerBacklog
from crawlyard.core.attention.lines import JobEnd, NoticeLine, SubjectKind, line_of
from crawlyard.core.jobs.job import Job, Standing
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.outcome import LIMIT_REASONS
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.webhooks.webhook import Webhook
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.codec.records import WEBHOOKS
from crawlyard.store.codec.schedules import schedule_of
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.db.rows import equal
from crawlyard.store.jobs.job_rows import standing
from crawlyard.store.tables.jobs import (
    ENDED,
    GIVEN_UP,
    HELD_BACK,
    PENDING,
    PRESENT,
    jobs,
    shards,
)
from crawlyard.store.tables.schedules import FIRES, schedules
from crawlyard.store.tables.webhooks import webhooks

_PORTION = 200  # lines in one statement
_AT_ONCE = 1000  # jobs read by one query, so that others can run in between

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
    def find_paused(
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
    def find_ended(
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
    def find_tagged(
        self, conn: Connection, owner: str | None, now: datetime, limit: int
    ) -> list[Job]:
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

    async def find_damaged(self, limit: int, among: int) -> list[Job]:
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
    return [items[start : start + _PORTION] for start in range(0, len(items), _PORTION)]
