"""What needs a person, as one user sees it."""

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.fleet.attention import AttentionOut
from crawlyard.core.endpoint import endpoint
from crawlyard.services.noun import Noun


class Attention(Noun):
    """Tells what needs a person."""

    @endpoint("GET /attention", Permit.JOBS_READ, group="stats", name="attention")
    async def get(self) -> AttentionOut:
        """Tell what needs a person, since when, and which endpoint helps.

        Of what is yours, an admin of all; what your token may not read is left out.
        """
        return AttentionOut.of(await self._services.overview.attention(self._actor, self._permits))
