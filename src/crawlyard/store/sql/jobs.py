"""`JobStore` on SQL."""

# ruff: noqa: D102  # the Protocols in store/base.py say what each method does

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from crawlyard.core.checkpoint import Shard, Standing
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.page import ErrorKind, TargetState
from crawlyard.core.priority import Priority
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base import JobQuery
from crawlyard.store.codec import job_of, new_job_row, shard_of, shard_row
from crawlyard.store.leasing import fenced, given_back, held
from crawlyard.store.sql.bulk import insert_new
from crawlyard.store.sql.database import Database
from crawlyard.store.sql.purge import purge
from crawlyard.store.sql.standing import (
    add_tags,
    change,
    locked,
    no_of,
    set_shard,
    standing,
    tell,
)
from crawlyard.store.tables import FAILED, PRESENT, bodies, frontier, job_tags, jobs, pages, shards


@dataclass(frozen=True, slots=True)
class SqlJobs:
    """`JobStore` on a database."""

    _database: Database

    async def add(self, job: Job, event: Event) -> None:
        await self._database.write(partial(_add, job=job, event=event))

    async def get(self, job_id: str) -> Standing:
        return await self._database.read(partial(_get, job_id=job_id))

    async def save(self, job: Job, event: Event) -> None:
        await self._database.write(partial(change, job=job, event=event))

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

    async def purge(self, rows: int = 1000) -> int:
        return await self._database.write(partial(purge, rows=rows))


def _add(conn: Connection, job: Job, event: Event) -> None:
    if not insert_new(conn, jobs, [new_job_row(job)]):
        raise Conflict(f"there is a job {job.id} already")
    no = conn.execute(no_of(job.id)).scalar_one()
    insert_new(conn, shards, [{"job_no": no, "shard": 0} | shard_row(Shard())])
    add_tags(conn, no, job)
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
    shard, no = shard_of(row), row["no"]
    if held(shard, event.at):
        raise Conflict(f"job {job.id} is still held by {shard.worker}")
    failed: list[ColumnElement[bool]] = [pages.c.job_no == no, FAILED]
    if kinds:
        failed.append(pages.c.error.in_([k.value for k in kinds]))
    targets, answered = conn.execute(
        select(func.count(), func.count(pages.c.status)).where(*failed)
    ).one()
    _reopen(conn, no, and_(*failed))
    usage = given_back(shard.usage, targets=targets, pages=answered, errors=targets)
    set_shard(conn, no, replace(shard, usage=usage))
    change(conn, job, event)
    return targets


def _reopen(conn: Connection, no: int, failed: ColumnElement[bool]) -> None:
    """Let the targets of the pages that *failed* holds for wait again, and drop the pages."""
    fps: Select[int] = select(pages.c.fp).where(failed)
    conn.execute(
        update(frontier)
        .where(frontier.c.job_no == no, frontier.c.fp.in_(fps))
        .values(state=int(TargetState.WAITING), tries=0, due_at=None, rule="")
    )
    ids: Select[int] = select(pages.c.id).where(failed)
    conn.execute(delete(bodies).where(bodies.c.page_id.in_(ids)))
    conn.execute(delete(pages).where(failed))


def _delete(conn: Connection, job_id: str, version: int, event: Event) -> None:
    same = standing(jobs.c.id == job_id, jobs.c.version == version)
    row = conn.execute(locked(same)).mappings().first()
    if row is None:
        raise Conflict(f"job {job_id} is not at version {version} any more")
    conn.execute(update(jobs).where(jobs.c.no == row["no"]).values(deleted_at=event.at))
    set_shard(conn, row["no"], fenced(shard_of(row)))
    tell(conn, [event])
