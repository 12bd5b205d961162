"""Bulk actions: one action on many jobs, done at once for a few, as an operation for many."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.jobs.job import Job, Source
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.operations.bulk import (
    EDITS,
    MOST_IDS,
    MOVES,
    BulkAction,
    BulkDone,
    Chosen,
    JobAction,
    Result,
    RetryScope,
    action_in,
    check_possible,
    conditions_in,
    request_of,
)
from crawlyard.core.operations.operation import Failure, Operation, OperationKind
from crawlyard.core.quantity import counted
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Conflict, CrawlyardError, Forbidden, Invalid, NotFound, Refused
from crawlyard.services.jobs.lookup import find_job, visible_query
from crawlyard.services.jobs.moves import JobWriter
from crawlyard.services.operations.operations import Operations, Portion, Worker
from crawlyard.services.schedules.backfill import backfill_operation
from crawlyard.services.schedules.ticker import Ticker
from crawlyard.store.queries import Entered, JobQuery, Judged
from crawlyard.store.store import Store

AT_ONCE = 200
"""Maximum number of jobs to handle before answering; more become an operation."""

_JOBS = 250
"""Jobs per portion: one transaction. A cancelled operation still does up to that many."""

_RETRIED = 25
"""Jobs whose failed URLs are retried at a time: each is a transaction of its own."""

_LOOKED_AT = 200  # jobs per read

_TOLERANCE = 0.1  # how far the number of jobs may be off the expected one, as a fraction


class Bulk:
    """Acts on many jobs. Jobs that the actor may not see are not counted."""

    def __init__(self, writer: JobWriter, operations: Operations) -> None:
        self._writer = writer
        self._operations = operations

    async def act(
        self,
        actor: Actor,
        asked: BulkAction,
        chosen: Chosen,
        *,
        expected: int | None = None,
        dry_run: bool = False,
    ) -> BulkDone:
        """Apply an action to the chosen jobs, or with *dry_run*, return what would be done.

        Raises:
            Forbidden: the actor may only view.
            Invalid: no condition is given, or too many ids.
            Conflict: the number of jobs differs from *expected* by more than a tenth.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may look at jobs, not change them")
        ids, count, upto = await self._meant(actor, chosen)
        if expected is not None and abs(count - expected) > expected * _TOLERANCE:
            raise Conflict(
                f"expected {counted(expected, 'job')}, and there are {count:,} by now; look again"
            )
        if dry_run:
            results = [await self._judged(actor, asked, job_id) for job_id in ids[:AT_ONCE]]
            return BulkDone(count=count, dry_run=True, results=tuple(results))
        if count <= AT_ONCE:
            done = await _results(self._writer, actor, asked, ids)
            return BulkDone(count=count, dry_run=False, results=tuple(done))
        if chosen.ids is not None:
            request = request_of(asked, ids=ids)
        else:
            request = request_of(asked, ids=None, where=chosen.where, upto=upto)
        operation = await self._operations.start(actor, OperationKind.JOBS, request, count)
        return BulkDone(count=count, dry_run=False, results=(), operation=operation)

    async def _meant(self, actor: Actor, chosen: Chosen) -> tuple[Sequence[str], int, str]:
        """Return the ids, their count and the newest id.

        For a filter, only the first ids. For a list of ids, the newest is empty.
        """
        if chosen.ids is not None:
            ids = list(dict.fromkeys(chosen.ids))
            if len(ids) > MOST_IDS:
                raise Invalid("ids", f"expected at most {MOST_IDS:,}, got {len(ids):,}; filter")
            return ids, len(ids), ""
        if not chosen.where:
            raise Invalid("filter", "expected a condition at least; created_before means all")
        query = await visible_query(self._writer.store, actor, JobQuery(where=chosen.where))
        count = sum((await self._writer.store.jobs.counts(query)).values())
        found = await self._writer.store.jobs.ids(query, AT_ONCE)
        # jobs submitted between the two reads are not included
        return found, max(count, len(found)), found[0] if found else ""

    async def _judged(self, actor: Actor, asked: BulkAction, job_id: str) -> Result:
        try:
            job = (await find_job(self._writer.store, actor, job_id)).job
        except Refused as error:
            return Result(id=job_id, code=error.code, detail=str(error))
        try:
            check_possible(asked, job)
        except Refused as error:
            return Result(id=job_id, code=error.code, detail=str(error), state=job.state)
        return Result(id=job_id, state=job.state)


async def _results(
    writer: JobWriter, actor: Actor, asked: BulkAction, ids: Sequence[str]
) -> list[Result]:
    """Apply an action to jobs and return the result of each; a refusal is a result, too."""
    if asked.action is JobAction.RETRY and asked.scope is RetryScope.FAILED:
        # side by side, so that they share transactions
        found: list[Result] = []
        for begin in range(0, len(ids), _RETRIED):
            some = ids[begin : begin + _RETRIED]
            found += await asyncio.gather(*(_retried(writer, actor, asked, one) for one in some))
        return found
    names = {one: one.lower() for one in ids}
    known = [name for name in names.values() if is_id(name)]
    if asked.doubles:
        made = await writer.retry_all(actor, known)
        return [_result_of_retry(one, made.get(name)) for one, name in names.items()]
    judged = await _changed(writer, actor, asked, known)
    return [
        _result_of(one, judged.get(name), gone=asked.action is JobAction.DELETE)
        for one, name in names.items()
    ]


async def _changed(
    writer: JobWriter, actor: Actor, asked: BulkAction, ids: Sequence[str]
) -> Mapping[str, Judged]:
    """Apply an action to jobs in one transaction."""
    if asked.action is JobAction.DELETE:
        return await writer.delete_all(actor, ids)
    if asked.action in EDITS:
        return await writer.edit_all(actor, ids, asked.changes_of)
    return await writer.move_all(actor, ids, MOVES.get(asked.action, Move.RETRY_NOW), asked.reason)


def _result_of(job_id: str, judged: Judged | None, *, gone: bool) -> Result:
    if judged is None:
        return Result(id=job_id, code=NotFound.code, detail=f"there is no job {job_id[:100]}")
    refused = judged.refused
    if refused is None:
        return Result(id=job_id, state=None if gone else judged.job.state)
    return Result(id=job_id, code=refused.code, detail=str(refused), state=judged.job.state)


def _result_of_retry(job_id: str, made: tuple[Job, Entered] | None) -> Result:
    if made is None:
        return _result_of(job_id, None, gone=False)
    old, new = made
    if isinstance(new, Job):
        return Result(id=job_id, state=old.state, new_id=new.id)
    return Result(id=job_id, code=new.code, detail=str(new), state=old.state)


async def _retried(writer: JobWriter, actor: Actor, asked: BulkAction, job_id: str) -> Result:
    """Retry the failed URLs of a job, and return the result."""
    try:
        job, _ = await writer.retry_failed(actor, job_id, asked.kinds)
    except (Refused, Conflict) as error:
        state = await _state(writer.store, actor, job_id)
        return Result(id=job_id, code=error.code, detail=str(error), state=state)
    return Result(id=job_id, state=job.state)


async def _state(store: Store, actor: Actor, job_id: str) -> str | None:
    try:
        return (await find_job(store, actor, job_id)).job.state
    except CrawlyardError:
        return None


def workers_of(writer: JobWriter, ticker: Ticker) -> dict[OperationKind, Worker]:
    """Return the function that does a portion, for each kind of operation."""
    return {
        OperationKind.JOBS: partial(_jobs_portion, writer),
        OperationKind.BACKFILL: partial(backfill_operation, ticker),
    }


async def _jobs_portion(
    writer: JobWriter,
    actor: Actor,
    operation: Operation,
    again: bool,  # noqa: FBT001 - a flag of `Worker`
) -> Portion:
    """Act on the next jobs: of a list in its order, of a filter from the newest to the oldest."""
    asked = action_in(operation.request)
    listed = operation.request["ids"]
    if isinstance(listed, list):
        begin = int(operation.cursor or 0)
        ids = [str(one) for one in listed[begin : begin + _JOBS]]
        cursor, over = str(begin + len(ids)), begin + len(ids) >= len(listed)
    else:
        # the newest id with a character appended sorts just above it, so that it is included
        before = operation.cursor or f"{operation.request['upto']}0"
        query = JobQuery(where=conditions_in(operation.request), before=before)
        ids = await writer.store.jobs.ids(await visible_query(writer.store, actor, query), _JOBS)
        cursor, over = ids[-1] if ids else operation.cursor, len(ids) < _JOBS
    done = await _retries(writer.store, actor, operation.id) if again and asked.doubles else set()
    results = await _results(writer, actor, asked, [one for one in ids if one not in done])
    failures = tuple(
        Failure(id=one.id, code=one.code, detail=one.detail) for one in results if one.code
    )
    return Portion(done=len(ids), failures=failures, cursor=cursor, over=over)


async def _retries(store: Store, actor: Actor, since: str) -> set[str]:
    """Return the jobs of which a job with an id above *since* is a retry."""
    where = (condition(FilterKey.ORIGIN, [Source.RETRY]),)
    found, after = set[str](), since
    while True:
        query = JobQuery(where=where, after=after, oldest_first=True)
        visible = await visible_query(store, actor, query)
        some = [standing.job for standing in await store.jobs.find(visible, _LOOKED_AT)]
        found.update(job.retry_of for job in some if job.retry_of is not None)
        if len(some) < _LOOKED_AT:
            return found
        after = some[-1].id
