"""The base of what one actor can ask for."""

from typing import TYPE_CHECKING

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import PERMITS_OF, Actor, Permit

if TYPE_CHECKING:
    from crawlyard.services.services import Services


class Noun:
    """One noun of an instance, such as its jobs, for one actor.

    *permits*: what they showed is good for these alone; ``None``: for all of their role. *caller*
    has what they showed; ``None``: nothing had to be shown.
    """

    def __init__(
        self,
        services: "Services",
        actor: Actor,
        permits: frozenset[Permit] | None = None,
        caller: Caller | None = None,
    ) -> None:
        self._services = services
        self._actor = actor
        self._limited = permits is not None
        self._permits = PERMITS_OF[actor.role] if permits is None else permits
        self._caller = caller
