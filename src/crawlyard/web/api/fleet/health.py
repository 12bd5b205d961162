"""Whether the server lives and can work, and what its problems mean; nobody need sign in."""

import asyncio
import logging
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import HTMLResponse, Response

from crawlyard.core.answers.fleet.health import HealthOut, ProblemKindOut, ReadyOut
from crawlyard.errors import NotFound, Unavailable
from crawlyard.web.asking import SiteOf
from crawlyard.web.documenting import Responses, problems
from crawlyard.web.errors.explaining import kind_of, page_of
from crawlyard.web.errors.problems import KINDS
from crawlyard.web.readiness import ready
from crawlyard.web.routes import Route

root = APIRouter(tags=["monitoring"], route_class=Route)

_READY_WITHIN_S = 5
_PAGE: Responses = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}

_log = logging.getLogger(__name__)


@root.get("/healthz", responses=problems())
async def healthz() -> HealthOut:
    """Tell that the process lives."""
    return HealthOut()


@root.get("/readyz", responses=problems())
async def readyz(site: SiteOf) -> ReadyOut:
    """Tell that requests can be answered: the store is there, with the tables that it must have.

    Without its Redis, a server is slower and as ready.
    """
    if site.live.closed:
        raise Unavailable("the server is to end")
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            await site.yard.store.check()
    except (Unavailable, TimeoutError) as error:
        # who asks is not known: what the store is called is not for everybody
        _log.warning("not ready: %s", str(error) or "the store does not answer in time")
        raise Unavailable("the store does not answer, or is not as it must be") from None
    return ready(site.yard.bus.reach)


@root.get(
    "/problems/{kind}",
    name="get",
    tags=["problems"],
    response_model=ProblemKindOut,
    responses=problems(404, 422) | _PAGE,
)
async def problem(
    kind: str, accept: Annotated[str, Header(max_length=1000, include_in_schema=False)] = ""
) -> ProblemKindOut | Response:
    """Return what a type of problem means and what to do: a page, or JSON by Accept."""
    code = kind.replace("-", "_")
    if code not in KINDS:
        raise NotFound(f"no problem {kind[:64]}")
    told = kind_of(code)
    if "json" in accept and "text/html" not in accept:
        return told
    return HTMLResponse(page_of(told), headers={"Vary": "Accept"})
