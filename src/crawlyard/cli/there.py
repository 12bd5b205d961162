"""Commands on a yard that is asked over HTTP."""

import shlex
from typing import TYPE_CHECKING

from crawlyard.cli.login import token_for
from crawlyard.cli.options import Basics
from crawlyard.cli.session import Action, Clients, Session, screens
from crawlyard.client import AsyncClient, Server
from crawlyard.clock import SystemClock
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.api import far
    from crawlyard.cli.access import http_accounts
    from crawlyard.cli.fleet import http_fleet
    from crawlyard.cli.jobs import client as jobs
    from crawlyard.cli.overview import http_events, http_watch
    from crawlyard.cli.schedules import http_schedules
    from crawlyard.cli.templates import http_templates
    from crawlyard.cli.webhooks import http_webhooks
else:
    far = lazily("crawlyard.api.far")
    jobs = lazily("crawlyard.cli.jobs.client")
    http_templates = lazily("crawlyard.cli.templates.http_templates")
    http_schedules = lazily("crawlyard.cli.schedules.http_schedules")
    http_events = lazily("crawlyard.cli.overview.http_events")
    http_webhooks = lazily("crawlyard.cli.webhooks.http_webhooks")
    http_watch = lazily("crawlyard.cli.overview.http_watch")
    http_accounts = lazily("crawlyard.cli.access.http_accounts")
    http_fleet = lazily("crawlyard.cli.fleet.http_fleet")


def _clients(client: AsyncClient) -> Clients:
    """Return what asks a server."""
    return Clients(
        jobs=lambda: jobs.Client(far.far_surface(client.calls).jobs),
        templates=lambda: http_templates.HttpTemplates(client),
        schedules=lambda: http_schedules.HttpSchedules(client),
        events=lambda: http_events.HttpEvents(client),
        webhooks=lambda: http_webhooks.HttpWebhooks(client),
        watch=lambda: http_watch.HttpWatch(client),
        fleet=lambda: http_fleet.HttpFleet(client),
        accounts=lambda: http_accounts.HttpAccounts(client),
    )


async def act(url: str, basics: Basics, action: Action) -> int:
    """Return what *action* does with the yard at *url*.

    Raises:
        Invalid: the URL is none, or nothing proves who asks there.
    """
    server = Server(url=url, token=token_for(url))
    async with AsyncClient(server=server) as client:
        where = f" --server {shlex.quote(basics.server)}" if basics.server else ""
        session = Session(
            surface=far.far_surface(client.calls),
            clients=_clients(client),
            clock=SystemClock(),
            where=where,
            **screens(basics),
        )
        return await action(session)
