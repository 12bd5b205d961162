"""Settings that an admin changes while the yard runs."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from crawlyard.core.answers.access.settings import SECTION_EXAMPLES, SectionOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.web.asking import Anybody, IsAdmin, SiteOf
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import expected_version, tag_of, unchanged
from crawlyard.web.paging import whole
from crawlyard.web.routes import Route

router = APIRouter(prefix="/settings", tags=["settings"], route_class=Route)

_EXAMPLES: Any = SECTION_EXAMPLES


@router.get("", responses=problems(401, 422))
async def list_(caller: Anybody, site: SiteOf) -> ListOut[SectionOut]:
    """List the sections: `grants`, `ceilings`, `retention` and `defaults`."""
    return whole([SectionOut.of(s) for s in await site.yard.site_settings.list(caller.actor)])


@router.get("/{section}", response_model=SectionOut, responses=problems(401, 404) | NOT_MODIFIED)
async def get(
    section: str, caller: Anybody, site: SiteOf, request: Request, response: Response
) -> SectionOut | Response:
    """Return a section: what was written, and what holds."""
    setting = await site.yard.site_settings.get(caller.actor, section)
    same = unchanged(request, response, tag_of(setting.section.version))
    return same or SectionOut.of(setting)


@router.put("/{section}", responses=problems(401, 403, 404, 409, 412, 422, 428))
async def put(
    section: str,
    body: Annotated[dict[str, Any], Body(openapi_examples=_EXAMPLES)],
    actor: IsAdmin,
    site: SiteOf,
    request: Request,
    response: Response,
) -> SectionOut:
    """Let a section say this and nothing else.

    Ceilings and defaults hold for what is submitted from now on; jobs that live by a grant that is
    taken back are paused.
    """
    desk = site.yard.site_settings
    old = await desk.get(actor, section)
    version = expected_version(request, old.section.version, required=True)
    setting = await desk.update(actor, section, body, version=version)
    response.headers["ETag"] = tag_of(setting.section.version)
    return SectionOut.of(setting)
