"""The shapes of operations, and of what is done to many jobs."""

from typing import Any, Literal

from crawlyard.core.answer import API, Wire, derived
from crawlyard.core.operations.bulk import BulkDone, Result
from crawlyard.core.operations.operation import Operation


@derived
class OperationOut(Operation, Wire, frozen=True, kw_only=True):
    """Something done to many things, in the background."""

    object: Literal["operation"] = "operation"
    request: dict[str, Any]  # what is done
    links: dict[str, str]

    @classmethod
    def of(cls, operation: Operation) -> "OperationOut":
        """Return the shape of *operation*."""
        hidden = {"ids", "upto"}
        shown = {name: value for name, value in operation.request.items() if name not in hidden}
        own = f"{API}/operations/{operation.id}"
        return cls.filled(
            operation,
            request=shown,
            links={"self": own, "cancel": f"{own}/cancel"},
        )


class ResultOut(Wire, frozen=True, kw_only=True):
    """What became of one job, or would; *code* is that of a problem, null: it was done."""

    id: str
    ok: bool
    code: str | None
    detail: str
    state: str | None  # of the job now; null: it is gone, or cannot be seen
    new_id: str | None  # of the job that a retry has made

    @classmethod
    def of(cls, result: Result) -> "ResultOut":
        """Return the shape of *result*."""
        return cls.filled(result, ok=not result.code, code=result.code or None)


class BulkOut(Wire, frozen=True, kw_only=True):
    """What became of many jobs: *results*, or an *operation* that does it."""

    object: Literal["bulk"] = "bulk"
    dry_run: bool
    count: int  # jobs that were meant
    succeeded: int
    failed: int
    results: tuple[ResultOut, ...]
    operation: OperationOut | None

    @classmethod
    def of(cls, done: BulkDone) -> "BulkOut":
        """Return the shape of *done*."""
        results = tuple(map(ResultOut.of, done.results))
        good = sum(result.ok for result in results)
        return cls(
            dry_run=done.dry_run,
            count=done.count,
            succeeded=good,
            failed=len(results) - good,
            results=results,
            operation=None if done.operation is None else OperationOut.of(done.operation),
        )
