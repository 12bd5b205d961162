"""The shapes of operations, and of what is done to many jobs."""

from typing import Annotated, Any, Literal

from crawlyard.core.answer import API, Wire, derived
from crawlyard.core.fields import after
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
        """Return the answer; the ids of its jobs are left out, there may be thousands."""
        hidden = {"ids", "upto"}
        shown = {name: value for name, value in operation.request.items() if name not in hidden}
        own = f"{API}/operations/{operation.id}"
        return cls.filled(
            operation,
            request=shown,
            links={"self": own, "cancel": f"{own}/cancel"},
        )


@derived
class ResultOut(Result, Wire, frozen=True, kw_only=True):
    """What became of one job, or would; *code* is that of a problem, null: it was done."""

    ok: Annotated[bool, after("id")]


@derived
class BulkOut(BulkDone, Wire, frozen=True, kw_only=True):
    """What became of many jobs: *results*, or an *operation* that does it."""

    object: Literal["bulk"] = "bulk"
    succeeded: Annotated[int, after("count")]
    failed: Annotated[int, after("succeeded")]
    results: tuple[ResultOut, ...]
    operation: OperationOut | None
