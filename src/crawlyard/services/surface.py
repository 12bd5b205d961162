"""Surface: the nouns of one user, the same for `crawlyard.open` and `crawlyard.connect`."""

from collections.abc import Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeVar, get_type_hints

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.endpoints.endpoint import Endpoint, endpoints_of
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun

# a command needs one or two of them
with lazily():
    from crawlyard.services import hosts
    from crawlyard.services import stats as figures
    from crawlyard.services.access import (
        audit,
        settings,
        shares,
        site_sessions,
        tokens,
        triggers,
        users,
        views,
    )
    from crawlyard.services.attention import attention
    from crawlyard.services.events import event_feed
    from crawlyard.services.instance import meta, monitoring
    from crawlyard.services.jobs import groups, jobs
    from crawlyard.services.operations import reader as operations
    from crawlyard.services.results import results, site
    from crawlyard.services.schedules import change_feed, schedules
    from crawlyard.services.search import pages
    from crawlyard.services.templates import templates
    from crawlyard.services.webhooks import notifications, webhooks
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
        self._arguments = (services, actor, permits, caller)

    def _noun(self, noun: type[N]) -> N:
        return noun(*self._arguments)

    @cached_property
    def account(self) -> "users.Account":
        """The actor's own account."""
        return self._noun(users.Account)

    @cached_property
    def users(self) -> "users.Users":
        """Users, their roles and quotas."""
        return self._noun(users.Users)

    @cached_property
    def tokens(self) -> "tokens.Tokens":
        """API tokens, by which programs authenticate."""
        return self._noun(tokens.Tokens)

    @cached_property
    def triggers(self) -> "triggers.Triggers":
        """Addresses that other programs call to start a schedule or a template."""
        return self._noun(triggers.Triggers)

    @cached_property
    def shares(self) -> "shares.Shares":
        """Links that show a job to people without an account."""
        return self._noun(shares.Shares)

    @cached_property
    def jobs(self) -> "jobs.Jobs":
        """Jobs, from their submission to their end."""
        noun = self._noun(jobs.Jobs)
        noun.results = self.results
        return noun

    @cached_property
    def groups(self) -> "groups.Groups":
        """Groups: jobs that were submitted together."""
        return self._noun(groups.Groups)

    @cached_property
    def results(self) -> "results.Results":
        """Pages, links, errors and changes of jobs."""
        return self._noun(results.Results)

    @cached_property
    def site(self) -> "site.CrawledSite":
        """The sites that jobs crawl: folders, paths, broken links."""
        return self._noun(site.CrawledSite)

    @cached_property
    def pages(self) -> "pages.Pages":
        """Search over the pages of all jobs."""
        return self._noun(pages.Pages)

    @cached_property
    def templates(self) -> "templates.Templates":
        """Templates, their versions and files."""
        return self._noun(templates.Templates)

    @cached_property
    def schedules(self) -> "schedules.Schedules":
        """Schedules and their runs."""
        return self._noun(schedules.Schedules)

    @cached_property
    def changes(self) -> "change_feed.ChangeFeed":
        """Changes that the runs of schedules detected."""
        return self._noun(change_feed.ChangeFeed)

    @cached_property
    def webhooks(self) -> "webhooks.Webhooks":
        """Webhooks and their deliveries."""
        return self._noun(webhooks.Webhooks)

    @cached_property
    def notifications(self) -> "notifications.Notifications":
        """Channels for messages to people."""
        return self._noun(notifications.Notifications)

    @cached_property
    def sessions(self) -> "site_sessions.SiteSessions":
        """Logins with which crawls access sites."""
        return self._noun(site_sessions.SiteSessions)

    @cached_property
    def workers(self) -> "workers.Workers":
        """Workers, which run the jobs."""
        return self._noun(workers.Workers)

    @cached_property
    def hosts(self) -> "hosts.Hosts":
        """Hosts being crawled, and the rules for their requests."""
        return self._noun(hosts.Hosts)

    @cached_property
    def events(self) -> "event_feed.EventFeed":
        """Past events, and the stream of new ones."""
        return self._noun(event_feed.EventFeed)

    @cached_property
    def audit(self) -> "audit.AuditLog":
        """Audit log: what users did, for admins."""
        return self._noun(audit.AuditLog)

    @cached_property
    def settings(self) -> "settings.SiteSettings":
        """Settings of the whole instance."""
        return self._noun(settings.SiteSettings)

    @cached_property
    def operations(self) -> "operations.OperationReader":
        """Operations that run in the background."""
        return self._noun(operations.OperationReader)

    @cached_property
    def views(self) -> "views.Views":
        """Saved filters."""
        return self._noun(views.Views)

    @cached_property
    def stats(self) -> "figures.Stats":
        """Counts and rates for a dashboard."""
        return self._noun(figures.Stats)

    @cached_property
    def attention(self) -> "attention.Attention":
        """Problems that need someone's attention."""
        return self._noun(attention.Attention)

    @cached_property
    def meta(self) -> "meta.Meta":
        """Version, vocabulary and schemas of the instance."""
        return self._noun(meta.Meta)

    @cached_property
    def monitoring(self) -> "monitoring.Monitoring":
        """Metrics of the whole instance."""
        return self._noun(monitoring.Monitoring)


@cache
def nouns() -> Mapping[str, type[Noun]]:
    """Return the services of a surface by name, in the order of the OpenAPI document."""
    return {
        name: get_type_hints(noun.func)["return"]
        for name, noun in vars(Surface).items()
        if isinstance(noun, cached_property)
    }


def every_endpoint() -> tuple[Endpoint, ...]:
    """Return all endpoints of the API, noun by noun."""
    return tuple(endpoint for noun in nouns().values() for endpoint in endpoints_of(noun).values())
