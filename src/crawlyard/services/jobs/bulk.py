"""Bulk actions: one action on many jobs, done at once for a few, as an operation for many."""

from collections.abc import Iterable, Mapping, Sequence

from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.bulk import (
    MOST_IDS,
    BulkAction,
    BulkDone,
    Chosen,
    JobAction,
    Result,
    RetryScope,
    check_possible,
)
from crawlyard.core.jobs.filter import Condition, FilterKey
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.operation import OperationKind
from crawlyard.core.quantity import counted
from crawlyard.errors import Conflict, CrawlyardError, Forbidden, Invalid, Refused
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.jobs.operations import Operations
from crawlyard.store.queries import JobQuery

AT_ONCE = 200
"""Maximum number of jobs to handle before answering; more become an operation."""

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
            done = [await result_of(self._jobs, actor, asked, job_id) for job_id in ids]
            return BulkDone(count=count, dry_run=False, results=tuple(done))
        request = {**_written(asked), "ids": None if chosen.ids is None else list(ids)}
        if chosen.ids is None:
            request |= {"where": [_condition_written(one) for one in chosen.where], "upto": upto}
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


async def result_of(jobs: JobManager, actor: Actor, asked: BulkAction, job_id: str) -> Result:
    """Apply an action to one job and return the result; a refusal is a result, too."""
    try:
        new_id = await _done(jobs, actor, asked, job_id)
    except (Refused, Conflict) as error:
        state = await _state(jobs, actor, job_id)
        return Result(id=job_id, code=error.code, detail=str(error), state=state)
    return Result(id=job_id, state=await _state(jobs, actor, job_id), new_id=new_id)


def asked_of(request: Mapping[str, object]) -> BulkAction:
    """Return the action in an operation's request."""
    priority, kinds = request["priority"], request["kinds"]
    return BulkAction(
        action=JobAction(str(request["action"])),
        reason=str(request["reason"]),
        priority=None if priority is None else Priority.of(str(priority)),
        scope=RetryScope(str(request["scope"])),
        kinds=frozenset(ErrorKind(str(kind)) for kind in _listed(kinds)),
    )


def where_of(request: Mapping[str, object]) -> tuple[Condition, ...]:
    """Return the conditions in an operation's request."""
    found = []
    for one in _listed(request["where"]):
        if isinstance(one, Mapping):
            words = tuple(str(word) for word in _listed(one["words"]))
            key = FilterKey(str(one["key"]))
            found.append(Condition(key=key, words=words, negated=bool(one["negated"])))
    return tuple(found)


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


def _written(asked: BulkAction) -> dict[str, object]:
    return {
        "action": asked.action.value,
        "reason": asked.reason,
        "priority": None if asked.priority is None else str(asked.priority),
        "scope": asked.scope.value,
        "kinds": sorted(asked.kinds),
    }


def _condition_written(one: Condition) -> dict[str, object]:
    return {"key": one.key.value, "words": list(one.words), "negated": one.negated}


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, (list, tuple)) else ()
