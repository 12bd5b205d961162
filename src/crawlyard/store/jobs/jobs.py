"""Job store: add, read, list, count, save and delete jobs."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select, update

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.order import JobOrder
from crawlyard.core.jobs.spec import Priority
from crawlyard.errors import Conflict, NotFound, Refused, StoreUnavailable
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.crawl.frontier import requeue
from crawlyard.store.db.transactions import StorePart, frees, reads, write_freeing, writes
from crawlyard.store.jobs.counts import has_many_steps, sum_up, sums, went
from crawlyard.store.jobs.intake import add_jobs
from crawlyard.store.jobs.job_rows import (
    change,
    change_all,
    locked,
    standing,
    tell,
)
from crawlyard.store.jobs.order import ordered
from crawlyard.store.jobs.shard_rules import fenced, held
from crawlyard.store.jobs.shards import SHARERS, all_parts, parts_of, write_parts
from crawlyard.store.jobs.where import conditions, picked, rarely, when
from crawlyard.store.queries import EVERY_JOB, JobQuery, Judged, Verdict
from crawlyard.store.tables.jobs import PRESENT, UNIQUE, jobs

_FEW_TO_COUNT = 50_000
"""Number of jobs with a rare tag, host or word up to which they are read to be counted."""

_Counts = Mapping[tuple[State, Priority], int]


class JobStore(StorePart):
    """Stored jobs. Deleted jobs are invisible to every method except `UpkeepStore.purge`."""

    @writes
    def add(self, conn: Connection, job: Job, event: Event, like: Job | None = None) -> None:
        """Add a new job and its event; *like* is the job it was copied from, if any.

        Raises:
            Conflict: the id is taken, or the version of *like* has changed, or *like* is gone.
        """
        if like is not None:
            _at(conn, like.id, like.version)
        add_jobs(conn, [job], told=[event])

    @reads
    def with_unique_key(self, conn: Connection, owner: str, key: str) -> str | None:
        """Return the id of the job of *owner* with a unique key, ``None`` if there is none."""
        has = jobs.c.owner == owner, jobs.c.unique_key == key, UNIQUE
        return conn.scalar(select(jobs.c.id).where(*has))

    @reads
    def get(self, conn: Connection, job_id: str) -> Standing:
        """Return a job and its progress.

        Raises:
            NotFound: no job has that id.
        """
        found = standing(jobs.c.id == job_id).add_columns(SHARERS)
        row = conn.execute(found).mappings().first()
        if row is None:
            raise NotFound(f"no job {job_id}")
        return _seen(row)

    async def save(self, job: Job, *events: Event) -> None:
        """Replace version ``job.version - 1`` of the job and add the events.

        Raises:
            Conflict: the stored version is another, or the job is gone.
        """

        def work(conn: Connection) -> None:
            change(conn, job, *events)

        if job.state is State.CANCELLED:  # a job must be cancelled before it can be deleted
            await write_freeing(self._database, work)
        else:
            await self._database.write(work)

    @writes
    def change_all(
        self, conn: Connection, ids: Collection[str], verdict: Verdict
    ) -> Mapping[str, Judged]:
        """Change jobs as *verdict* says, in one transaction; return what became of each.

        Each is read in that transaction, so nobody else's change is lost. A refusal harms no
        other. Ids of no job are missing in the answer.
        """
        changes, answers = _judged(conn, ids, verdict)
        change_all(conn, [(no, before, job) for no, before, job, _ in changes], _told(changes))
        return answers

    @frees
    def delete_all(
        self, conn: Connection, ids: Collection[str], verdict: Verdict
    ) -> Mapping[str, Judged]:
        """Delete the jobs for which *verdict* has an event, as `delete` does, in one transaction.

        Ids of no job are missing in the answer.
        """
        changes, answers = _judged(conn, ids, verdict)
        if changes:
            numbers, told = [no for no, *_ in changes], _told(changes)
            gone = update(jobs).where(jobs.c.no.in_(numbers))
            conn.execute(gone.values(deleted_at=told[0].at))
            went(conn, [before.job for _, before, _, _ in changes])
            _take_back(conn, numbers)
            tell(conn, told)
        return answers

    @reads
    def owners(self, conn: Connection, ids: Collection[str]) -> set[str]:
        """Return the owners of jobs."""
        return set(conn.scalars(select(jobs.c.owner).where(jobs.c.id.in_(ids), PRESENT)))

    @reads
    def ids(self, conn: Connection, query: JobQuery, limit: int) -> list[str]:
        """Return the ids of what `find` finds, in its order; it costs a tenth of that."""
        these = jobs.c.no.in_(picked(conn, query, limit))
        found = select(jobs.c.id).where(these).order_by(_order(query)).limit(limit)
        return list(conn.scalars(found))

    @reads
    def find(self, conn: Connection, query: JobQuery, limit: int) -> list[Standing]:
        """Return at most *limit* jobs that match *query*, newest first unless it asks otherwise.

        Jobs are ordered by id: a job that is added later is newer.
        """
        these = jobs.c.no.in_(picked(conn, query, limit))
        found = standing(these).add_columns(SHARERS).order_by(_order(query)).limit(limit)
        return [_seen(row) for row in conn.execute(found).mappings()]

    @reads
    def find_ordered(
        self, conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: str | None
    ) -> list[tuple[Standing, str]]:
        """Return at most *limit* jobs in *order*, each with its position, from which to go on.

        Raises:
            Invalid: no index has the order, and too many jobs match to sort them.
        """
        positions = ordered(conn, query, order, limit, after)
        found = _named(conn, positions)
        return [(found[one], at) for one, at in positions.items() if one in found]

    @reads
    def named(self, conn: Connection, ids: Collection[str]) -> Mapping[str, Standing]:
        """Return jobs by their ids; those of no job are missing."""
        return _named(conn, ids)

    async def counts(
        self, query: JobQuery = EVERY_JOB, most: int | None = None
    ) -> Mapping[tuple[State, Priority], int]:
        """Return the number of jobs that match *query* by state and priority, without zeros.

        With *most*, a count that has to read jobs stops there: if the sum is *most* or more,
        each of the numbers may be too low.
        """
        if not query.counts_are_kept:
            return await self._database.read(partial(_counted, query=query, most=most))
        found, many_steps = await self._database.read(partial(_kept, query=query))
        if many_steps:
            with suppress(StoreUnavailable):  # not essential: the janitor sums them up, too
                await self._database.write(sum_up)
        return found

    @writes
    def retry_failed(
        self, conn: Connection, job: Job, event: Event, kinds: Collection[ErrorKind]
    ) -> int:
        """Save the job and requeue its failed targets of *kinds* (empty: all).

        Their page records are deleted, the pages and errors they used are given back, and
        their attempts start from zero. Return the number of requeued targets.

        Raises:
            Conflict: as for `save`, or its lease is still held: try again.
        """
        row = conn.execute(locked(standing(jobs.c.id == job.id))).mappings().first()
        if row is None:
            raise Conflict(f"job {job.id} is gone")
        parts = parts_of(conn, row["no"], row["spread"])
        if held(parts.total, event.at) or parts.held(event.at):
            who = parts.total.worker or "workers of its shards"
            raise Conflict(f"job {job.id} is still held by {who}")
        if parts.of:
            parts.add_up()
        targets = requeue(conn, parts, kinds)
        write_parts(conn, parts)
        change(conn, job, event)
        return targets

    @frees
    def delete(self, conn: Connection, job_id: str, version: int, event: Event) -> None:
        """Hide a job immediately and permanently; `UpkeepStore.purge` frees its space.

        Raises:
            Conflict: the stored version is another.
        """
        row = _at(conn, job_id, version)
        conn.execute(update(jobs).where(jobs.c.no == row["no"]).values(deleted_at=event.at))
        went(conn, [job_of(row)])
        _take_back(conn, [row["no"]])
        tell(conn, [event])


def _take_back(conn: Connection, numbers: Collection[int]) -> None:
    """Fence off the holders of deleted jobs: else they seem to work on them until the purge."""
    parts = all_parts(conn, numbers)
    for one in parts:
        one.put(0, fenced(one.total))
        for number, shard in one.leased():
            one.put(number, fenced(shard))
    write_parts(conn, *parts)


_Change = tuple[int, Standing, Job, Event]
"""A job by its key, as it was and as it is to be, and its event."""


def _judged(
    conn: Connection, ids: Collection[str], verdict: Verdict
) -> tuple[list[_Change], dict[str, Judged]]:
    """Return the changes to jobs, whose rows are locked, and the answer for each by its id."""
    changes: list[_Change] = []
    answers: dict[str, Judged] = {}
    rows = locked(standing(jobs.c.id.in_(ids)).order_by(jobs.c.no))
    for row in conn.execute(rows).mappings():
        old, refused = Standing(job=job_of(row), shard=shard_of(row)), None
        job = old.job
        try:
            found = verdict(old)
        except Refused as refusal:
            found, refused = None, refusal
        if found is not None:
            job, event = found
            changes.append((row["no"], old, job, event))
        answers[job.id] = Judged(job=job, refused=refused)
    return changes, answers


def _told(changes: Sequence[_Change]) -> list[Event]:
    return [event for *_, event in changes]


def _order(query: JobQuery) -> ColumnElement[str]:
    return jobs.c.id.asc() if query.oldest_first else jobs.c.id.desc()


def _named(conn: Connection, ids: Collection[str]) -> Mapping[str, Standing]:
    found = standing(jobs.c.id.in_(list(ids))).add_columns(SHARERS)
    return {row["id"]: _seen(row) for row in conn.execute(found).mappings()}


def _seen(row: RowMapping) -> Standing:
    return Standing(job=job_of(row), shard=shard_of(row), sharers=row[SHARERS.name])


def _kept(conn: Connection, query: JobQuery) -> tuple[_Counts, bool]:
    """Return the counts, and whether so many steps are pending that they should be summed up."""
    return sums(conn, query), has_many_steps(conn)


def _counted(conn: Connection, query: JobQuery, most: int | None) -> _Counts:
    if most is None:
        few = rarely(conn, query, _FEW_TO_COUNT)
        parts = [[PRESENT, *few, *conditions(query), *dated] for dated in when(query)]
    else:
        parts = [[jobs.c.no.in_(picked(conn, query, most, _FEW_TO_COUNT))]]
    group, counts = (jobs.c.state, jobs.c.priority), Counter[tuple[State, Priority]]()
    for part in parts:
        rows = conn.execute(select(*group, func.count()).where(*part).group_by(*group))
        counts.update(
            {(State(state), Priority.ranked(level)): count for state, level, count in rows}
        )
    return counts


def _at(conn: Connection, job_id: str, version: int) -> RowMapping:
    """Return the row of a job at a version, locked until the transaction ends.

    Raises:
        Conflict: the stored version is another, or the job is gone.
    """
    same = standing(jobs.c.id == job_id, jobs.c.version == version)
    row = conn.execute(locked(same)).mappings().first()
    if row is None:
        raise Conflict(f"job {job_id} is not at version {version} any more")
    return row
