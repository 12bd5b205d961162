"""Figures for a dashboard."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from crawlyard.errors import Invalid
from crawlyard.web.asking import ReadsJobs, SiteOf
from crawlyard.web.documenting import problems
from crawlyard.web.filtering import of_parameter
from crawlyard.web.routes import Route
from crawlyard.web.wire.schedule_asks import AskedInstant
from crawlyard.web.wire.stats import StatsOut

router = APIRouter(prefix="/stats", tags=["stats"], route_class=Route)


@router.get("", name="get", responses=problems(401, 403, 422))
async def stats(
    actor: ReadsJobs,
    site: SiteOf,
    since: Annotated[AskedInstant | None, Query(description="By default a day before.")] = None,
    until: Annotated[AskedInstant | None, Query(description="Without it; by default now.")] = None,
    step_s: Annotated[float, Query(ge=60, le=86_400 * 31)] = 3600.0,
    owner: Annotated[
        Literal["me"] | None, Query(description="An admin's own; others see no more anyway.")
    ] = None,
) -> StatsOut:
    """Count jobs now, jobs that ended in each step, and pages of each day."""
    step = timedelta(seconds=step_s)
    try:
        figures = await site.stats.figures(
            actor, since=since, until=until, step=step, own=owner is not None
        )
    except Invalid as error:
        with of_parameter(error.field):
            raise
    return StatsOut.of(figures)
