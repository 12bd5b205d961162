"""`JobStore` on SQL."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import (
    ColumnElement,
    Connection,
    exists,
    func,
    or_,
    select,
    update,
)

from crawlyard.core.checkpoint import Standing
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.page import ErrorKind
from crawlyard.core.priority import Priority
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base import JobQuery
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.leasing import fenced, held
from crawlyard.store.sql.database import Database
from crawlyard.store.sql.reopen import reopen
from crawlyard.store.sql.standing import (
    add_jobs,
    change,
    locked,
    set_shard,
    standing,
    tell,
)
from crawlyard.store.tables.jobs import (
    PRESENT,
    job_tags,
    jobs,
)


@dataclass(frozen=True, slots=True)
class SqlJobs:
    """`JobStore` on a database."""

    _database: Database

    async def add(self, job: Job, event: Event) -> None:
        await self._database.write(partial(_add, job=job, event=event))

    async def get(self, job_id: str) -> Standing:
        return await self._database.read(partial(_get, job_id=job_id))

    async def save(self, job: Job, *events: Event) -> None:
        await self._database.write(lambda conn: change(conn, job, *events))

    async def find(self, query: JobQuery, limit: int) -> list[Standing]:
        return await self._database.read(partial(_find, query=query, limit=limit))

    async def counts(self, owner: str | None = None) -> Mapping[tuple[State, Priority], int]:
        return await self._database.read(partial(_counts, owner=owner))

    async def retry_failed(self, job: Job, event: Event, kinds: Collection[ErrorKind]) -> int:
        return await self._database.write(
            partial(_retry_failed, job=job, event=event, kinds=frozenset(kinds))
        )

    async def delete(self, job_id: str, version: int, event: Event) -> None:
        await self._database.write(partial(_delete, job_id=job_id, version=version, event=event))


def _add(conn: Connection, job: Job, event: Event) -> None:
    add_jobs(conn, [job])
    tell(conn, [event])


def _get(conn: Connection, job_id: str) -> Standing:
    row = conn.execute(standing(jobs.c.id == job_id)).mappings().first()
    if row is None:
        raise NotFound(f"no job {job_id}")
    return Standing(job=job_of(row), shard=shard_of(row))


def _find(conn: Connection, query: JobQuery, limit: int) -> list[Standing]:
    found = standing(*_conditions(query)).order_by(jobs.c.id.desc()).limit(limit)
    rows = conn.execute(found).mappings()
    return [Standing(job=job_of(row), shard=shard_of(row)) for row in rows]


def _conditions(query: JobQuery) -> list[ColumnElement[bool]]:
    asked: list[ColumnElement[bool]] = [
        exists().where(job_tags.c.job_no == jobs.c.no, job_tags.c.tag == tag)
        for tag in sorted(query.tags)
    ]
    if query.owner is not None:
        asked.append(jobs.c.owner == query.owner)
    if query.states:
        asked.append(jobs.c.state.in_([s.value for s in query.states]))
    if query.priorities:
        asked.append(jobs.c.priority.in_([int(p) for p in query.priorities]))
    if query.text:
        asked.append(jobs.c.search.contains(query.text.casefold(), autoescape=True))
    if query.id_part:
        part = query.id_part.lower()
        begins = jobs.c.id.startswith(part, autoescape=True)
        asked.append(or_(begins, jobs.c.id.endswith(part, autoescape=True)))
    if query.template_id is not None:
        asked.append(jobs.c.template_id == query.template_id)
    if query.schedule_id is not None:
        asked.append(jobs.c.schedule_id == query.schedule_id)
    if query.before is not None:
        asked.append(jobs.c.id < query.before)
    return asked


def _counts(conn: Connection, owner: str | None) -> Mapping[tuple[State, Priority], int]:
    of_owner = [] if owner is None else [jobs.c.owner == owner]
    rows = conn.execute(
        select(jobs.c.state, jobs.c.priority, func.count())
        .where(PRESENT, *of_owner)
        .group_by(jobs.c.state, jobs.c.priority)
    )
    return {(State(state), Priority(priority)): count for state, priority, count in rows}


def _retry_failed(conn: Connection, job: Job, event: Event, kinds: Collection[ErrorKind]) -> int:
    row = conn.execute(locked(standing(jobs.c.id == job.id))).mappings().first()
    if row is None:
        raise Conflict(f"job {job.id} is gone")
    shard = shard_of(row)
    if held(shard, event.at):
        raise Conflict(f"job {job.id} is still held by {shard.worker}")
    reopened, targets = reopen(conn, row["no"], shard, kinds)
    set_shard(conn, row["no"], reopened)
    change(conn, job, event)
    return targets


def _delete(conn: Connection, job_id: str, version: int, event: Event) -> None:
    same = standing(jobs.c.id == job_id, jobs.c.version == version)
    row = conn.execute(locked(same)).mappings().first()
    if row is None:
        raise Conflict(f"job {job_id} is not at version {version} any more")
    conn.execute(update(jobs).where(jobs.c.no == row["no"]).values(deleted_at=event.at))
    set_shard(conn, row["no"], fenced(shard_of(row)))
    tell(conn, [event])
