"""Many jobs that are submitted by one request."""

from collections.abc import Sequence
from typing import Literal

from crawlyard.core.answers.base import Wire
from crawlyard.core.jobs.job import Job
from crawlyard.errors import Conflict, Invalid, Refused


class SubmittedOut(Wire, frozen=True, kw_only=True):
    """What became of one of them; *code* is that of a problem, null: the job is there."""

    ok: bool
    id: str | None
    state: str | None
    code: str | None
    field: str | None  # of the job that was asked for, where one is to blame
    detail: str

    @classmethod
    def of(cls, answer: Job | Refused | Conflict) -> "SubmittedOut":
        """Return the shape of *answer*."""
        if isinstance(answer, Job):
            return cls(ok=True, id=answer.id, state=answer.state, code=None, field=None, detail="")
        field = answer.field if isinstance(answer, Invalid) else None
        return cls(ok=False, id=None, state=None, code=answer.code, field=field, detail=str(answer))


class BatchOut(Wire, frozen=True, kw_only=True):
    """What became of jobs that were wanted, in the order asked."""

    object: Literal["batch"] = "batch"
    count: int
    succeeded: int
    failed: int
    results: tuple[SubmittedOut, ...]

    @classmethod
    def of(cls, answers: Sequence[Job | Refused | Conflict]) -> "BatchOut":
        """Return the shape of *answers*."""
        results = tuple(map(SubmittedOut.of, answers))
        good = sum(result.ok for result in results)
        return cls(count=len(results), succeeded=good, failed=len(results) - good, results=results)
