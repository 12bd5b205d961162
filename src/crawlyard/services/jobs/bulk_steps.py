"""Bulk steps: how each kind of operation does a portion of its work."""

from datetime import datetime
from functools import partial

from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.bulk import Result
from crawlyard.core.operation import Failure, Operation, OperationKind
from crawlyard.errors import NotFound
from crawlyard.services.jobs.bulk import asked_of, result_of, where_of
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.jobs.operations import Portion, Worker
from crawlyard.services.schedules.scheduler import Scheduler
from crawlyard.store.queries import JobQuery

_JOBS = 20  # per portion: a cancelled operation still does up to that many
_INSTANTS = 100
_LOOKED_AT = 200  # jobs per read


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
    asked, listed = asked_of(operation.request), operation.request["ids"]
    # an action that must not be repeated is done one job per portion
    size = 1 if asked.doubles else _JOBS
    if isinstance(listed, list):
        begin = int(operation.cursor or 0)
        ids = [str(one) for one in listed[begin : begin + size]]
        cursor, over = str(begin + len(ids)), begin + len(ids) >= len(listed)
    else:
        # the newest id with a character appended sorts just above it, so that it is included
        before = operation.cursor or f"{operation.request['upto']}0"
        query = JobQuery(where=where_of(operation.request), before=before)
        ids = [one.job.id for one in await jobs.find(actor, query, size)]
        cursor, over = ids[-1] if ids else operation.cursor, len(ids) < size
    results: list[Result] = []
    for job_id in ids:
        if again and asked.doubles and await _retried(jobs, actor, job_id, operation.id):
            results.append(Result(id=job_id))
        else:
            results.append(await result_of(jobs, actor, asked, job_id))
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
