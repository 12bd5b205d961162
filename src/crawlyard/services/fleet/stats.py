"""Figures for a dashboard, as one user sees them."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.answers.fleet.stats import StatsOut
from crawlyard.core.endpoint import endpoint

if TYPE_CHECKING:
    from crawlyard.services.services import Services


class Stats:
    """Counts jobs, pages and bytes."""

    def __init__(self, services: "Services", actor: Actor, permits: frozenset[Permit]) -> None:
        self._services = services
        self._actor = actor
        self._permits = permits

    @endpoint("GET /stats", Permit.JOBS_READ)
    async def get(
        self,
        *,
        since: Annotated[
            Annotated[datetime, Meta(tz=True)] | None, Meta(description="By default a day before.")
        ] = None,
        until: Annotated[
            Annotated[datetime, Meta(tz=True)] | None,
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
