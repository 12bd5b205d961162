"""What needs a person."""

from fastapi import APIRouter

from crawlyard.core.answers.fleet.attention import AttentionOut
from crawlyard.web.asking import FollowsJobs, SiteOf
from crawlyard.web.documenting import problems
from crawlyard.web.routes import Route

router = APIRouter(prefix="/attention", tags=["stats"], route_class=Route)


@router.get("", name="attention", responses=problems(401, 403))
async def attention(caller: FollowsJobs, site: SiteOf) -> AttentionOut:
    """Tell what needs a person, since when, and which endpoint helps.

    Of what is yours, an admin of all; what your token may not read is left out.
    """
    return AttentionOut.of(await site.overview.attention(caller.actor, caller.permits))
