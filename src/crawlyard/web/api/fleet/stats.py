"""Figures for a dashboard."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from crawlyard.core.answers.fleet.stats import StatsOut
from crawlyard.errors import Invalid
from crawlyard.web.asking import FollowsJobs, SiteOf
from crawlyard.web.documenting import problems
from crawlyard.web.filters.filtering import of_parameter
from crawlyard.web.routes import Route
from crawlyard.web.wire.schedules.schedule_asks import AskedInstant

router = APIRouter(prefix="/stats", tags=["stats"], route_class=Route)


@router.get("", name="get", responses=problems(401, 403, 422))
async def stats(
    caller: FollowsJobs,
    site: SiteOf,
    since: Annotated[AskedInstant | None, Query(description="By default a day before.")] = None,
    until: Annotated[AskedInstant | None, Query(description="Without it; by default now.")] = None,
    step_s: Annotated[
        float | None,
        Query(ge=60, le=86_400 * 31, description="By default an hour; a day over 30 days."),
    ] = None,
    owner: Annotated[
        Literal["me"] | None, Query(description="An admin's own; others see no more anyway.")
    ] = None,
) -> StatsOut:
    """Count jobs now, jobs that ended in each step, pages of each day, and failures by host."""
    step = None if step_s is None else timedelta(seconds=step_s)
    try:
        figures = await site.stats.figures(
            caller.actor, since=since, until=until, step=step, own=owner is not None
        )
    except Invalid as error:
        with of_parameter(error.field):
            raise
    own = owner is not None
    moment = await site.overview.moment(caller.actor, caller.permits, own=own)
    return StatsOut.of(figures, moment)
