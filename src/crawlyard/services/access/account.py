"""The account of whoever asks."""

from typing import TYPE_CHECKING

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.answers.access.access import MeOut
from crawlyard.core.endpoint import ANYBODY, endpoint

if TYPE_CHECKING:
    from crawlyard.services.services import Services


class Account:
    """Tells an actor who they are.

    *caller* has what the actor has shown, ``None``: nothing had to be.
    """

    def __init__(
        self,
        services: "Services",
        actor: Actor,
        permits: frozenset[Permit],
        caller: Caller | None = None,
    ) -> None:
        self._services = services
        self._actor = actor
        self._permits = permits
        self._caller = caller

    @endpoint("GET /auth/me", ANYBODY, noun="account", group="auth")
    async def me(self) -> MeOut:
        """Return who asks, and what he may do."""
        if self._caller is not None:
            return MeOut.of(self._caller.user, self._permits, self._caller.credential)
        return MeOut.of(await self._services.users.get(self._actor, self._actor.id), self._permits)
