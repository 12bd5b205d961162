"""The shapes of operations, and of what is done to many jobs."""

from typing import Annotated, Any, Literal

from pydantic import Field

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.bulk import MOST_IDS, BulkDone, JobAction, Result, RetryScope
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.operation import Failure, Operation
from crawlyard.web.wire.base import API, Ask, Instant, Text, Wire, example
from crawlyard.web.wire.jobs.asks import MAX_REASON

_Word = Annotated[str, Field(min_length=1, max_length=200)]
_Words = Annotated[tuple[_Word, ...], Field(max_length=100)]
_Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,64}$")]

_PRIORITIES = {"enum": [*(str(level) for level in reversed(Priority)), None]}


class FilterAsk(Ask):
    """Conditions that must all fit; several values of one are alternatives."""

    state: _Words = ()
    priority: _Words = ()
    priority_gte: _Words = ()
    tag: _Words = ()
    host: _Words = ()
    template: _Words = ()
    schedule: _Words = ()
    owner: _Words = ()
    origin: _Words = ()
    created_after: _Words = ()
    created_before: _Words = ()
    q: Annotated[str, Field(max_length=500, description="The filter language.")] = ""


class BulkAsk(Ask):
    """An action, and the jobs that it is for: *ids* or a *filter*."""

    model_config = example(
        action="cancel", filter={"state": ["pending"], "tag": ["news"]}, dry_run=True
    )

    action: JobAction
    ids: Annotated[tuple[_Id, ...] | None, Field(max_length=MOST_IDS)] = None
    filter: FilterAsk | None = None
    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""
    priority: Annotated[
        str | None,
        Field(max_length=20, description="Of `set_priority`.", json_schema_extra=_PRIORITIES),
    ] = None
    scope: Annotated[RetryScope, Field(description="Of `retry`.")] = RetryScope.ALL
    kinds: Annotated[
        tuple[ErrorKind, ...], Field(max_length=50, description="Of `retry`, scope `failed`.")
    ] = ()
    expected_count: Annotated[
        int | None,
        Field(ge=0, le=10**9, description="409 if there are a tenth more or less by now."),
    ] = None
    dry_run: Annotated[bool, Field(description="Only say what would be done.")] = False


class FailureOut(Wire, frozen=True, kw_only=True):
    """One thing that could not be done."""

    id: str
    code: str
    detail: Text

    @classmethod
    def of(cls, failure: Failure) -> "FailureOut":
        """Return the shape of *failure*."""
        return cls.filled(failure)


class OperationOut(Wire, frozen=True, kw_only=True):
    """Something done to many things, in the background."""

    id: str
    object: Literal["operation"] = "operation"
    owner: str
    kind: str  # jobs or backfill
    state: str  # running, completed, cancelled or failed
    request: dict[str, Any]  # what is done
    total: int
    done: int  # failed ones too
    failed: int
    failures: tuple[FailureOut, ...]  # the first hundred
    detail: str
    version: int
    created_at: Instant
    updated_at: Instant
    ended_at: Instant | None
    links: dict[str, str]

    @classmethod
    def of(cls, operation: Operation) -> "OperationOut":
        """Return the shape of *operation*."""
        hidden = {"ids", "upto"}
        shown = {name: value for name, value in operation.request.items() if name not in hidden}
        own = f"{API}/operations/{operation.id}"
        return cls.filled(
            operation,
            object="operation",
            request=shown,
            failures=tuple(map(FailureOut.of, operation.failures)),
            links={"self": own, "cancel": f"{own}/cancel"},
        )


class ResultOut(Wire, frozen=True, kw_only=True):
    """What became of one job, or would; *code* is that of a problem, null: it was done."""

    id: str
    ok: bool
    code: str | None
    detail: Text
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
