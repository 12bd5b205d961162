"""The account of whoever asks."""

from crawlyard.core.answers.access.access import MeOut
from crawlyard.core.endpoint import ANYBODY, endpoint
from crawlyard.services.noun import Noun


class Account(Noun):
    """Tells an actor who they are.

    *caller* has what the actor has shown, ``None``: nothing had to be.
    """

    @endpoint("GET /auth/me", ANYBODY, noun="account", group="auth")
    async def me(self) -> MeOut:
        """Return who asks, and what he may do."""
        if self._caller is not None:
            return MeOut.of(self._caller.user, self._permits, self._caller.credential)
        return MeOut.of(await self._services.users.get(self._actor, self._actor.id), self._permits)
