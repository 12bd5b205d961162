"""What one user can do, the same near and far: `crawlyard.open` and `crawlyard.connect`."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.endpoint import endpoints_of
from crawlyard.services.access.sections import Sections
from crawlyard.services.access.tokens import Tokens
from crawlyard.services.access.users import Account, Users
from crawlyard.services.access.views import Views
from crawlyard.services.fleet.event_feed import EventFeed
from crawlyard.services.fleet.hosts import Hosts
from crawlyard.services.fleet.meta import Meta
from crawlyard.services.fleet.monitoring import Monitoring
from crawlyard.services.fleet.operations import OperationReader
from crawlyard.services.fleet.pages import Pages
from crawlyard.services.fleet.stats import Attention, Stats
from crawlyard.services.fleet.workers import Workers
from crawlyard.services.jobs.jobs import Jobs
from crawlyard.services.noun import Noun
from crawlyard.services.schedules.schedules import Schedules
from crawlyard.services.templates.templates import Templates
from crawlyard.services.webhooks.hooks import Hooks

if TYPE_CHECKING:
    from crawlyard.services.services import Services


class Surface:
    """The nouns of an instance, for one actor. It takes what `Noun` takes."""

    def __init__(
        self,
        services: "Services",
        actor: Actor,
        permits: frozenset[Permit] | None = None,
        caller: Caller | None = None,
    ) -> None:
        self._asker = (services, actor, permits, caller)

    @cached_property
    def account(self) -> Account:
        """Return the actor's own account."""
        return Account(*self._asker)

    @cached_property
    def users(self) -> Users:
        """Return those who may ask."""
        return Users(*self._asker)

    @cached_property
    def tokens(self) -> Tokens:
        """Return what programs show to prove who they are."""
        return Tokens(*self._asker)

    @cached_property
    def jobs(self) -> Jobs:
        """Return jobs and what they have brought."""
        return Jobs(*self._asker)

    @cached_property
    def pages(self) -> Pages:
        """Return the pages of all jobs."""
        return Pages(*self._asker)

    @cached_property
    def templates(self) -> Templates:
        """Return templates, their versions and files."""
        return Templates(*self._asker)

    @cached_property
    def schedules(self) -> Schedules:
        """Return schedules and their runs."""
        return Schedules(*self._asker)

    @cached_property
    def webhooks(self) -> Hooks:
        """Return webhooks and what was delivered to them."""
        return Hooks(*self._asker)

    @cached_property
    def workers(self) -> Workers:
        """Return who runs jobs."""
        return Workers(*self._asker)

    @cached_property
    def hosts(self) -> Hosts:
        """Return who is asked, and how."""
        return Hosts(*self._asker)

    @cached_property
    def events(self) -> EventFeed:
        """Return what has happened and what happens."""
        return EventFeed(*self._asker)

    @cached_property
    def settings(self) -> Sections:
        """Return settings of the whole instance."""
        return Sections(*self._asker)

    @cached_property
    def operations(self) -> OperationReader:
        """Return work that goes on in the background."""
        return OperationReader(*self._asker)

    @cached_property
    def views(self) -> Views:
        """Return filters that were given a name."""
        return Views(*self._asker)

    @cached_property
    def stats(self) -> Stats:
        """Return figures for a dashboard."""
        return Stats(*self._asker)

    @cached_property
    def attention(self) -> Attention:
        """Return what needs a person."""
        return Attention(*self._asker)

    @cached_property
    def meta(self) -> Meta:
        """Return what the instance says of itself."""
        return Meta(*self._asker)

    @cached_property
    def monitoring(self) -> Monitoring:
        """Return figures of the whole instance."""
        return Monitoring(*self._asker)


NOUNS: Mapping[str, type[Noun]] = {
    name: noun.func.__annotations__["return"]
    for name, noun in vars(Surface).items()
    if isinstance(noun, cached_property)
}
"""The services of a surface by their names, in the order of the document."""

ENDPOINTS = tuple(one for service in NOUNS.values() for one in endpoints_of(service).values())
"""All that can be asked of a surface."""
