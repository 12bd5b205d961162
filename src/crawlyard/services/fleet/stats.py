"""Figures for a dashboard, as one user sees them."""

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.fleet.stats import StatsOut
from crawlyard.core.endpoint import Instant, endpoint
from crawlyard.services.noun import Noun


class Stats(Noun):
    """Counts jobs, pages and bytes."""

    @endpoint("GET /stats", Permit.JOBS_READ)
    async def get(
        self,
        *,
        since: Annotated[Instant | None, Meta(description="By default a day before.")] = None,
        until: Annotated[
            Instant | None,
            Meta(description="Without it; by default now."),
        ] = None,
        step_s: Annotated[
            Annotated[float, Meta(ge=60, le=86_400 * 31)] | None,
            Meta(description="By default an hour; a day over 30 days."),
        ] = None,
        owner: Annotated[
            Literal["me"] | None, Meta(description="An admin's own; others see no more anyway.")
        ] = None,
    ) -> StatsOut:
        """Count jobs now, jobs that ended in each step, pages of each day, and failures by host."""
        own = owner is not None
        figures = await self._services.statistics.figures(
            self._actor,
            since=since,
            until=until,
            step=None if step_s is None else timedelta(seconds=step_s),
            own=own,
        )
        moment = await self._services.overview.moment(self._actor, self._permits, own=own)
        return StatsOut.of(figures, moment)
