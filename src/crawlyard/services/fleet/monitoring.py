"""Monitoring: the metrics of an instance, and whether it is ready."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from crawlyard.bus.base import BusReach
from crawlyard.core.access.user import Permit
from crawlyard.core.answers.fleet.health import ReadyOut
from crawlyard.core.endpoint import endpoint
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun

if TYPE_CHECKING:
    from crawlyard.services.fleet import metrics
else:  # it loads the client of Prometheus
    metrics = lazily("crawlyard.services.fleet.metrics")


_REDIS: Mapping[BusReach, Literal["well", "away"] | None] = {
    BusReach.PROCESS: None,
    BusReach.YARD: "well",
    BusReach.AWAY: "away",
}


class Monitoring(Noun):
    """Shows figures of the whole instance."""

    @endpoint("GET /metrics", Permit.ADMIN, "root", noun="monitoring")
    async def metrics(self) -> str:
        """Return the figures of the yard as Prometheus reads them; for a token of an admin."""
        return metrics.exposed(await self._services.metrics.figures(self._actor))


def ready(reach: BusReach) -> ReadyOut:
    """Return that an instance is ready, with a bus of such a *reach*."""
    return ReadyOut(redis=_REDIS[reach])
