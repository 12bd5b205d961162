"""Figures of an instance for those who watch over it."""

from typing import TYPE_CHECKING

from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.endpoint import endpoint
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.services.fleet import gauges
    from crawlyard.services.services import Services
else:  # it loads the client of Prometheus
    gauges = lazily("crawlyard.services.fleet.gauges")


class Monitoring:
    """Tells how the whole instance does."""

    def __init__(self, services: "Services", actor: Actor) -> None:
        self._services = services
        self._actor = actor

    @endpoint("GET /metrics", Permit.ADMIN, "root", noun="monitoring")
    async def metrics(self) -> str:
        """Return the figures of the yard as Prometheus reads them; for a token of an admin."""
        return gauges.exposed(await self._services.metrics.figures(self._actor))
