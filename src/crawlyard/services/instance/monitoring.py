"""Monitoring: metrics of the whole instance, for Prometheus."""

from crawlyard.core.access.user import Permit, Role
from crawlyard.core.endpoints.endpoint import endpoint
from crawlyard.errors import Forbidden
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun

# it loads the client of Prometheus
with lazily():
    from crawlyard.services.instance import metrics


class Monitoring(Noun):
    """Exposes metrics of the whole instance."""

    @endpoint("GET /metrics", Permit.ADMIN, "root", noun="monitoring")
    async def metrics(self) -> str:
        """Return metrics in the format of Prometheus; requires an admin's token."""
        if self._actor.role is not Role.ADMIN:  # they cover everyone's jobs
            raise Forbidden(f"{self._actor.id} is no admin")
        services = self._services
        figures = await metrics.figures(
            services.store, services.bus, services.clock, services.measures
        )
        return metrics.format_metrics(figures)
