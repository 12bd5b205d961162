"""What one user can do, the same near and far: `crawlyard.open` and `crawlyard.connect`."""

from functools import cached_property
from typing import TYPE_CHECKING

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import PERMITS_OF, Actor, Permit
from crawlyard.core.endpoint import endpoints_of
from crawlyard.services.access.account import Account
from crawlyard.services.access.accounts import Accounts
from crawlyard.services.access.saved_views import SavedViews
from crawlyard.services.access.sections import Sections
from crawlyard.services.access.tokens import Tokens
from crawlyard.services.jobs.jobs import Jobs

if TYPE_CHECKING:
    from crawlyard.services.services import Services


class Surface:
    """The nouns of an instance, for one actor.

    *permits* are those of what they showed; ``None``: all of their role. *caller* has what they
    showed, ``None``: nothing had to be.
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
        self._permits = PERMITS_OF[actor.role] if permits is None else permits
        self._caller = caller

    @cached_property
    def account(self) -> Account:
        """Return the actor's own account."""
        return Account(self._services, self._actor, self._permits, self._caller)

    @cached_property
    def users(self) -> Accounts:
        """Return those who may ask."""
        return Accounts(self._services, self._actor)

    @cached_property
    def tokens(self) -> Tokens:
        """Return what programs show to prove who they are."""
        return Tokens(self._services, self._actor, self._caller)

    @cached_property
    def jobs(self) -> Jobs:
        """Return jobs and what they have brought."""
        return Jobs(self._services, self._actor, self._permits)

    @cached_property
    def settings(self) -> Sections:
        """Return what holds for the whole yard."""
        return Sections(self._services, self._actor)

    @cached_property
    def views(self) -> SavedViews:
        """Return filters that were given a name."""
        return SavedViews(self._services, self._actor)


NOUNS = {
    "account": Account,
    "users": Accounts,
    "tokens": Tokens,
    "jobs": Jobs,
    "settings": Sections,
    "views": SavedViews,
}
"""The services of a surface by their names, in the order of the document."""

ENDPOINTS = tuple(one for service in NOUNS.values() for one in endpoints_of(service).values())
"""All that can be asked of a surface."""
