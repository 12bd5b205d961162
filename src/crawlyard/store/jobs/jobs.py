"""Job store: add, read, list, count, save and delete jobs."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, RowMapping, func, select, update

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Job, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.order import JobOrder
from crawlyard.core.jobs.spec import Priority
from crawlyard.errors import Conflict, NotFound, Refused, StoreUnavailable
from crawlyard.store.codec.jobs import job_of, shard_of
from crawlyard.store.crawl.frontier import requeue
from crawlyard.store.db.database import StorePart, frees_space, reads, write_freeing_space, writes
from crawlyard.store.jobs.counts import has_many_steps, remove_from_counts, sum_up, sums
from crawlyard.store.jobs.intake import add_jobs
from crawlyard.store.jobs.job_rows import add_events, change, change_all, lock_rows, standing
from crawlyard.store.jobs.order import sort_jobs
from crawlyard.store.jobs.shard_rules import fence, is_leased
from crawlyard.store.jobs.shards import SHARERS, read_parts, read_parts_of_jobs, write_parts
from crawlyard.store.jobs.where import conditions, creation_bounds, first_keys, rare_condition
from crawlyard.store.queries import EVERY_JOB, JobQuery, Judged, Verdict
from crawlyard.store.tables.jobs import PRESENT, PRIVATE, UNIQUE, jobs

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
        add_jobs(conn, [job], events=[event])

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
        query = standing(jobs.c.id == job_id).add_columns(SHARERS)
        row = conn.execute(query).mappings().first()
        if row is None:
            raise NotFound(f"no job {job_id}")
        return _standing_of(row)

    async def save(self, job: Job, *events: Event) -> None:
        """Replace version ``job.version - 1`` of the job and add the events.

        Raises:
            Conflict: the stored version is another, or the job is gone.
        """

        def work(conn: Connection) -> None:
            change(conn, job, *events)

        if job.state is State.CANCELLED:  # a job must be cancelled before it can be deleted
            await write_freeing_space(self._database, work)
        else:
            await self._database.write(work)

    @writes
    def change_all(
        self, conn: Connection, ids: Collection[str], verdict: Verdict
    ) -> Mapping[str, Judged]:
        """Change jobs as *verdict* says, in one transaction; return the outcome of each.

        Each is read in that transaction, so no concurrent change is lost. A refusal does not affect
        other jobs. Unknown ids are missing in the answer.
        """
        changes, answers = _apply_verdict(conn, ids, verdict)
        change_all(conn, [(no, before, job) for no, before, job, _ in changes], _events_of(changes))
        return answers

    @frees_space
    def delete_all(
        self, conn: Connection, ids: Collection[str], verdict: Verdict
    ) -> Mapping[str, Judged]:
        """Delete the jobs for which *verdict* has an event, as `delete` does, in one transaction.

        Unknown ids are missing in the answer.
        """
        changes, answers = _apply_verdict(conn, ids, verdict)
        if changes:
            numbers, events = [no for no, *_ in changes], _events_of(changes)
            hidden = update(jobs).where(jobs.c.no.in_(numbers))
            conn.execute(hidden.values(deleted_at=events[0].at))
            remove_from_counts(conn, [before.job for _, before, _, _ in changes])
            _fence_off(conn, numbers)
            add_events(conn, events)
        return answers

    @reads
    def owners(self, conn: Connection, ids: Collection[str]) -> set[str]:
        """Return the distinct owners of these jobs; unknown ids are ignored."""
        return set(conn.scalars(select(jobs.c.owner).where(jobs.c.id.in_(ids), PRESENT)))

    @reads
    def ids(self, conn: Connection, query: JobQuery, limit: int) -> list[str]:
        """Return the ids of the jobs that `find` returns, in its order, at a tenth of the cost."""
        matching = jobs.c.no.in_(first_keys(conn, query, limit))
        ids = select(jobs.c.id).where(matching).order_by(_order(query)).limit(limit)
        return list(conn.scalars(ids))

    @reads
    def find(self, conn: Connection, query: JobQuery, limit: int) -> list[Standing]:
        """Return at most *limit* jobs that match *query*, newest first unless it asks otherwise.

        Jobs are ordered by id: a job that is added later is newer.
        """
        matching = jobs.c.no.in_(first_keys(conn, query, limit))
        rows = standing(matching).add_columns(SHARERS).order_by(_order(query)).limit(limit)
        return [_standing_of(row) for row in conn.execute(rows).mappings()]

    @reads
    def find_ordered(
        self, conn: Connection, query: JobQuery, order: JobOrder, limit: int, after: str | None
    ) -> list[tuple[Standing, str]]:
        """Return at most *limit* jobs in *order*, each with its position, from which to go on.

        Raises:
            Invalid: no index has the order, and too many jobs match to sort them.
        """
        positions = sort_jobs(conn, query, order, limit, after)
        jobs_by_id = _get_many(conn, positions)
        return [
            (jobs_by_id[job_id], at) for job_id, at in positions.items() if job_id in jobs_by_id
        ]

    @reads
    def get_many(self, conn: Connection, ids: Collection[str]) -> Mapping[str, Standing]:
        """Return jobs by their ids; unknown ids are missing."""
        return _get_many(conn, ids)

    async def counts(
        self, query: JobQuery = EVERY_JOB, most: int | None = None
    ) -> Mapping[tuple[State, Priority], int]:
        """Return the number of jobs that match *query* by state and priority, without zeros.

        With *most*, a count that has to read jobs stops there: if the sum is *most* or more,
        each of the numbers may be too low.
        """
        if not query.counts_are_kept:
            return await self._database.read(partial(_count_parts, query=query, most=most))
        counts, many_steps = await self._database.read(partial(_maintained_counts, query=query))
        if many_steps:
            with suppress(StoreUnavailable):  # not essential: the janitor sums them up, too
                await self._database.write(sum_up)
        return counts

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
        row = conn.execute(lock_rows(standing(jobs.c.id == job.id))).mappings().first()
        if row is None:
            raise Conflict(f"job {job.id} is gone")
        parts = read_parts(conn, row["no"], row["spread"])
        if is_leased(parts.total, event.at) or parts.is_leased(event.at):
            holder = parts.total.worker or "workers of its shards"
            raise Conflict(f"job {job.id} is still held by {holder}")
        if parts.count:
            parts.add_up()
        targets = requeue(conn, parts, kinds)
        write_parts(conn, parts)
        change(conn, job, event)
        return targets

    @frees_space
    def delete(self, conn: Connection, job_id: str, version: int, event: Event) -> None:
        """Hide a job immediately and permanently; `UpkeepStore.purge` frees its space.

        Raises:
            Conflict: the stored version is another.
        """
        row = _at(conn, job_id, version)
        conn.execute(update(jobs).where(jobs.c.no == row["no"]).values(deleted_at=event.at))
        remove_from_counts(conn, [job_of(row)])
        _fence_off(conn, [row["no"]])
        add_events(conn, [event])


def _fence_off(conn: Connection, numbers: Collection[int]) -> None:
    """Fence off the holders of deleted jobs: otherwise the jobs count as leased until the purge."""
    parts = read_parts_of_jobs(conn, numbers)
    for parts_of_job in parts:
        parts_of_job.set(0, fence(parts_of_job.total))
        for number, shard in parts_of_job.iterate_leased():
            parts_of_job.set(number, fence(shard))
    write_parts(conn, *parts)


_Change = tuple[int, Standing, Job, Event]
"""The key of a job, its old and its new state, and its event."""


def _apply_verdict(
    conn: Connection, ids: Collection[str], verdict: Verdict
) -> tuple[list[_Change], dict[str, Judged]]:
    """Return the changes to jobs, whose rows are locked, and the answer for each by its id."""
    changes: list[_Change] = []
    answers: dict[str, Judged] = {}
    rows = lock_rows(standing(jobs.c.id.in_(ids)).order_by(jobs.c.no))
    for row in conn.execute(rows).mappings():
        old, refused = Standing(job=job_of(row), shard=shard_of(row)), None
        job = old.job
        try:
            decision = verdict(old)
        except Refused as refusal:
            decision, refused = None, refusal
        if decision is not None:
            job, event = decision
            changes.append((row["no"], old, job, event))
        answers[job.id] = Judged(job=job, refused=refused)
    return changes, answers


def _events_of(changes: Sequence[_Change]) -> list[Event]:
    return [event for *_, event in changes]


def _order(query: JobQuery) -> ColumnElement[str]:
    return jobs.c.id.asc() if query.oldest_first else jobs.c.id.desc()


def _get_many(conn: Connection, ids: Collection[str]) -> Mapping[str, Standing]:
    query = standing(jobs.c.id.in_(list(ids))).add_columns(SHARERS)
    return {row["id"]: _standing_of(row) for row in conn.execute(query).mappings()}


def _standing_of(row: RowMapping) -> Standing:
    return Standing(job=job_of(row), shard=shard_of(row), sharers=row[SHARERS.name])


def _maintained_counts(conn: Connection, query: JobQuery) -> tuple[_Counts, bool]:
    """Return the counts, and whether so many steps are pending that they should be summed up."""
    counts = Counter(sums(conn, query))
    if query.seen_by is not None:
        hidden_jobs = [PRESENT, PRIVATE, jobs.c.owner != query.seen_by]
        counts -= _count(conn, [*hidden_jobs, *conditions(replace(query, seen_by=None))])
    return counts, has_many_steps(conn)


def _count_parts(conn: Connection, query: JobQuery, most: int | None) -> _Counts:
    if most is None:
        few = rare_condition(conn, query, _FEW_TO_COUNT)
        parts = [[PRESENT, *few, *conditions(query), *dated] for dated in creation_bounds(query)]
    else:
        parts = [[jobs.c.no.in_(first_keys(conn, query, most, _FEW_TO_COUNT))]]
    counts = Counter[tuple[State, Priority]]()
    for part in parts:
        counts.update(_count(conn, part))
    return counts


def _count(
    conn: Connection, part: Sequence[ColumnElement[bool]]
) -> Counter[tuple[State, Priority]]:
    group = (jobs.c.state, jobs.c.priority)
    rows = conn.execute(select(*group, func.count()).where(*part).group_by(*group))
    return Counter({(State(s), Priority.from_rank(level)): count for s, level, count in rows})


def _at(conn: Connection, job_id: str, version: int) -> RowMapping:
    """Return the row of a job at a version, locked until the transaction ends.

    Raises:
        Conflict: the stored version is another, or the job is gone.
    """
    same = standing(jobs.c.id == job_id, jobs.c.version == version)
    row = conn.execute(lock_rows(same)).mappings().first()
    if row is None:
        raise Conflict(f"job {job_id} is not at version {version} any more")
    return row
