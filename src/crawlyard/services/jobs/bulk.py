"""One action on many jobs: a few at once, many as an operation."""

from collections.abc import Iterable, Mapping, Sequence

from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.desk import OperationKind
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
from crawlyard.core.quantity import counted
from crawlyard.errors import Conflict, CrawlyardError, Forbidden, Invalid, Refused
from crawlyard.services.jobs.manager import JobManager
from crawlyard.services.jobs.operations import Operations
from crawlyard.store.queries import JobQuery

AT_ONCE = 200
"""Jobs that an answer waits for; more make an operation."""

_TOLERANCE = 0.1  # by which the number of jobs may differ from what was expected


class Bulk:
    """Acts on many jobs. What the actor may not see does not count."""

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
        """Do what is asked to the jobs that are chosen, or say what would be done.

        Raises:
            Forbidden: the actor may only look.
            Invalid: no condition is given, or too many ids.
            Conflict: there are not about as many as *expected*: a tenth more or less will do.
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
        """Return ids (of a filter, the first), how many there are, and the newest of all."""
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
        # those that came between the two reads are left for another time
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
    """Do what is asked to one job, and return what came of it; a refusal is a result."""
    try:
        new_id = await _done(jobs, actor, asked, job_id)
    except (Refused, Conflict) as error:
        state = await _state(jobs, actor, job_id)
        return Result(id=job_id, code=error.code, detail=str(error), state=state)
    return Result(id=job_id, state=await _state(jobs, actor, job_id), new_id=new_id)


def asked_of(request: Mapping[str, object]) -> BulkAction:
    """Return the action that an operation's request holds."""
    priority, kinds = request["priority"], request["kinds"]
    return BulkAction(
        action=JobAction(str(request["action"])),
        reason=str(request["reason"]),
        priority=None if priority is None else Priority.of(str(priority)),
        scope=RetryScope(str(request["scope"])),
        kinds=frozenset(ErrorKind(str(kind)) for kind in _listed(kinds)),
    )


def where_of(request: Mapping[str, object]) -> tuple[Condition, ...]:
    """Return the conditions that an operation's request holds."""
    found = []
    for one in _listed(request["where"]):
        if isinstance(one, Mapping):
            words = tuple(str(word) for word in _listed(one["words"]))
            key = FilterKey(str(one["key"]))
            found.append(Condition(key=key, words=words, negated=bool(one["negated"])))
    return tuple(found)


async def _done(jobs: JobManager, actor: Actor, asked: BulkAction, job_id: str) -> str | None:
    """Do it; return the id of the job that was made, if one was."""
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
