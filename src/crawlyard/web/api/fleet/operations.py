"""Operations: what is done to many things, in the background."""

from fastapi import APIRouter, Request, Response

from crawlyard.core.answers.fleet.operations import OperationOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.core.operation import OperationState
from crawlyard.web.asking import ReadsJobs, SiteOf, WritesJobs
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import tag_of, unchanged
from crawlyard.web.live.begin import BEGINS_STREAM
from crawlyard.web.paging import Pages
from crawlyard.web.routes import Route

router = APIRouter(prefix="/operations", tags=["operations"], route_class=Route)


@router.get("", responses=problems(401, 403, 422), dependencies=[BEGINS_STREAM])
async def list_(actor: ReadsJobs, site: SiteOf, pages: Pages) -> ListOut[OperationOut]:
    """List operations, newest first."""
    before = str(pages.position[0]) if pages.position else None
    found = await site.yard.operations.list(actor, before=before, limit=pages.more)
    return pages.page(found, OperationOut.of, lambda operation: [operation.id])


@router.get(
    "/{operation_id}", response_model=OperationOut, responses=problems(401, 403, 404) | NOT_MODIFIED
)
async def get(
    operation_id: str, actor: ReadsJobs, site: SiteOf, request: Request, response: Response
) -> OperationOut | Response:
    """Return an operation: how far it is, and what could not be done."""
    operation = await site.yard.operations.get(actor, operation_id)
    return unchanged(request, response, tag_of(operation.version)) or OperationOut.of(operation)


@router.post(
    "/{operation_id}/cancel",
    status_code=202,
    responses=problems(401, 403, 404, 409)
    | {200: {"model": OperationOut, "description": "It had ended already"}},
)
async def cancel(
    operation_id: str, actor: WritesJobs, site: SiteOf, response: Response
) -> OperationOut:
    """End an operation; what it has done stays done. One that has ended stays as it is (200)."""
    before = await site.yard.operations.get(actor, operation_id)
    operation = await site.yard.operations.cancel(actor, operation_id)
    if before.state is not OperationState.RUNNING:
        response.status_code = 200
    response.headers["ETag"] = tag_of(operation.version)
    return OperationOut.of(operation)
