"""Bulk actions: one action on many jobs, at once or, for many, as an operation."""

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
from crawlyard.core.quantity import count_noun
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Conflict, CrawlyardError, Forbidden, Invalid, NotFound, Refused
from crawlyard.services.jobs.lookup import find_job, visible_query
from crawlyard.services.jobs.moves import JobWriter
from crawlyard.services.operations.operations import Operations, Portion, Worker
from crawlyard.services.schedules.backfill import backfill_portion
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

_TOLERANCE = 0.1  # tolerated difference from the expected number of jobs, as a fraction


class Bulk:
    """Acts on many jobs. Jobs that the actor may not see are not counted."""

    def __init__(self, writer: JobWriter, operations: Operations) -> None:
        self._writer = writer
        self._operations = operations

    async def act(
        self,
        actor: Actor,
        action: BulkAction,
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
            raise Forbidden(f"{actor.id} may view jobs, but not change them")
        ids, count, upto = await self._select(actor, chosen)
        if expected is not None and abs(count - expected) > expected * _TOLERANCE:
            raise Conflict(
                f"expected {count_noun(expected, 'job')}, but {count:,} match now; check again"
            )
        if dry_run:
            results = [await self._check(actor, action, job_id) for job_id in ids[:AT_ONCE]]
            return BulkDone(count=count, dry_run=True, results=tuple(results))
        if count <= AT_ONCE:
            done = await _results(self._writer, actor, action, ids)
            return BulkDone(count=count, dry_run=False, results=tuple(done))
        if chosen.ids is not None:
            request = request_of(action, ids=ids)
        else:
            request = request_of(action, ids=None, where=chosen.where, upto=upto)
        operation = await self._operations.start(actor, OperationKind.JOBS, request, count)
        return BulkDone(count=count, dry_run=False, results=(), operation=operation)

    async def _select(self, actor: Actor, chosen: Chosen) -> tuple[Sequence[str], int, str]:
        """Return the ids, their count and the newest id.

        For a filter, only the first ids. For a list of ids, the newest is empty.
        """
        if chosen.ids is not None:
            ids = list(dict.fromkeys(chosen.ids))
            if len(ids) > MOST_IDS:
                raise Invalid("ids", f"expected at most {MOST_IDS:,}, got {len(ids):,}; filter")
            return ids, len(ids), ""
        if not chosen.where:
            raise Invalid("filter", "expected at least one condition; created_before selects all")
        query = await visible_query(self._writer.store, actor, JobQuery(where=chosen.where))
        count = sum((await self._writer.store.jobs.counts(query)).values())
        first_ids = await self._writer.store.jobs.ids(query, AT_ONCE)
        # jobs submitted between the two reads are not included
        return first_ids, max(count, len(first_ids)), first_ids[0] if first_ids else ""

    async def _check(self, actor: Actor, action: BulkAction, job_id: str) -> Result:
        try:
            job = (await find_job(self._writer.store, actor, job_id)).job
        except Refused as error:
            return Result(id=job_id, code=error.code, detail=str(error))
        try:
            check_possible(action, job)
        except Refused as error:
            return Result(id=job_id, code=error.code, detail=str(error), state=job.state)
        return Result(id=job_id, state=job.state)


async def _results(
    writer: JobWriter, actor: Actor, action: BulkAction, ids: Sequence[str]
) -> list[Result]:
    """Apply an action to jobs and return the result of each; a refusal is a result, too."""
    if action.action is JobAction.RETRY and action.scope is RetryScope.FAILED:
        # side by side, so that they share transactions
        results: list[Result] = []
        for begin in range(0, len(ids), _RETRIED):
            some = ids[begin : begin + _RETRIED]
            results += await asyncio.gather(
                *(_retry(writer, actor, action, job_id) for job_id in some)
            )
        return results
    names = {job_id: job_id.lower() for job_id in ids}
    valid_ids = [name for name in names.values() if is_id(name)]
    if action.doubles:
        retries = await writer.retry_all(actor, valid_ids)
        return [_result_of_retry(job_id, retries.get(name)) for job_id, name in names.items()]
    verdicts = await _change(writer, actor, action, valid_ids)
    return [
        _result_of(job_id, verdicts.get(name), is_deleted=action.action is JobAction.DELETE)
        for job_id, name in names.items()
    ]


async def _change(
    writer: JobWriter, actor: Actor, action: BulkAction, ids: Sequence[str]
) -> Mapping[str, Judged]:
    """Apply an action to jobs in one transaction."""
    if action.action is JobAction.DELETE:
        return await writer.delete_all(actor, ids)
    if action.action in EDITS:
        return await writer.edit_all(actor, ids, action.changes_of)
    return await writer.move_all(
        actor, ids, MOVES.get(action.action, Move.RETRY_NOW), action.reason
    )


def _result_of(job_id: str, verdict: Judged | None, *, is_deleted: bool) -> Result:
    if verdict is None:
        return Result(id=job_id, code=NotFound.code, detail=f"there is no job {job_id[:100]}")
    refused = verdict.refused
    if refused is None:
        return Result(id=job_id, state=None if is_deleted else verdict.job.state)
    return Result(id=job_id, code=refused.code, detail=str(refused), state=verdict.job.state)


def _result_of_retry(job_id: str, retry: tuple[Job, Entered] | None) -> Result:
    if retry is None:
        return _result_of(job_id, None, is_deleted=False)
    old, new = retry
    if isinstance(new, Job):
        return Result(id=job_id, state=old.state, new_id=new.id)
    return Result(id=job_id, code=new.code, detail=str(new), state=old.state)


async def _retry(writer: JobWriter, actor: Actor, action: BulkAction, job_id: str) -> Result:
    """Retry the failed URLs of a job, and return the result."""
    try:
        job, _ = await writer.retry_failed(actor, job_id, action.kinds)
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
    """Return the function that does a portion, by kind of operation."""
    return {
        OperationKind.JOBS: partial(_jobs_portion, writer),
        OperationKind.BACKFILL: partial(backfill_portion, ticker),
    }


async def _jobs_portion(
    writer: JobWriter,
    actor: Actor,
    operation: Operation,
    again: bool,  # noqa: FBT001 - a flag of `Worker`
) -> Portion:
    """Act on the next jobs: of a list in its order, of a filter newest first."""
    action = action_in(operation.request)
    listed = operation.request["ids"]
    if isinstance(listed, list):
        begin = int(operation.cursor or 0)
        ids = [str(job_id) for job_id in listed[begin : begin + _JOBS]]
        cursor, over = str(begin + len(ids)), begin + len(ids) >= len(listed)
    else:
        # the newest id with a character appended sorts just above it, so that it is included
        before = operation.cursor or f"{operation.request['upto']}0"
        query = JobQuery(where=conditions_in(operation.request), before=before)
        ids = await writer.store.jobs.ids(await visible_query(writer.store, actor, query), _JOBS)
        cursor, over = ids[-1] if ids else operation.cursor, len(ids) < _JOBS
    done = await _retries(writer.store, actor, operation.id) if again and action.doubles else set()
    results = await _results(
        writer, actor, action, [job_id for job_id in ids if job_id not in done]
    )
    failures = tuple(
        Failure(id=result.id, code=result.code, detail=result.detail)
        for result in results
        if result.code
    )
    return Portion(done=len(ids), failures=failures, cursor=cursor, over=over)


async def _retries(store: Store, actor: Actor, since: str) -> set[str]:
    """Return the ids of jobs that have a retry with an id above *since*."""
    where = (condition(FilterKey.ORIGIN, [Source.RETRY]),)
    job_ids, after = set[str](), since
    while True:
        query = JobQuery(where=where, after=after, oldest_first=True)
        visible = await visible_query(store, actor, query)
        some = [standing.job for standing in await store.jobs.find(visible, _LOOKED_AT)]
        job_ids.update(job.retry_of for job in some if job.retry_of is not None)
        if len(some) < _LOOKED_AT:
            return job_ids
        after = some[-1].id
