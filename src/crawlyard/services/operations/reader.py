"""Operations, for one user to follow and cancel."""

from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import Cursor, Limit, Slice, endpoint, make_slice, reply
from crawlyard.core.operations.answers import OperationOut
from crawlyard.core.operations.operation import OperationState
from crawlyard.services.noun import Noun

READ, WRITE = Permit.JOBS_READ, Permit.JOBS_WRITE


class OperationReader(Noun):
    """Lists and cancels operations, which outlast their requests.

    An operation that the user may not see raises `NotFound`.
    """

    @endpoint("GET /operations", READ, "seq")
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[OperationOut]:
        """List operations, newest first."""
        operations = await self._services.operations.list(
            self._actor, before=cursor, limit=limit + 1
        )
        return make_slice(operations, limit, OperationOut.of, lambda operation: operation.id)

    @endpoint("GET /operations/{operation_id}", READ)
    async def get(self, operation_id: str) -> OperationOut:
        """Return an operation with its progress and failures."""
        return OperationOut.of(await self._services.operations.get(self._actor, operation_id))

    @endpoint("POST /operations/{operation_id}/cancel", WRITE, status=202)
    async def cancel(self, operation_id: str) -> OperationOut:
        """Cancel an operation; finished portions stay done, and an ended operation is unchanged."""
        before = await self._services.operations.get(self._actor, operation_id)
        operation = await self._services.operations.cancel(self._actor, operation_id)
        reply().unchanged = before.state is not OperationState.RUNNING
        return OperationOut.of(operation)
