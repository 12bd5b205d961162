"""What is done to many things in the background."""

from collections.abc import AsyncGenerator

from crawlyard.client.asynchronous.calls import Calls
from crawlyard.client.transport import part
from crawlyard.core.answers.fleet.operations import OperationOut


class Operations:
    """Looks at operations, and ends them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self, *, limit: int | None = None) -> AsyncGenerator[OperationOut]:
        """Yield operations, newest first."""
        return self._calls.every(OperationOut, "operations", limit=limit)

    async def get(self, operation_id: str) -> OperationOut:
        """Return an operation: how far it is, and what could not be done."""
        return await self._calls.one(OperationOut, "GET", f"operations/{part(operation_id)}")

    async def cancel(self, operation_id: str) -> OperationOut:
        """End an operation; what it has done stays done."""
        path = f"operations/{part(operation_id)}/cancel"
        return await self._calls.one(OperationOut, "POST", path)
