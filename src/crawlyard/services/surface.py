"""What one user can do, the same near and far: `crawlyard.open` and `crawlyard.connect`."""

from collections.abc import Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeVar, get_type_hints

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.endpoints.endpoint import Endpoint, endpoints_of
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun

# a command asks for one or two of them
with lazily():
    from crawlyard.services import hosts
    from crawlyard.services import stats as figures
    from crawlyard.services.access import settings, site_sessions, tokens, users, views
    from crawlyard.services.attention import attention
    from crawlyard.services.events import event_feed
    from crawlyard.services.instance import meta, monitoring
    from crawlyard.services.jobs import jobs
    from crawlyard.services.operations import reader as operations
    from crawlyard.services.results import results, site
    from crawlyard.services.schedules import change_feed, schedules
    from crawlyard.services.search import pages
    from crawlyard.services.templates import templates
    from crawlyard.services.webhooks import webhooks
    from crawlyard.services.workers import workers
if TYPE_CHECKING:
    from crawlyard.services.services import Services

N = TypeVar("N", bound=Noun)


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

    def _made(self, noun: type[N]) -> N:
        return noun(*self._asker)

    @cached_property
    def account(self) -> "users.Account":
        """Return the actor's own account."""
        return self._made(users.Account)

    @cached_property
    def users(self) -> "users.Users":
        """Return those who may ask."""
        return self._made(users.Users)

    @cached_property
    def tokens(self) -> "tokens.Tokens":
        """Return what programs show to prove who they are."""
        return self._made(tokens.Tokens)

    @cached_property
    def jobs(self) -> "jobs.Jobs":
        """Jobs, from their submission to their end."""
        noun = self._made(jobs.Jobs)
        noun.results = self.results
        return noun

    @cached_property
    def results(self) -> "results.Results":
        """Pages, links, errors and changes of jobs."""
        return self._made(results.Results)

    @cached_property
    def site(self) -> "site.CrawledSite":
        """The sites that jobs crawl: folders, paths, broken links."""
        return self._made(site.CrawledSite)

    @cached_property
    def pages(self) -> "pages.Pages":
        """Return the pages of all jobs."""
        return self._made(pages.Pages)

    @cached_property
    def templates(self) -> "templates.Templates":
        """Return templates, their versions and files."""
        return self._made(templates.Templates)

    @cached_property
    def schedules(self) -> "schedules.Schedules":
        """Return schedules and their runs."""
        return self._made(schedules.Schedules)

    @cached_property
    def changes(self) -> "change_feed.ChangeFeed":
        """Return what runs of schedules have changed."""
        return self._made(change_feed.ChangeFeed)

    @cached_property
    def webhooks(self) -> "webhooks.Webhooks":
        """Return webhooks and what was delivered to them."""
        return self._made(webhooks.Webhooks)

    @cached_property
    def sessions(self) -> "site_sessions.SiteSessions":
        """Return what crawls are logged in to sites with."""
        return self._made(site_sessions.SiteSessions)

    @cached_property
    def workers(self) -> "workers.Workers":
        """Return who runs jobs."""
        return self._made(workers.Workers)

    @cached_property
    def hosts(self) -> "hosts.Hosts":
        """Return who is asked, and how."""
        return self._made(hosts.Hosts)

    @cached_property
    def events(self) -> "event_feed.EventFeed":
        """Return what has happened and what happens."""
        return self._made(event_feed.EventFeed)

    @cached_property
    def settings(self) -> "settings.SiteSettings":
        """Return settings of the whole instance."""
        return self._made(settings.SiteSettings)

    @cached_property
    def operations(self) -> "operations.OperationReader":
        """Return work that goes on in the background."""
        return self._made(operations.OperationReader)

    @cached_property
    def views(self) -> "views.Views":
        """Return filters that were given a name."""
        return self._made(views.Views)

    @cached_property
    def stats(self) -> "figures.Stats":
        """Return figures for a dashboard."""
        return self._made(figures.Stats)

    @cached_property
    def attention(self) -> "attention.Attention":
        """Return what needs a person."""
        return self._made(attention.Attention)

    @cached_property
    def meta(self) -> "meta.Meta":
        """Return what the instance says of itself."""
        return self._made(meta.Meta)

    @cached_property
    def monitoring(self) -> "monitoring.Monitoring":
        """Return figures of the whole instance."""
        return self._made(monitoring.Monitoring)


@cache
def nouns() -> Mapping[str, type[Noun]]:
    """Return the services of a surface by their names, in the order of the document."""
    return {
        name: get_type_hints(noun.func)["return"]
        for name, noun in vars(Surface).items()
        if isinstance(noun, cached_property)
    }


def every_endpoint() -> tuple[Endpoint, ...]:
    """Return all that can be asked of a surface."""
    return tuple(one for noun in nouns().values() for one in endpoints_of(noun).values())
