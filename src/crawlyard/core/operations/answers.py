"""Answers about operations, and results of bulk actions."""

from typing import Annotated, Any, Literal

from crawlyard.core.answer import API, Wire, derive_answer
from crawlyard.core.fields import after
from crawlyard.core.operations.bulk import BulkDone, Result
from crawlyard.core.operations.operation import Operation


@derive_answer
class OperationOut(Operation, Wire, frozen=True, kw_only=True):
    """A background operation on many records."""

    object: Literal["operation"] = "operation"
    request: dict[str, Any]  # the action and its parameters
    links: dict[str, str]

    @classmethod
    def of(cls, operation: Operation) -> "OperationOut":
        """Return the answer; the ids of its jobs are left out, there may be thousands."""
        hidden = {"ids", "upto"}
        visible = {name: value for name, value in operation.request.items() if name not in hidden}
        own = f"{API}/operations/{operation.id}"
        return cls.filled(
            operation,
            request=visible,
            links={"self": own, "cancel": f"{own}/cancel"},
        )


@derive_answer
class ResultOut(Result, Wire, frozen=True, kw_only=True):
    """Result of an action or dry run for one job; *code* is that of a problem, null: done."""

    ok: Annotated[bool, after("id")]


@derive_answer
class BulkOut(BulkDone, Wire, frozen=True, kw_only=True):
    """Results of a bulk action: *results*, or the *operation* that performs it."""

    object: Literal["bulk"] = "bulk"
    succeeded: Annotated[int, after("count")]
    failed: Annotated[int, after("succeeded")]
    results: tuple[ResultOut, ...]
    operation: OperationOut | None
