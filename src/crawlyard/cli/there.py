"""Commands on a yard that is asked over HTTP."""

from typing import TYPE_CHECKING

from crawlyard.cli.logins import token_for
from crawlyard.cli.options import Basics
from crawlyard.cli.servers import option_for
from crawlyard.cli.session import Action, Session, consoles
from crawlyard.client import AsyncClient, Server
from crawlyard.clock import SystemClock
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import (
        http_accounts,
        http_events,
        http_jobs,
        http_schedules,
        http_templates,
        http_watch,
        http_webhooks,
    )
    from crawlyard.cli.account_client import AccountClient
    from crawlyard.cli.client import Client
    from crawlyard.cli.event_client import EventClient
    from crawlyard.cli.schedule_client import ScheduleClient
    from crawlyard.cli.template_client import TemplateClient
    from crawlyard.cli.watch_client import WatchClient
    from crawlyard.cli.webhook_client import WebhookClient
else:
    http_jobs = lazily("crawlyard.cli.http_jobs")
    http_templates = lazily("crawlyard.cli.http_templates")
    http_schedules = lazily("crawlyard.cli.http_schedules")
    http_events = lazily("crawlyard.cli.http_events")
    http_webhooks = lazily("crawlyard.cli.http_webhooks")
    http_watch = lazily("crawlyard.cli.http_watch")
    http_accounts = lazily("crawlyard.cli.http_accounts")


class HttpClients:
    """Asks a server, kind by kind."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    @property
    def jobs(self) -> "Client":
        """Return what is asked about jobs."""
        return http_jobs.HttpClient(self._client)

    @property
    def templates(self) -> "TemplateClient":
        """Return what is asked about templates."""
        return http_templates.HttpTemplates(self._client)

    @property
    def schedules(self) -> "ScheduleClient":
        """Return what is asked about schedules."""
        return http_schedules.HttpSchedules(self._client)

    @property
    def events(self) -> "EventClient":
        """Return what is asked about events."""
        return http_events.HttpEvents(self._client)

    @property
    def webhooks(self) -> "WebhookClient":
        """Return what is asked about webhooks."""
        return http_webhooks.HttpWebhooks(self._client)

    @property
    def watch(self) -> "WatchClient":
        """Return what is asked about how things stand."""
        return http_watch.HttpWatch(self._client)

    @property
    def accounts(self) -> "AccountClient":
        """Return what is asked about users and tokens."""
        return http_accounts.HttpAccounts(self._client)


async def act(url: str, basics: Basics, action: Action) -> int:
    """Return what *action* does with the yard at *url*.

    Raises:
        Invalid: the URL is none, or nothing proves who asks there.
    """
    server = Server(url=url, token=token_for(url))
    async with AsyncClient(server=server) as client:
        where = option_for(basics)
        session = Session(
            clients=HttpClients(client), clock=SystemClock(), where=where, **consoles(basics)
        )
        return await action(session)
