"""What needs a person, as one user sees it."""

from typing import TYPE_CHECKING

from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.answers.fleet.attention import AttentionOut
from crawlyard.core.endpoint import endpoint

if TYPE_CHECKING:
    from crawlyard.services.services import Services


class Attention:
    """Tells what needs a person."""

    def __init__(self, services: "Services", actor: Actor, permits: frozenset[Permit]) -> None:
        self._services = services
        self._actor = actor
        self._permits = permits

    @endpoint("GET /attention", Permit.JOBS_READ, group="stats", name="attention")
    async def get(self) -> AttentionOut:
        """Tell what needs a person, since when, and which endpoint helps.

        Of what is yours, an admin of all; what your token may not read is left out.
        """
        return AttentionOut.of(await self._services.overview.attention(self._actor, self._permits))
