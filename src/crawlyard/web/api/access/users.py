"""Accounts, for admins; everybody sees his own."""

from fastapi import APIRouter, Request, Response

from crawlyard.core.answers.access.access import UserOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.web.asking import Anybody, IsAdmin, SiteOf
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import expected_version, tag_of, unchanged
from crawlyard.web.paging import Pages
from crawlyard.web.routes import Route
from crawlyard.web.wire.access.access_asks import UserAsk, UserPatch

router = APIRouter(prefix="/users", tags=["users"], route_class=Route)


@router.get("", responses=problems(401, 422))
async def list_(caller: Anybody, site: SiteOf, pages: Pages) -> ListOut[UserOut]:
    """List users by id; who is no admin sees himself."""
    after = str(pages.position[0]) if pages.position else ""
    found = await site.users.list(caller.actor, after=after, limit=pages.more)
    return pages.page(found, UserOut.of, lambda user: [user.id])


@router.post("", status_code=201, responses=problems(401, 403, 409, 422))
async def create(ask: UserAsk, actor: IsAdmin, site: SiteOf, response: Response) -> UserOut:
    """Make a user; give him a token by `POST /tokens`."""
    user = await site.users.create(actor, ask.id, ask.role, ask.quota.quota)
    response.headers["Location"] = f"/api/v1/users/{user.id}"
    response.headers["ETag"] = tag_of(user.version)
    return UserOut.of(user)


@router.get("/{user_id}", response_model=UserOut, responses=problems(401, 404) | NOT_MODIFIED)
async def get(
    user_id: str, caller: Anybody, site: SiteOf, request: Request, response: Response
) -> UserOut | Response:
    """Return a user."""
    user = await site.users.get(caller.actor, user_id)
    return unchanged(request, response, tag_of(user.version)) or UserOut.of(user)


@router.patch("/{user_id}", responses=problems(401, 403, 404, 409, 412, 422))
async def patch(
    user_id: str,
    ask: UserPatch,
    actor: IsAdmin,
    site: SiteOf,
    request: Request,
    response: Response,
) -> UserOut:
    """Change role or quota of a user, or disable him: what he shows proves nothing then."""
    old = await site.users.get(actor, user_id)
    version = expected_version(request, old.version)
    user = await site.users.update(
        actor,
        user_id,
        role=ask.role,
        quota=None if ask.quota is None else ask.quota.quota,
        disabled=ask.disabled,
        version=version,
    )
    response.headers["ETag"] = tag_of(user.version)
    return UserOut.of(user)
