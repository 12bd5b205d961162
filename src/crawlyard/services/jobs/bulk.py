"""Bulk actions: one action on many jobs, done at once for a few, as an operation for many."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.bulk import (
    MOST_IDS,
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
from crawlyard.core.operation import Failure, Operation, OperationKind
from crawlyard.core.quantity import counted
from crawlyard.errors import Conflict, CrawlyardError, Forbidden, Invalid, NotFound, Refused
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.jobs.operations import Operations, Portion, Worker
from crawlyard.services.schedules.scheduler import Scheduler
from crawlyard.store.queries import JobQuery

AT_ONCE = 200
"""Maximum number of jobs to handle before answering; more become an operation."""

_JOBS = 20  # per portion: a cancelled operation still does up to that many

_INSTANTS = 100

_LOOKED_AT = 200  # jobs per read

_TOLERANCE = 0.1  # how far the number of jobs may be off the expected one, as a fraction


class Bulk:
    """Acts on many jobs. Jobs that the actor may not see are not counted."""

    def __init__(self, jobs: JobManager, operations: Operations) -> None:
        self._jobs = jobs
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
            done = [await _result(self._jobs, actor, asked, job_id) for job_id in ids]
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
        query = JobQuery(where=chosen.where)
        count = sum((await self._jobs.counts(actor, query)).values())
        found = [one.job.id for one in await self._jobs.find(actor, query, AT_ONCE)]
        # jobs submitted between the two reads are not included
        return found, max(count, len(found)), found[0] if found else ""

    async def _judged(self, actor: Actor, asked: BulkAction, job_id: str) -> Result:
        try:
            job = (await self._jobs.get(actor, job_id)).job
        except Refused as error:
            return Result(id=job_id, code=error.code, detail=str(error))
        try:
            check_possible(asked, job)
        except Refused as error:
            return Result(id=job_id, code=error.code, detail=str(error), state=job.state)
        return Result(id=job_id, state=job.state)


async def _result(jobs: JobManager, actor: Actor, asked: BulkAction, job_id: str) -> Result:
    """Apply an action to one job and return the result; a refusal is a result, too."""
    try:
        new_id = await _done(jobs, actor, asked, job_id)
    except (Refused, Conflict) as error:
        state = await _state(jobs, actor, job_id)
        return Result(id=job_id, code=error.code, detail=str(error), state=state)
    return Result(id=job_id, state=await _state(jobs, actor, job_id), new_id=new_id)


async def _done(jobs: JobManager, actor: Actor, asked: BulkAction, job_id: str) -> str | None:
    """Apply an action; return the id of the job that it created, if any."""
    match asked.action:
        case JobAction.PAUSE:
            await jobs.pause(actor, job_id, asked.reason)
        case JobAction.RESUME:
            await jobs.resume(actor, job_id)
        case JobAction.CANCEL:
            await jobs.cancel(actor, job_id, asked.reason)
        case JobAction.DELETE:
            await jobs.delete(actor, job_id)
        case JobAction.SET_PRIORITY:
            await jobs.edit(actor, job_id, {"priority": asked.priority})
        case JobAction.RETRY if asked.scope is RetryScope.FAILED:
            await jobs.retry_failed(actor, job_id, asked.kinds)
        case JobAction.RETRY if asked.scope is RetryScope.NOW:
            await jobs.retry_now(actor, job_id)
        case JobAction.RETRY:
            return (await jobs.retry(actor, job_id)).id
    return None


async def _state(jobs: JobManager, actor: Actor, job_id: str) -> str | None:
    try:
        return (await jobs.get(actor, job_id)).job.state
    except CrawlyardError:
        return None


def workers_of(jobs: JobManager, scheduler: Scheduler) -> dict[OperationKind, Worker]:
    """Return the function that does a portion, for each kind of operation."""
    return {
        OperationKind.JOBS: partial(_jobs_portion, jobs),
        OperationKind.BACKFILL: partial(_backfill_portion, scheduler),
    }


async def _jobs_portion(
    jobs: JobManager,
    actor: Actor,
    operation: Operation,
    again: bool,  # noqa: FBT001 - a flag of `Worker`
) -> Portion:
    """Act on the next jobs: of a list in its order, of a filter from the newest to the oldest."""
    asked = action_in(operation.request)
    listed = operation.request["ids"]
    # an action that must not be repeated is done one job per portion
    size = 1 if asked.doubles else _JOBS
    if isinstance(listed, list):
        begin = int(operation.cursor or 0)
        ids = [str(one) for one in listed[begin : begin + size]]
        cursor, over = str(begin + len(ids)), begin + len(ids) >= len(listed)
    else:
        # the newest id with a character appended sorts just above it, so that it is included
        before = operation.cursor or f"{operation.request['upto']}0"
        query = JobQuery(where=conditions_in(operation.request), before=before)
        ids = [one.job.id for one in await jobs.find(actor, query, size)]
        cursor, over = ids[-1] if ids else operation.cursor, len(ids) < size
    results: list[Result] = []
    for job_id in ids:
        if again and asked.doubles and await _retried(jobs, actor, job_id, operation.id):
            results.append(Result(id=job_id))
        else:
            results.append(await _result(jobs, actor, asked, job_id))
    failures = tuple(
        Failure(id=one.id, code=one.code, detail=one.detail) for one in results if one.code
    )
    return Portion(done=len(results), failures=failures, cursor=cursor, over=over)


async def _retried(jobs: JobManager, actor: Actor, job_id: str, since: str) -> bool:
    """Return whether a job with an id above *since* is a retry of *job_id*."""
    try:
        owner = (await jobs.get(actor, job_id)).job.owner
    except NotFound:
        return False
    after = since
    while True:
        query = JobQuery(owner=owner, after=after, oldest_first=True)
        found = await jobs.find(actor, query, _LOOKED_AT)
        if any(one.job.retry_of == job_id for one in found):
            return True
        if len(found) < _LOOKED_AT:
            return False
        after = found[-1].job.id


async def _backfill_portion(
    scheduler: Scheduler,
    actor: Actor,
    operation: Operation,
    again: bool,  # noqa: ARG001, FBT001 - part of `Worker`; instants that have a job are skipped
) -> Portion:
    """Backfill the next instants of a schedule."""
    request = operation.request
    schedule_id, until = str(request["schedule_id"]), datetime.fromisoformat(str(request["until"]))
    begin = datetime.fromisoformat(operation.cursor or str(request["since"]))
    version = request.get("version")
    ahead = await scheduler.due_between(actor, schedule_id, begin, until, _INSTANTS + 1)
    end = ahead[_INSTANTS] if len(ahead) > _INSTANTS else until
    if ahead:
        await scheduler.backfill(
            actor,
            schedule_id,
            begin,
            end,
            dry_run=False,
            version=version if isinstance(version, int) else None,
        )
    return Portion(
        done=min(len(ahead), _INSTANTS),
        failures=(),
        cursor=end.isoformat(),
        over=len(ahead) <= _INSTANTS,
    )
