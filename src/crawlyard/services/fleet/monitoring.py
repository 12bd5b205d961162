"""Figures of an instance for those who watch over it."""

from typing import TYPE_CHECKING

from crawlyard.core.access.user import Permit
from crawlyard.core.endpoint import endpoint
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun

if TYPE_CHECKING:
    from crawlyard.services.fleet import gauges
else:  # it loads the client of Prometheus
    gauges = lazily("crawlyard.services.fleet.gauges")


class Monitoring(Noun):
    """Tells how the whole instance does."""

    @endpoint("GET /metrics", Permit.ADMIN, "root", noun="monitoring")
    async def metrics(self) -> str:
        """Return the figures of the yard as Prometheus reads them; for a token of an admin."""
        return gauges.exposed(await self._services.metrics.figures(self._actor))
