"""Saved views: filters under names, each user's own."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from crawlyard.core.access.user import Actor
from crawlyard.core.access.view import SavedView
from crawlyard.core.answers.access.views import ViewOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.web.asking import Anybody, OwnAccount, SiteOf
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import expected_version, tag_of, unchanged
from crawlyard.web.paging import whole
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.access.views_asks import ViewAsk, ViewPatch

router = APIRouter(prefix="/views", tags=["views"], route_class=Route)


@router.get("", responses=problems(401, 422))
async def list_(
    caller: Anybody, site: SiteOf, page: Annotated[str | None, Query(max_length=32)] = None
) -> ListOut[ViewOut]:
    """List your views by page and name."""
    return whole([ViewOut.of(view) for view in await site.views.list(caller.actor, page)])


@router.post("", status_code=201, responses=problems(401, 403, 409, 422, 429))
async def create(ask: ViewAsk, caller: OwnAccount, site: SiteOf, response: Response) -> ViewOut:
    """Keep a filter under a name."""
    view = await site.views.create(caller.actor, ask.name, ask.page, ask.query)
    response.headers["Location"] = f"/api/v1/views/{view.id}"
    return _tagged(view, response)


@router.get("/{view_id}", response_model=ViewOut, responses=problems(401, 404) | NOT_MODIFIED)
async def get(
    view_id: str, caller: Anybody, site: SiteOf, request: Request, response: Response
) -> ViewOut | Response:
    """Return a view."""
    view = await site.views.get(caller.actor, view_id)
    return unchanged(request, response, tag_of(view.version)) or ViewOut.of(view)


@router.patch("/{view_id}", responses=problems(401, 403, 404, 409, 412, 422))
async def patch(
    view_id: str,
    ask: ViewPatch,
    caller: OwnAccount,
    site: SiteOf,
    request: Request,
    response: Response,
) -> ViewOut:
    """Change the name or the filter of a view."""
    version = await _expected(site, caller.actor, view_id, request)
    view = await site.views.update(
        caller.actor, view_id, name=ask.name, query=ask.query, version=version
    )
    return _tagged(view, response)


@router.delete("/{view_id}", status_code=204, responses=problems(401, 403, 404, 409, 412))
async def delete(view_id: str, caller: OwnAccount, site: SiteOf, request: Request) -> None:
    """Delete a view."""
    version = await _expected(site, caller.actor, view_id, request)
    await site.views.delete(caller.actor, view_id, version=version)


def _tagged(view: SavedView, response: Response) -> ViewOut:
    response.headers["ETag"] = tag_of(view.version)
    return ViewOut.of(view)


async def _expected(site: Site, actor: Actor, view_id: str, request: Request) -> int | None:
    return expected_version(request, (await site.views.get(actor, view_id)).version)
